import DejaVuGGUF

/// A small valid file with every kind of value and tensors of several types.
func smallWriter() -> GGUFWriter {
    var writer = GGUFWriter()
    writer.set("general.architecture", .string("llama"))
    writer.set("a.uint8", .uint8(200))
    writer.set("a.int8", .int8(-7))
    writer.set("a.uint16", .uint16(60_000))
    writer.set("a.int16", .int16(-300))
    writer.set("a.uint32", .uint32(4_000_000_000))
    writer.set("a.int32", .int32(-5))
    writer.set("a.uint64", .uint64(.max))
    writer.set("a.int64", .int64(.min))
    writer.set("a.float32", .float32(1.5))
    writer.set("a.float64", .float64(-0.25))
    writer.set("a.bool", .bool(true))
    writer.set("a.strings", .strings(["one", "", "zwölf"]))
    writer.set("a.floats", .floats([0.5, -1]))
    writer.set("a.integers", .integers([1, -2, 3]))
    writer.set("a.booleans", .array(.bool, [.bool(true), .bool(false)]))
    writer.set("a.nested", .array(.array, [.integers([1]), .strings(["x", "y"])]))
    writer.set("a.raw", .array(.string, [.bytes([0xFF, 0x00])]))
    writer.add("token_embd.weight", [4, 3], floats: (0..<12).map { Float($0) })
    writer.add("blk.0.attn_q.weight", .q4_0, [64, 2], bytes: [UInt8](repeating: 7, count: 4 * 18))
    writer.add("blk.0.attn_norm.weight", [5], floats: [1, 2, 3, 4, 5])
    return writer
}

/// Little-endian bytes.
func bytes(_ value: some FixedWidthInteger & BitwiseCopyable) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
}

/// A string as the format has it.
func bytes(_ text: String) -> [UInt8] { bytes(UInt64(text.utf8.count)) + Array(text.utf8) }

/// Magic, version and counts.
func header(version: UInt32 = 3, tensors: UInt64 = 0, keys: UInt64 = 0) -> [UInt8] {
    Array("GGUF".utf8) + bytes(version) + bytes(tensors) + bytes(keys)
}

/// One entry of a tensor directory.
func directoryEntry(
    _ name: String, type: UInt32 = 0, dimensions: [UInt64] = [4], offset: UInt64 = 0
) -> [UInt8] {
    bytes(name) + bytes(UInt32(dimensions.count)) + dimensions.flatMap { bytes($0) } + bytes(type) + bytes(offset)
}
