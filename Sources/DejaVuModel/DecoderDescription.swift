package import DejaVuCore
package import DejaVuGGML
package import DejaVuGGUF

/// The shape of one model, read from its file and checked.
package struct DecoderDescription: Hashable, Sendable {
    package let family: DecoderFamily
    package let layerCount: Int
    package let contextLength: Int
    package let embeddingSize: Int
    package let feedForwardSize: Int
    package let headCount: Int
    package let keyHeadCount: Int
    package let headSize: Int
    package let vocabularySize: Int
    package let normEpsilon: Float
    package let rotation: RotationParameters
    /// Whether the logits come from the embedding matrix.
    package let tiesOutput: Bool
    /// Whether `rope_freqs.weight` divides the rotation's frequencies, as in Llama 3.
    package let hasRotationFactors: Bool

    package var querySize: Int { headCount * headSize }
    package var keySize: Int { keyHeadCount * headSize }
    /// Bytes of K and V of one position in one layer, both F16.
    package var kvBytesPerPositionAndLayer: Int { 2 * 2 * keySize }
    package var hiddenRowBytes: Int { 4 * embeddingSize }
    /// What the logits cost a stage that runs prompts and steps, in layers. Of a prompt only the last row has logits:
    /// where answers are a third as long as prompts, steps are about 40% of the work (docs/decisions/0010).
    package var outputCost: Double {
        let layer = embeddingSize * (2 * querySize + 2 * keySize + 3 * feedForwardSize)
        return 0.4 * Double(embeddingSize * vocabularySize) / Double(layer)
    }

    package static let embeddingName = "token_embd.weight"
    package static let outputNormName = "output_norm.weight"
    package static let outputName = "output.weight"
    package static let rotationFactorsName = "rope_freqs.weight"

    /// Reads the shape.
    ///
    /// - Throws: `.unsupported` for another architecture or a variant that we do not compute, `.invalidFile` for
    ///   numbers that make no model; both name the field.
    package init(file: GGUFFile) throws(DejaVuError) {
        let architecture: String = try file.require("general.architecture")
        guard let family = DecoderFamily.all.first(where: { $0.architecture == architecture }) else {
            let known = DecoderFamily.all.map(\.architecture).joined(separator: ", ")
            throw DejaVuError(
                .unsupported, "general.architecture is \(String(architecture.prefix(60))); known: \(known)",
                subject: "general.architecture")
        }
        let fields = MetadataFields(file: file, prefix: architecture + ".")
        self.family = family
        layerCount = try fields.integer("block_count", 1...1024)
        contextLength = try fields.integer("context_length", 1...(1 << 24))
        embeddingSize = try fields.integer("embedding_length", 1...(1 << 17))
        feedForwardSize = try fields.integer("feed_forward_length", 1...(1 << 20))
        headCount = try fields.integer("attention.head_count", 1...1024)
        keyHeadCount = try fields.integer("attention.head_count_kv", 1...1024, default: headCount)
        guard headCount % keyHeadCount == 0 else {
            throw fields.invalid("attention.head_count_kv", "\(keyHeadCount) does not divide \(headCount) heads")
        }
        headSize = try fields.integer("attention.key_length", 1...512, default: embeddingSize / headCount)
        guard headSize % 16 == 0 else {
            throw DejaVuError(
                .unsupported, "a head of \(headSize) elements: only multiples of 16 are computed",
                subject: architecture + ".attention.key_length")
        }
        guard try fields.integer("attention.value_length", 1...512, default: headSize) == headSize else {
            throw fields.unsupported("attention.value_length", "differs from the key length \(headSize)")
        }
        guard try fields.integer("expert_count", 0...65_536, default: 0) == 0 else {
            throw fields.unsupported("expert_count", "a mixture of experts is not computed")
        }
        normEpsilon = try fields.number("attention.layer_norm_rms_epsilon", 0...1)
        guard let embedding = file.tensor(Self.embeddingName), embedding.dimensions.count == 2 else {
            throw DejaVuError(
                .invalidFile, "the tensor \(Self.embeddingName) is missing or no matrix", subject: Self.embeddingName)
        }
        vocabularySize = try fields.integer("vocab_size", 1...(1 << 22), default: embedding.dimensions[1])
        tiesOutput = file.tensor(Self.outputName) == nil
        hasRotationFactors = file.tensor(Self.rotationFactorsName) != nil
        rotation = try RotationParameters(
            fields, family: family, headSize: headSize, contextLength: contextLength)
    }
}

/// Reads a family's metadata and checks ranges; errors name the whole key.
struct MetadataFields {
    let file: GGUFFile
    let prefix: String

    func integer(_ key: String, _ range: ClosedRange<Int>, default fallback: Int? = nil) throws(DejaVuError) -> Int {
        let value: Int
        if let fallback {
            value = try file.get(prefix + key) ?? fallback
        } else {
            value = try file.require(prefix + key)
        }
        guard range.contains(value) else {
            throw invalid(key, "\(value) is not in \(range.lowerBound)...\(range.upperBound)")
        }
        return value
    }

    func number(
        _ key: String, _ range: ClosedRange<Float>, default fallback: Float? = nil
    ) throws(DejaVuError) -> Float {
        let value: Float
        if let fallback {
            value = try file.get(prefix + key) ?? fallback
        } else {
            value = try file.require(prefix + key)
        }
        // A NaN is in no range.
        guard range.contains(value) else {
            throw invalid(key, "\(value) is not in \(range.lowerBound)...\(range.upperBound)")
        }
        return value
    }

    func has(_ key: String) -> Bool { file.value(prefix + key) != nil }

    func text(_ key: String, default fallback: String) throws(DejaVuError) -> String {
        try file.get(prefix + key) ?? fallback
    }

    func invalid(_ key: String, _ problem: String) -> DejaVuError {
        DejaVuError(.invalidFile, "\(prefix)\(key): \(problem)", subject: prefix + key)
    }

    func unsupported(_ key: String, _ problem: String) -> DejaVuError {
        DejaVuError(.unsupported, "\(prefix)\(key): \(problem)", subject: prefix + key)
    }
}
