import DejaVuCore
import DejaVuGGUF
import Foundation
import Testing

@Test func file_everyValueType_readsBack() throws {
    let file = try GGUFFile(bytes: smallWriter().bytes())
    #expect(file.version == 3)
    #expect(file.alignment == 32)
    #expect(file.keys.count == 18)
    #expect(try file.require("general.architecture", as: String.self) == "llama")
    #expect(try file.require("a.uint8", as: Int.self) == 200)
    #expect(try file.require("a.int8", as: Int.self) == -7)
    #expect(try file.require("a.uint16", as: Int.self) == 60_000)
    #expect(try file.require("a.int16", as: Int.self) == -300)
    #expect(try file.require("a.uint32", as: Int.self) == 4_000_000_000)
    #expect(try file.require("a.int32", as: Int.self) == -5)
    #expect(try file.require("a.int64", as: Int.self) == .min)
    #expect(try file.require("a.float32", as: Float.self) == 1.5)
    #expect(try file.require("a.float64", as: Double.self) == -0.25)
    #expect(try file.require("a.int32", as: Double.self) == -5)
    #expect(try file.require("a.bool", as: Bool.self))
    #expect(try file.require("a.strings", as: MetadataArray.self).strings() == ["one", "", "zwölf"])
    #expect(try file.require("a.floats", as: MetadataArray.self).floats() == [0.5, -1])
    #expect(try file.require("a.integers", as: [Int].self) == [1, -2, 3])
    #expect(try file.require("a.booleans", as: MetadataArray.self).booleans() == [true, false])
    let nested = try file.require("a.nested", as: MetadataArray.self).arrays()
    #expect(try nested[0].integers() == [1])
    #expect(try nested[1].strings() == ["x", "y"])
    #expect(try file.get("missing", as: Int.self) == nil)
}

@Test func array_stringsThatAreNotUTF8_areReadAsBytesAndRefusedAsText() throws {
    let array = try GGUFFile(bytes: smallWriter().bytes()).require("a.raw", as: MetadataArray.self)
    var seen: [[UInt8]] = []
    try array.forEachString { seen.append(Array($0)) }
    #expect(seen == [[0xFF, 0x00]])
    let error = #expect(throws: DejaVuError.self) { try array.strings() }
    #expect(error?.message.contains("'a.raw'[0]") == true)
}

@Test func accessor_wrongType_namesKeyAndBothTypes() throws {
    let file = try GGUFFile(bytes: smallWriter().bytes())
    let integer = #expect(throws: DejaVuError.self) { try file.require("a.float32", as: Int.self) }
    #expect(integer?.message.contains("'a.float32' at offset") == true)
    #expect(integer?.message.hasSuffix("is of type float32; wanted an integer") == true)
    let array = #expect(throws: DejaVuError.self) { try file.require("a.strings", as: [Int].self) }
    #expect(array?.message.hasSuffix("is an array of string; wanted an array of integer") == true)
    #expect(throws: DejaVuError.self) { try file.require("a.uint64", as: Int.self) }
    let missing = #expect(throws: DejaVuError.self) { try file.require("missing", as: String.self) }
    #expect(missing?.subject == "metadata 'missing'")
}

@Test func tensors_ofSeveralTypes_haveTheirBytes() throws {
    let file = try GGUFFile(bytes: smallWriter().bytes())
    #expect(file.tensors.map(\.name) == ["token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_norm.weight"])
    let embeddings = try #require(file.tensor("token_embd.weight"))
    #expect(embeddings.dimensions == [4, 3])
    #expect(embeddings.offset == file.dataOffset)
    let values = file.bytes(of: embeddings)
    #expect((0..<12).map { values.load(fromByteOffset: $0 * 4, as: Float.self) } == (0..<12).map { Float($0) })
    let weights = try #require(file.tensor("blk.0.attn_q.weight"))
    #expect(weights.type == .q4_0)
    #expect(weights.byteCount == 72)
    #expect(weights.rowByteCount == 36)
    #expect(file.bytes(of: weights).allSatisfy { $0 == 7 })
    #expect(file.tensor("nothing") == nil)
}

@Test func file_writtenAndMapped_equalsTheOneInMemory() throws {
    let path = NSTemporaryDirectory() + "dejavu-\(UInt64.random(in: 0 ... .max)).gguf"
    defer { try? FileManager.default.removeItem(atPath: path) }
    try smallWriter().write(to: path)
    let mapped = try GGUFFile(path: path)
    let held = try GGUFFile(bytes: smallWriter().bytes())
    #expect(mapped.tensors == held.tensors)
    #expect(mapped.modelID == held.modelID)
    for tensor in mapped.tensors {
        mapped.advise(.willNeed, tensor)
        mapped.advise(.dontNeed, tensor)
        #expect(mapped.bytes(of: tensor).elementsEqual(held.bytes(of: tensor)))
    }
}

@Test func modelID_changesWithMetadataNamesAndData() throws {
    let original = try GGUFFile(bytes: smallWriter().bytes()).modelID
    #expect(original.digest.count == 64)
    #expect(try GGUFFile(bytes: smallWriter().bytes()).modelID == original)
    var bytes = smallWriter().bytes()
    bytes[bytes.count - 1] ^= 1
    #expect(try GGUFFile(bytes: bytes).modelID != original)
    var writer = smallWriter()
    writer.set("one.more", .uint8(0))
    #expect(try GGUFFile(bytes: writer.bytes()).modelID != original)
}

@Test func path_thatIsNoFile_isRefused() {
    #expect(throws: DejaVuError.self) { try GGUFFile(path: "/dev/null") }
    #expect(throws: DejaVuError.self) { try GGUFFile(path: "/") }
    let missing = #expect(throws: DejaVuError.self) { try GGUFFile(path: "/does/not/exist.gguf") }
    #expect(missing?.code == .notFound)
}

@Test func smallModel_isReadAndNamed() throws {
    let file = try GGUFFile(path: modelPath())
    #expect(try file.require("general.architecture", as: String.self) == "llama")
    #expect(try file.require("tokenizer.ggml.tokens", as: MetadataArray.self).count == 49_152)
    #expect(file.tensors.count == 272)
    #expect(file.tensor("blk.0.attn_q.weight")?.type == .q4_1)
    #expect(file.modelID.digest.count == 64)
}

/// The model of `make test`.
func modelPath() -> String {
    ProcessInfo.processInfo.environment["DEJAVU_MODEL"] ?? ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf"
}
