public import DejaVuCore

/// What a frame says of itself before its bytes. With it the receiver decides whether and where they land.
public struct FrameHeader: Hashable, Codable, Sendable {
    /// The number of the receiver's ticket.
    public let ticket: UInt64
    /// The process that computed or holds the rows and sends them.
    public let writer: Incarnation
    public let span: Span
    /// The tokens at the span's positions.
    public let tokens: [TokenID]
    /// `TokenChain` over the tokens at `0 ..< span.positions.upperBound`: rows of another text never commit.
    public let tokensHash: UInt64
    public let numericClass: NumericClass
    /// Length of the packed rows that follow.
    public let payloadBytes: Int

    /// - Precondition: one token for each position; the payload's length is not negative.
    public init(
        ticket: UInt64, writer: Incarnation, span: Span, tokens: [TokenID], tokensHash: UInt64,
        numericClass: NumericClass, payloadBytes: Int
    ) {
        precondition(tokens.count == span.positions.count, "a frame brings the tokens of its positions")
        precondition(payloadBytes >= 0, "a length is not negative")
        self.ticket = ticket
        self.writer = writer
        self.span = span
        self.tokens = tokens
        self.tokensHash = tokensHash
        self.numericClass = numericClass
        self.payloadBytes = payloadBytes
    }
}
