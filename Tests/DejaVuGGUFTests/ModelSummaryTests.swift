import DejaVuCore
import DejaVuGGUF
import Testing

/// `smallWriter` with the sizes of a model of two layers.
func summaryWriter() -> GGUFWriter {
    var writer = smallWriter()
    writer.set("llama.block_count", .uint32(2))
    writer.set("llama.embedding_length", .uint32(64))
    writer.set("llama.feed_forward_length", .uint32(96))
    writer.set("llama.context_length", .uint32(2048))
    writer.set("llama.attention.head_count", .uint32(4))
    writer.set("llama.attention.head_count_kv", .array(.uint32, [.uint32(2), .uint32(1)]))
    writer.set("llama.vocab_size", .uint32(3))
    writer.add("blk.1.ffn_up.weight", .q8_0, [32], bytes: [UInt8](repeating: 1, count: 34))
    writer.add("output_norm.weight", [4], floats: [1, 1, 1, 1])
    writer.add("rope_freqs.weight", [2], floats: [1, 2])
    return writer
}

@Test func summary_ofSmallModel_countsBytesByPlace() throws {
    let summary = try ModelSummary(GGUFFile(bytes: summaryWriter().bytes()))
    #expect(summary.architecture == "llama")
    #expect(summary.layers == 2)
    #expect(summary.heads == 4)
    #expect(summary.kvHeads == 2)
    #expect(summary.headSize == 16)
    #expect(summary.kvBytesPerPosition == (2 + 1) * (16 + 16) * 2)
    #expect(summary.layerBytes == [72 + 20, 34])
    #expect(summary.embeddingBytes == 48)
    #expect(summary.outputBytes == 16)
    #expect(summary.otherBytes == 8)
    #expect(summary.outputIsTied)
    #expect(summary.parameters == 12 + 128 + 5 + 32 + 4 + 2)
    #expect(summary.quantization.map(\.type) == ["F32", "Q4_0", "Q8_0"])
    #expect(summary.quantization.map(\.bytes) == [92, 72, 34])
}

@Test(arguments: [
    ("llama.block_count", GGUFWriter.Value.uint32(0)), ("llama.block_count", .uint32(4_000_000_000)),
    ("llama.attention.head_count", .int32(-1)), ("llama.attention.head_count", .string("4")),
    ("llama.attention.head_count_kv", .integers([1, 2, 3])), ("llama.context_length", .uint64(.max)),
])
func summary_absurdSize_isNamed(key: String, value: GGUFWriter.Value) throws {
    var writer = GGUFWriter()
    for (name, old) in summaryWriter().metadata { writer.set(name, name == key ? value : old) }
    let file = try GGUFFile(bytes: writer.bytes())
    let error = #expect(throws: DejaVuError.self) { try ModelSummary(file) }
    #expect(error?.message.contains("'\(key)'") == true)
}

@Test func summary_ofTheModel_isThatOfSmolLM2() throws {
    let summary = try ModelSummary(GGUFFile(path: modelPath()))
    #expect(summary.layers == 30)
    #expect(summary.heads == 9)
    #expect(summary.kvHeads == 3)
    #expect(summary.headSize == 64)
    #expect(summary.vocabularySize == 49_152)
    #expect(summary.contextLength == 8192)
    #expect(summary.outputIsTied)
    #expect(summary.parameters == 134_515_008)
    #expect(summary.kvBytesPerPosition == 30 * 3 * 128 * 2)
    let parts = summary.layerBytes.reduce(0, +) + summary.embeddingBytes + summary.outputBytes + summary.otherBytes
    #expect(parts == summary.quantization.reduce(0) { $0 + $1.bytes })
    #expect(parts < summary.fileBytes)
}

@Test(arguments: [("blk.0.x", 0), ("blk.12.attn_q.weight", 12), ("blk.+1.x", nil), ("blk.1", nil), ("blk..x", nil)])
func layerOfName_isTheNumberAfterBlk(name: String, layer: Int?) {
    #expect(ModelSummary.layer(of: name) == layer)
}
