internal import CGGML
package import DejaVuCore

/// How the elements of a tensor are stored; the numbers are those of the GGUF format.
package struct ElementType: Hashable, Sendable, CustomStringConvertible {
    package let rawValue: UInt32

    init(_ type: ggml_type) { rawValue = UInt32(type.rawValue) }

    /// nil if ggml does not know the number, or has withdrawn it.
    package init?(rawValue: UInt32) {
        guard rawValue < UInt32(GGML_TYPE_COUNT.rawValue) else { return nil }
        guard ggml_blck_size(ggml_type(rawValue)) > 0, ggml_type_size(ggml_type(rawValue)) > 0 else { return nil }
        self.rawValue = rawValue
    }

    package static let f32 = ElementType(GGML_TYPE_F32)
    package static let f16 = ElementType(GGML_TYPE_F16)
    package static let bf16 = ElementType(GGML_TYPE_BF16)
    package static let q40 = ElementType(GGML_TYPE_Q4_0)
    package static let q41 = ElementType(GGML_TYPE_Q4_1)
    package static let iq4NL = ElementType(GGML_TYPE_IQ4_NL)
    package static let q80 = ElementType(GGML_TYPE_Q8_0)
    package static let i32 = ElementType(GGML_TYPE_I32)
    package static let i64 = ElementType(GGML_TYPE_I64)

    var ggml: ggml_type { ggml_type(rawValue) }
    package var description: String { String(cString: ggml_type_name(ggml)) }
    /// Elements that are stored together; a row's length is a multiple of it.
    package var blockSize: Int { Int(ggml_blck_size(ggml)) }
    package var isQuantized: Bool { ggml_is_quantized(ggml) }
    /// Whether ggml's product of a single row takes another path, with other bits, than that of several: measured by
    /// the row invariance tests. From two rows on they do not depend on the number.
    package var roundsSingleRowsDifferently: Bool { isFloatingPoint || self == .iq4NL }
    package var isFloatingPoint: Bool { self == .f32 || self == .f16 || self == .bf16 }
    /// Whether ggml's CPU backend can multiply by a matrix of this type.
    package var isWeight: Bool {
        isFloatingPoint || (isQuantized && ggml_get_type_traits_cpu(ggml)?.pointee.vec_dot != nil)
    }

    /// Bytes of a row; nil if the length is no multiple of the block or the size overflows.
    package func rowBytes(_ count: Int) -> Int? {
        guard count >= 0, count % blockSize == 0 else { return nil }
        let (bytes, overflow) = (count / blockSize).multipliedReportingOverflow(by: Int(ggml_type_size(ggml)))
        return overflow ? nil : bytes
    }

    /// Encodes rows of F32 in this type, as ggml's own tools do.
    ///
    /// - Throws: `.unsupported` if the type needs an importance matrix or cannot be encoded to.
    package func encode(_ values: [Float], rowLength: Int) throws(DejaVuError) -> [UInt8] {
        precondition(rowLength > 0 && values.count % rowLength == 0, "values must be whole rows")
        guard let rowBytes = rowBytes(rowLength), isWeight, !ggml_quantize_requires_imatrix(ggml) else {
            throw DejaVuError(.unsupported, "rows of \(rowLength) cannot be encoded as \(self)")
        }
        let rows = values.count / rowLength
        var bytes = [UInt8](repeating: 0, count: rows * rowBytes)
        let written = values.withUnsafeBufferPointer { source in
            bytes.withUnsafeMutableBytes { target in
                ggml_quantize_chunk(
                    ggml, source.baseAddress, target.baseAddress, 0, Int64(rows), Int64(rowLength), nil)
            }
        }
        precondition(written == bytes.count, "ggml wrote \(written) bytes of \(bytes.count)")
        return bytes
    }
}
