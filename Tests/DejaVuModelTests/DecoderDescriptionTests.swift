import DejaVuCore
import DejaVuGGML
import DejaVuGGUF
import DejaVuModel
import Testing

/// Files whose metadata and tensors do not fit together are refused by name.
struct DecoderDescriptionTests {
    @Test func description_randomModel_isRead() throws {
        var model = RandomModel()
        model.rotationScaling = ("yarn", 4)
        model.tiesOutput = true
        let description = try DecoderDescription(file: GGUFFile(bytes: try model.bytes()))
        #expect(description.layerCount == 3 && description.headCount == 4 && description.keyHeadCount == 2)
        #expect(description.headSize == 64 && description.vocabularySize == 320 && description.tiesOutput)
        #expect(description.kvBytesPerPositionAndLayer == 2 * 2 * 128)
        #expect(description.rotation.frequencyScale == 0.25 && description.rotation.originalContext == 512)
    }

    private func file(_ changes: [String: GGUFWriter.Value]) throws -> GGUFFile {
        var writer = GGUFWriter()
        var values: [(String, GGUFWriter.Value)] = [
            ("general.architecture", .string("llama")), ("llama.block_count", .uint32(1)),
            ("llama.context_length", .uint32(64)), ("llama.embedding_length", .uint32(32)),
            ("llama.feed_forward_length", .uint32(32)), ("llama.attention.head_count", .uint32(2)),
            ("llama.attention.layer_norm_rms_epsilon", .float32(1e-5)),
        ]
        for index in values.indices { values[index].1 = changes[values[index].0] ?? values[index].1 }
        let known = values.map(\.0)
        for key in changes.keys.sorted() where !known.contains(key) {
            if let value = changes[key] { values.append((key, value)) }
        }
        for (key, value) in values { writer.set(key, value) }
        writer.add("token_embd.weight", [32, 8], floats: [Float](repeating: 0, count: 256))
        return try GGUFFile(bytes: writer.bytes())
    }

    @Test(arguments: [
        ("general.architecture", GGUFWriter.Value.string("mamba")), ("llama.block_count", .uint32(0)),
        ("llama.block_count", .uint32(100_000)), ("llama.embedding_length", .uint32(.max)),
        ("llama.attention.head_count_kv", .uint32(3)), ("llama.attention.head_count", .string("two")),
        ("llama.attention.key_length", .uint32(20)), ("llama.attention.value_length", .uint32(32)),
        ("llama.attention.layer_norm_rms_epsilon", .float32(.nan)), ("llama.expert_count", .uint32(8)),
        ("llama.rope.dimension_count", .uint32(7)), ("llama.rope.freq_base", .float32(-1)),
        ("llama.rope.scaling.type", .string("longrope")), ("llama.rope.scaling.factor", .float32(.infinity)),
        ("llama.vocab_size", .uint32(0)),
    ])
    func description_badField_isRefusedByName(key: String, value: GGUFWriter.Value) throws {
        let file = try file([key: value])
        #expect { try DecoderDescription(file: file) } throws: { error in
            (error as? DejaVuError)?.subject?.contains(key) ?? false
        }
    }

    @Test func engine_missingTensor_isRefusedByName() throws {
        let file = try file([:])
        let options = StageEngineOptions(layers: LayerRange(0, 1), cellCount: 256)
        #expect { try GGMLStageEngine(file: file, options: options) } throws: { error in
            (error as? DejaVuError)?.subject == "output_norm.weight"
        }
    }

    @Test func engine_tensorOfAnotherShape_isRefusedByName() throws {
        let file = try file(["llama.vocab_size": .uint32(9)])
        let options = StageEngineOptions(layers: LayerRange(0, 1), cellCount: 256)
        #expect { try GGMLStageEngine(file: file, options: options) } throws: { error in
            (error as? DejaVuError)?.subject == "token_embd.weight"
        }
    }
}
