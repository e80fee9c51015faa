internal import CGGML

/// A handle of a tensor that lives in a `TensorContext`. It must not outlive it.
///
/// Dimensions are given fastest first, as ggml does: a matrix of `rows` rows has the shape `[rowLength, rows]`.
package struct Tensor {
    let raw: UnsafeMutablePointer<ggml_tensor>

    init(_ pointer: UnsafeMutablePointer<ggml_tensor>?) {
        guard let pointer else { preconditionFailure("ggml's context is too small for the tensors put into it") }
        raw = pointer
    }

    package var type: ElementType { ElementType(raw.pointee.type) }
    package var name: String {
        withUnsafeBytes(of: raw.pointee.name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
    package var rowLength: Int { Int(raw.pointee.ne.0) }
    package var rows: Int { Int(raw.pointee.ne.1) }
    package var byteCount: Int { Int(ggml_nbytes(raw)) }
    /// Bytes from one row to the next.
    package var rowStride: Int { Int(raw.pointee.nb.1) }

    /// Copies bytes into the tensor, wherever its memory is.
    package func set(_ bytes: UnsafeRawBufferPointer, at offset: Int = 0) {
        precondition(offset >= 0 && offset + bytes.count <= byteCount, "outside of the tensor")
        guard bytes.count > 0 else { return }
        ggml_backend_tensor_set(raw, bytes.baseAddress, offset, bytes.count)
    }

    package func set<Element: BitwiseCopyable>(_ values: [Element]) {
        values.withUnsafeBytes { set($0) }
    }

    /// Copies bytes out of the tensor, wherever its memory is.
    package func get(_ bytes: UnsafeMutableRawBufferPointer, at offset: Int = 0) {
        precondition(offset >= 0 && offset + bytes.count <= byteCount, "outside of the tensor")
        guard bytes.count > 0 else { return }
        ggml_backend_tensor_get(raw, bytes.baseAddress, offset, bytes.count)
    }
}
