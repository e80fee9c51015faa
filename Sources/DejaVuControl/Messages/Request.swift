public import DejaVuCore

/// What the server asks the controller to generate, after parsing, templating and tokenizing.
public struct Request: Hashable, Codable, Sendable {
    public let id: RequestID
    /// Never empty.
    public let prompt: [TokenID]
    /// How many independent answers; at least 1. Choice `i` samples with `choiceSeed(i)`.
    public let choiceCount: Int
    public let sampling: SamplingParameters
    /// nil takes the server's default.
    public let outputCountMax: Int?
    /// Ascending; empty to ignore the end of text.
    public let stopTokens: [TokenID]
    /// When the request must have ended; what is still queued or running then ends with `.deadline`.
    public let deadline: Instant
    /// What the server needs to make the client's answer out of tokens; see `SequenceRecord.origin`.
    public let origin: [UInt8]

    public init(
        id: RequestID, prompt: [TokenID], choiceCount: Int, sampling: SamplingParameters, outputCountMax: Int?,
        stopTokens: [TokenID], deadline: Instant, origin: [UInt8] = []
    ) {
        self.id = id
        self.prompt = prompt
        self.choiceCount = choiceCount
        self.sampling = sampling
        self.outputCountMax = outputCountMax
        self.stopTokens = stopTokens
        self.deadline = deadline
        self.origin = origin
    }

    /// Choice 0 takes the request's seed as it is, so that `n: 1` and the first of many are the same text.
    public func choiceSeed(_ choice: Int) -> UInt64 {
        choice == 0 ? sampling.seed : mix64(sampling.seed &+ UInt64(choice))
    }
}

/// A request that a controller before this one had taken, as it was found at the workers.
public struct RestoredRequest: Hashable, Codable, Sendable {
    public struct Choice: Hashable, Codable, Sendable {
        /// The accepted tokens that are known. More will be emitted unless it has ended.
        public let outputs: [TokenID]
        public let finish: FinishReason?
        public init(outputs: [TokenID], finish: FinishReason?) {
            self.outputs = outputs
            self.finish = finish
        }
    }
    public let request: Request
    public let choices: [Choice]
    public init(request: Request, choices: [Choice]) {
        self.request = request
        self.choices = choices
    }
}

/// Why a sequence ended.
public enum FinishReason: String, Hashable, Codable, Sendable {
    /// A stop token, or the server found a stop string and said `finish`.
    case stop
    /// The output limit, or the context is full.
    case length
    case cancelled
    case deadline
    /// The sequence brings workers down.
    case poisoned
    /// The server is stopping and the drain deadline has passed.
    case shutdown
}
