/// A tensor that a layer may have, named as in GGUF files: `blk.N.` and this.
package enum LayerTensor: String, CaseIterable, Sendable {
    case attentionNorm = "attn_norm.weight"
    case query = "attn_q.weight"
    case queryBias = "attn_q.bias"
    case key = "attn_k.weight"
    case keyBias = "attn_k.bias"
    case value = "attn_v.weight"
    case valueBias = "attn_v.bias"
    case attentionOutput = "attn_output.weight"
    case attentionOutputBias = "attn_output.bias"
    case feedForwardNorm = "ffn_norm.weight"
    case gate = "ffn_gate.weight"
    case gateBias = "ffn_gate.bias"
    case up = "ffn_up.weight"
    case upBias = "ffn_up.bias"
    case down = "ffn_down.weight"
    case downBias = "ffn_down.bias"

    /// Whether it multiplies rows, and may be of any weight type; the others are F32 vectors.
    var isMatrix: Bool {
        switch self {
        case .query, .key, .value, .attentionOutput, .gate, .up, .down: true
        default: false
        }
    }

    func shape(in model: DecoderDescription) -> [Int] {
        switch self {
        case .attentionNorm, .feedForwardNorm, .attentionOutputBias, .downBias: [model.embeddingSize]
        case .query: [model.embeddingSize, model.querySize]
        case .queryBias: [model.querySize]
        case .key, .value: [model.embeddingSize, model.keySize]
        case .keyBias, .valueBias: [model.keySize]
        case .attentionOutput: [model.querySize, model.embeddingSize]
        case .gate, .up: [model.embeddingSize, model.feedForwardSize]
        case .gateBias, .upBias: [model.feedForwardSize]
        case .down: [model.feedForwardSize, model.embeddingSize]
        }
    }

    func name(layer: Int) -> String { "blk.\(layer).\(rawValue)" }
}

/// What tells one family of decoders from another. The graph is the same for all: pre-norm attention with rotated
/// positions, pre-norm gated feed-forward, residuals; a family says which tensors take part and how heads are turned.
package struct DecoderFamily: Hashable, Sendable {
    /// `general.architecture`, which is also the prefix of the family's metadata.
    package let architecture: String
    /// Rotation turns pairs (i, i + half) rather than (2i, 2i + 1).
    package let rotatesHalves: Bool
    package let requiredTensors: [LayerTensor]
    package let optionalTensors: [LayerTensor]

    /// SmolLM2, Llama 2 and 3, Mistral and their relatives.
    package static let llama = DecoderFamily(
        architecture: "llama", rotatesHalves: false,
        requiredTensors: [
            .attentionNorm, .query, .key, .value, .attentionOutput, .feedForwardNorm, .gate, .up, .down,
        ],
        optionalTensors: [
            .queryBias, .keyBias, .valueBias, .attentionOutputBias, .gateBias, .upBias, .downBias,
        ])

    package static let all = [llama]
}
