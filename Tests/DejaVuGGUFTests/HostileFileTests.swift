import DejaVuCore
import DejaVuGGUF
import Testing

/// A file that breaks the format in one way, and what the error must say.
struct HostileFile: CustomTestStringConvertible, Sendable {
    let name: String
    let bytes: [UInt8]
    let message: String
    var testDescription: String { name }

    init(_ name: String, _ bytes: [UInt8], _ message: String) {
        self.name = name
        self.bytes = bytes
        self.message = message
    }
}

private func oneKey(_ key: String, type: UInt32, _ value: [UInt8]) -> [UInt8] {
    header(keys: 1) + bytes(key) + bytes(type) + value + [UInt8](repeating: 0, count: 64)
}

private func oneTensor(
    type: UInt32 = 0, dimensions: [UInt64] = [4], offset: UInt64 = 0, data: Int = 64
) -> [UInt8] {
    let head = header(tensors: 1) + directoryEntry("t", type: type, dimensions: dimensions, offset: offset)
    return head + [UInt8](repeating: 0, count: (32 - head.count % 32) % 32 + data)
}

private let longName = String(repeating: "n", count: 64)

private let hostileFiles: [HostileFile] = [
    HostileFile("empty", [], "magic at offset 0 needs 4 bytes"),
    HostileFile("magic", Array("GGML".utf8) + [UInt8](repeating: 0, count: 20), "magic at offset 0 is not 'GGUF'"),
    HostileFile("version 1", header(version: 1), "version at offset 4 is 1"),
    HostileFile("version 4", header(version: 4), "version at offset 4 is 4"),
    HostileFile("big endian", header(version: 0x0300_0000), "version at offset 4 is big endian"),
    HostileFile("cut in header", Array(header().prefix(20)), "metadata count at offset 16 needs 8 bytes"),
    HostileFile("tensor count", header(tensors: .max), "tensor count at offset 8 is 18446744073709551615"),
    HostileFile("more tensors than bytes", header(tensors: 1000), "tensor count at offset 8 is 1000, which cannot"),
    HostileFile("key count", header(keys: 1 << 40), "metadata count at offset 16 is 1099511627776"),
    HostileFile("more keys than bytes", header(keys: 60_000), "metadata count at offset 16 is 60000, which cannot"),
    HostileFile(
        "key length", header(keys: 1) + bytes(UInt64.max) + [UInt8](repeating: 0, count: 64),
        "metadata key 0 at offset 24 has a length of 18446744073709551615"),
    HostileFile("key empty", oneKey("", type: 0, [1]), "metadata key 0 at offset 24 is empty"),
    HostileFile(
        "key not UTF-8", header(keys: 1) + bytes(UInt64(2)) + [0xC3, 0x28] + [UInt8](repeating: 0, count: 64),
        "metadata key 0 at offset 32 is not valid UTF-8"),
    HostileFile(
        "key twice",
        header(keys: 2) + bytes("k") + bytes(UInt32(0)) + [1] + bytes("k") + bytes(UInt32(0)) + [1],
        "metadata 'k' at offset 38 is there twice"),
    HostileFile("value type", oneKey("k", type: 13, []), "type of metadata 'k' at offset 33 is 13, which is unknown"),
    HostileFile(
        "string not UTF-8", oneKey("k", type: 8, bytes(UInt64(1)) + [0xFF]),
        "metadata 'k' at offset 45 is not valid UTF-8"),
    HostileFile(
        "string length", oneKey("k", type: 8, bytes(UInt64(1) << 63)), "metadata 'k' at offset 37 has a length"),
    HostileFile(
        "array element type", oneKey("k", type: 9, bytes(UInt32(99)) + bytes(UInt64(0))),
        "element type of metadata 'k' at offset 37 is 99"),
    HostileFile(
        "array count", oneKey("k", type: 9, bytes(UInt32(10)) + bytes(UInt64(1) << 61)),
        "element count of metadata 'k' at offset 41 is 2305843009213693952, which cannot fit"),
    HostileFile(
        "array of arrays of arrays",
        oneKey("k", type: 9, (0..<8).flatMap { _ in bytes(UInt32(9)) + bytes(UInt64(1)) }),
        "has arrays nested deeper than 4"),
    HostileFile(
        "alignment type", oneKey("general.alignment", type: 10, bytes(UInt64(32))),
        "metadata 'general.alignment' at offset 53 is of type uint64; wanted uint32"),
    HostileFile(
        "alignment 0", oneKey("general.alignment", type: 4, bytes(UInt32(0))), "offset 53 is 0; wanted a power"),
    HostileFile("alignment 24", oneKey("general.alignment", type: 4, bytes(UInt32(24))), "is 24; wanted a power"),
    HostileFile("alignment 4", oneKey("general.alignment", type: 4, bytes(UInt32(4))), "is 4; wanted a power"),
    HostileFile(
        "tensor name", header(tensors: 1) + directoryEntry(longName) + [UInt8](repeating: 0, count: 64),
        "name of tensor 0 at offset 24 has 64 bytes; at most 63 are allowed"),
    HostileFile(
        "tensor twice",
        header(tensors: 2) + directoryEntry("t") + directoryEntry("t") + [UInt8](repeating: 0, count: 64),
        "tensor 't' at offset 57 is there twice"),
    HostileFile("no dimensions", oneTensor(dimensions: []), "dimension count of tensor 't' at offset 33 is 0"),
    HostileFile(
        "5 dimensions", oneTensor(dimensions: [1, 1, 1, 1, 1]), "dimension count of tensor 't' at offset 33 is 5"),
    HostileFile("dimension 0", oneTensor(dimensions: [4, 0]), "dimension 1 of tensor 't' at offset 45 is 0"),
    HostileFile("dimension negative", oneTensor(dimensions: [.max]), "dimension 0 of tensor 't' at offset 37 is 1844"),
    HostileFile(
        "elements overflow", oneTensor(dimensions: [1 << 32, 1 << 32]), "dimensions of tensor 't' at offset 37 are"),
    HostileFile(
        "bytes overflow", oneTensor(type: 0, dimensions: [1 << 62]), "dimensions of tensor 't' at offset 37 are"),
    HostileFile("tensor type", oneTensor(type: 4), "type of tensor 't' at offset 45 is 4, which is unknown"),
    HostileFile("tensor type far off", oneTensor(type: .max), "type of tensor 't' at offset 45 is 4294967295"),
    HostileFile("part of a block", oneTensor(type: 2, dimensions: [33]), "not a multiple of the 32 elements"),
    HostileFile(
        "offset not aligned", oneTensor(offset: 8), "data offset of tensor 't' at offset 49 is 8, not a multiple"),
    HostileFile(
        "offset behind the end", oneTensor(offset: 64), "data offset of tensor 't' at offset 49 is 64: 16 bytes"),
    HostileFile(
        "offset overflows", oneTensor(offset: .max - 31), "is 18446744073709551584: 16 bytes from there do not"),
    HostileFile("data cut", oneTensor(data: 15), "16 bytes from there do not fit in the 15 bytes"),
    HostileFile(
        "tensors overlap",
        header(tensors: 2) + directoryEntry("a", dimensions: [16], offset: 0)
            + directoryEntry("b", dimensions: [4], offset: 32) + [UInt8](repeating: 0, count: 160),
        "data offset of tensor 'b' at offset 82 is 32, inside the data of tensor 'a'"),
    HostileFile(
        "control characters", oneKey("a\u{1B}[2Jb", type: 77, []), "type of metadata 'a?[2Jb' at offset"),
]

@Test(arguments: hostileFiles)
func hostileFile_isRefusedWithFieldAndOffset(_ hostile: HostileFile) throws {
    let error = #expect(throws: DejaVuError.self) { try GGUFFile(bytes: hostile.bytes) }
    let message = try #require(error?.message)
    #expect(message.contains(hostile.message), "\(message)")
    #expect(error?.subject?.isEmpty == false)
}

@Test func everyTruncation_isRefused() throws {
    let whole = smallWriter().bytes()
    for count in 0..<whole.count {
        #expect(throws: DejaVuError.self) { try GGUFFile(bytes: Array(whole.prefix(count))) }
    }
}

@Test func hugeCounts_inManyNestedArrays_takeLinearTime() throws {
    // Each inner array claims as many elements as the file has room for, which is the worst that can be claimed.
    var body: [UInt8] = []
    let arrays = 20_000
    for _ in 0..<arrays { body += bytes(UInt32(9)) + bytes(UInt64(0)) }
    let file = header(keys: 1) + bytes("k") + bytes(UInt32(9)) + bytes(UInt32(9)) + bytes(UInt64(arrays)) + body
    let nested = try GGUFFile(bytes: file).require("k", as: MetadataArray.self).arrays()
    #expect(nested.count == arrays)
    #expect(nested.allSatisfy { $0.count == 0 })
}
