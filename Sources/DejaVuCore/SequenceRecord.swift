/// All that is needed to run a generation again from nothing: a sequence without its KV.
///
/// Every worker that holds spans of a sequence holds its record.
public struct SequenceRecord: Hashable, Codable, Sendable {
    public let id: SequenceID
    public let request: RequestID
    /// Which of the request's `n` choices this is.
    public let choice: Int
    /// Never empty.
    public let prompt: [TokenID]
    /// Accepted tokens, in order.
    public var outputs: [TokenID]
    public let sampling: SamplingParameters
    /// At least 1.
    public let outputCountMax: Int
    /// Tokens that end the sequence (end of text, end of turn); ascending. They are accepted but not shown.
    public let stopTokens: [TokenID]
    /// How many choices the request has.
    public let choiceCount: Int
    /// What the server in front needs to make the client's answer out of tokens; nobody else looks into it. At most
    /// `originBytesMax`.
    public let origin: [UInt8]

    public static let originBytesMax = 64 << 10

    public init(
        id: SequenceID, request: RequestID, choice: Int, prompt: [TokenID], outputs: [TokenID] = [],
        sampling: SamplingParameters, outputCountMax: Int, stopTokens: [TokenID], choiceCount: Int = 1,
        origin: [UInt8] = []
    ) {
        precondition(!prompt.isEmpty && outputCountMax >= 1, "a sequence has a prompt and room for one token")
        self.id = id
        self.request = request
        self.choice = choice
        self.prompt = prompt
        self.outputs = outputs
        self.sampling = sampling
        self.outputCountMax = outputCountMax
        self.stopTokens = stopTokens
        self.choiceCount = choiceCount
        self.origin = origin
    }

    /// k of the rule of work: prompt and accepted outputs.
    @inlinable public var knownCount: Int { prompt.count + outputs.count }

    /// The most positions that the sequence can ever have KV for: the last token is never fed back.
    @inlinable public var positionCountMax: Int { prompt.count + outputCountMax - 1 }

    /// The known token at a position.
    @inlinable public func token(at position: Int) -> TokenID {
        position < prompt.count ? prompt[position] : outputs[position - prompt.count]
    }

    /// The known tokens at a range of positions.
    public func tokens(in positions: Range<Int>) -> [TokenID] {
        positions.map { token(at: $0) }
    }
}
