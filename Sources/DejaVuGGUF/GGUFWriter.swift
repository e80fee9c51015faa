package import DejaVuCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Writes GGUF files, for the tiny models and vocabularies of tests and tools.
///
/// Keys and names are written as given, also twice or of a wrong form: tests need broken files too.
package struct GGUFWriter: Sendable {
    /// A metadata value in memory.
    package indirect enum Value: Sendable {
        case uint8(UInt8)
        case int8(Int8)
        case uint16(UInt16)
        case int16(Int16)
        case uint32(UInt32)
        case int32(Int32)
        case float32(Float)
        case bool(Bool)
        case string(String)
        /// A string that need not be UTF-8.
        case bytes([UInt8])
        case uint64(UInt64)
        case int64(Int64)
        case float64(Double)
        /// The values must be of the type; an empty array needs it.
        case array(MetadataType, [Value])

        package static func strings(_ values: [String]) -> Value { .array(.string, values.map { .string($0) }) }
        package static func floats(_ values: [Float]) -> Value { .array(.float32, values.map { .float32($0) }) }
        package static func integers(_ values: [Int32]) -> Value { .array(.int32, values.map { .int32($0) }) }
    }

    /// A tensor and its data, whose length the writer does not check.
    package struct Tensor: Sendable {
        package let name: String
        package let type: UInt32
        package let dimensions: [UInt64]
        package let data: [UInt8]
    }

    package var version: UInt32 = 3
    /// Written as `general.alignment` if it is not the format's default of 32.
    package let alignment: Int
    package private(set) var metadata: [(key: String, value: Value)] = []
    package private(set) var tensors: [Tensor] = []

    package init(alignment: Int = 32) {
        precondition(alignment > 0 && alignment.nonzeroBitCount == 1, "alignment is not a power of two")
        self.alignment = alignment
        if alignment != 32 { set("general.alignment", .uint32(UInt32(alignment))) }
    }

    package mutating func set(_ key: String, _ value: Value) { metadata.append((key, value)) }

    /// Adds a tensor of any stored type.
    package mutating func add(_ name: String, _ type: TensorType, _ dimensions: [Int], bytes: [UInt8]) {
        tensors.append(
            Tensor(name: name, type: type.rawValue, dimensions: dimensions.map { UInt64($0) }, data: bytes))
    }

    /// Adds a tensor of float32 values.
    package mutating func add(_ name: String, _ dimensions: [Int], floats: [Float]) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(floats.count * 4)
        for value in floats { Self.append(value.bitPattern, to: &bytes) }
        add(name, .f32, dimensions, bytes: bytes)
    }

    /// The whole file.
    package func bytes() -> [UInt8] {
        var out = Array("GGUF".utf8)
        Self.append(version, to: &out)
        Self.append(UInt64(tensors.count), to: &out)
        Self.append(UInt64(metadata.count), to: &out)
        for (key, value) in metadata {
            Self.append(string: Array(key.utf8), to: &out)
            Self.append(value.type.rawValue, to: &out)
            Self.append(value, to: &out)
        }
        var offset = 0
        for tensor in tensors {
            Self.append(string: Array(tensor.name.utf8), to: &out)
            Self.append(UInt32(tensor.dimensions.count), to: &out)
            for size in tensor.dimensions { Self.append(size, to: &out) }
            Self.append(tensor.type, to: &out)
            Self.append(UInt64(offset), to: &out)
            offset = padded(offset + tensor.data.count)
        }
        for tensor in tensors {
            out.append(contentsOf: repeatElement(0, count: padded(out.count) - out.count))
            out.append(contentsOf: tensor.data)
        }
        return out
    }

    /// Writes the file, replacing what is there.
    package func write(to path: String) throws(DejaVuError) {
        guard let file = fopen(path, "wb") else {
            throw DejaVuError(.unavailable, "cannot create \(path): \(String(cString: strerror(errno)))")
        }
        let bytes = bytes()
        let written = fwrite(bytes, 1, bytes.count, file)
        guard fclose(file) == 0, written == bytes.count else {
            throw DejaVuError(.unavailable, "cannot write \(path): \(String(cString: strerror(errno)))")
        }
    }

    private func padded(_ offset: Int) -> Int { (offset + alignment - 1) / alignment * alignment }

    private static func append(_ value: some FixedWidthInteger & BitwiseCopyable, to out: inout [UInt8]) {
        withUnsafeBytes(of: value.littleEndian) { out.append(contentsOf: $0) }
    }

    private static func append(string: [UInt8], to out: inout [UInt8]) {
        append(UInt64(string.count), to: &out)
        out.append(contentsOf: string)
    }

    private static func append(_ value: Value, to out: inout [UInt8]) {
        switch value {
        case .uint8(let number): append(number, to: &out)
        case .int8(let number): append(number, to: &out)
        case .uint16(let number): append(number, to: &out)
        case .int16(let number): append(number, to: &out)
        case .uint32(let number): append(number, to: &out)
        case .int32(let number): append(number, to: &out)
        case .uint64(let number): append(number, to: &out)
        case .int64(let number): append(number, to: &out)
        case .float32(let number): append(number.bitPattern, to: &out)
        case .float64(let number): append(number.bitPattern, to: &out)
        case .bool(let flag): append(UInt8(flag ? 1 : 0), to: &out)
        case .string(let text): append(string: Array(text.utf8), to: &out)
        case .bytes(let bytes): append(string: bytes, to: &out)
        case .array(let type, let values):
            append(type.rawValue, to: &out)
            append(UInt64(values.count), to: &out)
            for element in values {
                precondition(element.type == type, "an array of \(type) has an element of \(element.type)")
                append(element, to: &out)
            }
        }
    }
}

extension GGUFWriter.Value {
    /// The type that stands in the file.
    package var type: MetadataType {
        switch self {
        case .uint8: .uint8
        case .int8: .int8
        case .uint16: .uint16
        case .int16: .int16
        case .uint32: .uint32
        case .int32: .int32
        case .float32: .float32
        case .bool: .bool
        case .string, .bytes: .string
        case .uint64: .uint64
        case .int64: .int64
        case .float64: .float64
        case .array: .array
        }
    }
}
