/// An entry of the vocabulary.
public typealias TokenID = Int32

/// A token's number and a weight that belongs to it.
public struct TokenWeight: Hashable, Codable, Sendable {
    public let token: TokenID
    public let weight: Float
    public init(token: TokenID, weight: Float) {
        self.token = token
        self.weight = weight
    }
}

/// How the next token is chosen from the logits. The defaults switch everything off except temperature 1.
///
/// Sampling is a function of (logits, history, seed, position) and keeps no state.
public struct SamplingParameters: Hashable, Codable, Sendable {
    /// 0 is greedy: the largest logit, the lowest id among equals.
    public var temperature: Float = 1
    /// Keep the k most likely tokens; 0 keeps all.
    public var topK: Int = 0
    /// Keep the smallest set whose probability reaches p; 1 keeps all.
    public var topP: Float = 1
    /// Drop what is less likely than this share of the most likely; 0 keeps all.
    public var minP: Float = 0
    /// Locally typical sampling (Meister et al. 2022); 1 is off.
    public var typicalP: Float = 1
    /// Divides positive and multiplies negative logits of tokens in the window; 1 is off.
    public var repetitionPenalty: Float = 1
    /// Subtracted once from each token that occurs among the outputs; 0 is off.
    public var presencePenalty: Float = 0
    /// Subtracted for each occurrence among the outputs; 0 is off.
    public var frequencyPenalty: Float = 0
    /// How many of the last tokens, prompt included, the repetition penalty looks at; 0 is all.
    public var repetitionWindow: Int = 64
    /// Added to the logits before anything else; at most 300 entries, ascending by token, none twice.
    public var logitBias: [TokenWeight] = []
    public var seed: UInt64 = 0
    /// How many alternatives to report with each token (0...20); nil reports no probabilities at all.
    public var topLogprobs: Int?

    public init() {}
    public static let greedy: SamplingParameters = {
        var parameters = SamplingParameters()
        parameters.temperature = 0
        return parameters
    }()
}

/// A token that the last stage chose.
public struct SampledToken: Hashable, Codable, Sendable {
    public let sequence: SequenceID
    /// The index that the token takes in the sequence: it is accepted iff this is the number of known tokens.
    public let position: Int
    public let token: TokenID
    /// Natural logarithm of its probability under the unmodified logits; nil unless asked for.
    public let logprob: Float?
    /// The most likely tokens with their log probabilities, most likely first; empty unless asked for.
    public let alternatives: [TokenWeight]

    public init(
        sequence: SequenceID, position: Int, token: TokenID, logprob: Float? = nil, alternatives: [TokenWeight] = []
    ) {
        self.sequence = sequence
        self.position = position
        self.token = token
        self.logprob = logprob
        self.alternatives = alternatives
    }
}
