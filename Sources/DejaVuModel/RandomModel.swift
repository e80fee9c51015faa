package import DejaVuCore
package import DejaVuGGML
import DejaVuGGUF

/// Makes tiny models of the `llama` family from a seed: for tests and for trying a cluster without a download.
///
/// The text that they write means nothing, but their logits depend strongly on everything that can be computed wrongly:
/// queries and keys are scaled so that attention is sharp, which makes it sensitive to positions, masks and norms.
/// The same seed gives the same bytes everywhere.
package struct RandomModel: Sendable {
    package var seed: UInt64 = 1
    /// The type of every matrix.
    package var type = ElementType.f32
    package var layerCount = 3
    package var embeddingSize = 256
    package var feedForwardSize = 512
    package var headCount = 4
    package var keyHeadCount = 2
    package var headSize = 64
    /// At least 259: the bytes and three special tokens.
    package var vocabularySize = 320
    package var contextLength = 2048
    package var rotationBase: Float = 10_000
    /// `linear` or `yarn` with a factor, if any.
    package var rotationScaling: (type: String, factor: Float)?
    package var hasRotationFactors = false
    package var tiesOutput = false
    package var hasBiases = false
    /// How strongly queries, keys, values and gates vary: the greater, the farther any mistake carries, rounding too.
    package var sharpness: Float = 0.6
    /// What tensors' offsets are multiples of.
    package var alignment = 32

    package init() {}

    /// The file's bytes.
    ///
    /// - Throws: `.unsupported` if the rows cannot be encoded in the type.
    package func bytes() throws(DejaVuError) -> [UInt8] {
        var writer = GGUFWriter(alignment: alignment)
        writeMetadata(&writer)
        var values = SeededGenerator(seed: seed)
        try add("token_embd.weight", [embeddingSize, vocabularySize], 1, &values, &writer)
        for layer in 0..<layerCount { try addLayer("blk.\(layer).", &values, &writer) }
        addNorm("output_norm.weight", &values, &writer)
        if !tiesOutput {
            try add("output.weight", [embeddingSize, vocabularySize], spread(embeddingSize), &values, &writer)
        }
        if hasRotationFactors {
            // As Llama 3 has them: high frequencies as they are, low ones divided.
            let half = headSize / 2
            let factors = (0..<half).map { Float($0 < half / 2 ? 1 : 1 + 7 * ($0 - half / 2) / half) }
            writer.add("rope_freqs.weight", [half], floats: factors)
        }
        return writer.bytes()
    }

    private func writeMetadata(_ writer: inout GGUFWriter) {
        writer.set("general.architecture", .string("llama"))
        writer.set("general.name", .string("random \(seed)"))
        writer.set("llama.block_count", .uint32(UInt32(layerCount)))
        writer.set("llama.context_length", .uint32(UInt32(contextLength)))
        writer.set("llama.embedding_length", .uint32(UInt32(embeddingSize)))
        writer.set("llama.feed_forward_length", .uint32(UInt32(feedForwardSize)))
        writer.set("llama.attention.head_count", .uint32(UInt32(headCount)))
        writer.set("llama.attention.head_count_kv", .uint32(UInt32(keyHeadCount)))
        writer.set("llama.attention.key_length", .uint32(UInt32(headSize)))
        writer.set("llama.attention.value_length", .uint32(UInt32(headSize)))
        writer.set("llama.attention.layer_norm_rms_epsilon", .float32(1e-5))
        writer.set("llama.rope.dimension_count", .uint32(UInt32(headSize)))
        writer.set("llama.rope.freq_base", .float32(rotationBase))
        writer.set("llama.vocab_size", .uint32(UInt32(vocabularySize)))
        if let rotationScaling {
            writer.set("llama.rope.scaling.type", .string(rotationScaling.type))
            writer.set("llama.rope.scaling.factor", .float32(rotationScaling.factor))
            writer.set(
                "llama.rope.scaling.original_context_length",
                .uint32(UInt32(Float(contextLength) / rotationScaling.factor)))
        }
        writeVocabulary(&writer)
    }

    /// A byte-level vocabulary without merges: every byte is a token.
    private func writeVocabulary(_ writer: inout GGUFWriter) {
        precondition(vocabularySize >= 259, "the vocabulary has the bytes and three special tokens")
        // GPT-2's alphabet: printable bytes stand for themselves, the others for the characters from 256 on.
        var shifted: UInt32 = 256
        var tokens = (0..<256).map { (byte: UInt32) -> String in
            let isPrintable = (33...126).contains(byte) || (161...172).contains(byte) || byte >= 174
            defer { if !isPrintable { shifted += 1 } }
            return Unicode.Scalar(isPrintable ? byte : shifted).map { String(Character($0)) } ?? ""
        }
        tokens += ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        tokens += (259..<vocabularySize).map { "<unused\($0)>" }
        writer.set("tokenizer.ggml.model", .string("gpt2"))
        writer.set("tokenizer.ggml.pre", .string("smollm"))
        writer.set("tokenizer.ggml.tokens", .strings(tokens))
        writer.set("tokenizer.ggml.token_type", .integers(tokens.indices.map { $0 < 256 ? 1 : 3 }))
        writer.set("tokenizer.ggml.merges", .strings([]))
        writer.set("tokenizer.ggml.bos_token_id", .uint32(257))
        writer.set("tokenizer.ggml.eos_token_id", .uint32(258))
        writer.set("tokenizer.ggml.add_bos_token", .bool(false))
        writer.set(
            "tokenizer.chat_template",
            .string(
                "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
                    + "'<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}"
                    + "{{ '<|im_start|>assistant\n' }}{% endif %}"))
    }

    private func addLayer(
        _ prefix: String, _ values: inout SeededGenerator, _ writer: inout GGUFWriter
    ) throws(DejaVuError) {
        let querySize = headCount * headSize
        let keySize = keyHeadCount * headSize
        let sharp = sharpness * spread(embeddingSize)
        addNorm(prefix + "attn_norm.weight", &values, &writer)
        try add(prefix + "attn_q.weight", [embeddingSize, querySize], sharp, &values, &writer)
        try add(prefix + "attn_k.weight", [embeddingSize, keySize], sharp, &values, &writer)
        try add(prefix + "attn_v.weight", [embeddingSize, keySize], sharp, &values, &writer)
        try add(prefix + "attn_output.weight", [querySize, embeddingSize], spread(querySize), &values, &writer)
        addNorm(prefix + "ffn_norm.weight", &values, &writer)
        try add(prefix + "ffn_gate.weight", [embeddingSize, feedForwardSize], sharp, &values, &writer)
        try add(prefix + "ffn_up.weight", [embeddingSize, feedForwardSize], spread(embeddingSize), &values, &writer)
        try add(
            prefix + "ffn_down.weight", [feedForwardSize, embeddingSize], spread(feedForwardSize), &values, &writer)
        guard hasBiases else { return }
        let biases = [
            ("attn_q", querySize), ("attn_k", keySize), ("attn_v", keySize), ("attn_output", embeddingSize),
            ("ffn_gate", feedForwardSize), ("ffn_up", feedForwardSize), ("ffn_down", embeddingSize),
        ]
        for (name, count) in biases {
            writer.add("\(prefix)\(name).bias", [count], floats: uniform(count, 0.5, &values))
        }
    }

    private func spread(_ inputs: Int) -> Float { 1 / Float(inputs).squareRoot() }

    /// Numbers of mean 0 and standard deviation `deviation`.
    private func uniform(_ count: Int, _ deviation: Float, _ values: inout SeededGenerator) -> [Float] {
        let width = 2 * deviation * Float(3).squareRoot()
        var result: [Float] = []
        result.reserveCapacity(count)
        for _ in 0..<count { result.append((Float(values.next() >> 40) * 0x1p-24 - 0.5) * width) }
        return result
    }

    private func addNorm(_ name: String, _ values: inout SeededGenerator, _ writer: inout GGUFWriter) {
        let around = uniform(embeddingSize, 0.3, &values).map { $0 + 1 }
        writer.add(name, [embeddingSize], floats: around)
    }

    private func add(
        _ name: String, _ shape: [Int], _ deviation: Float, _ values: inout SeededGenerator,
        _ writer: inout GGUFWriter
    ) throws(DejaVuError) {
        let floats = uniform(shape[0] * shape[1], deviation, &values)
        guard let stored = TensorType(rawValue: type.rawValue) else {
            throw DejaVuError(.unsupported, "\(type) is not stored in files", subject: "type")
        }
        writer.add(name, stored, shape, bytes: try type.encode(floats, rowLength: shape[0]))
    }
}
