/// What was measured about one request. Times are seconds since the start of the run.
package struct RequestSample: Hashable, Sendable, Codable {
    package let index: Int
    /// When the request was due; in a closed loop when it was sent. Latencies count from here, so that a generator or a
    /// server that falls behind cannot hide it.
    package let due: Double
    package let sent: Double
    package let promptTokensWanted: Int
    package let outputTokensWanted: Int
    /// As the server counts; as wanted if it does not say.
    package var promptTokens: Int
    /// As the server counts; the number of chunks with text if it does not say.
    package var outputTokens: Int = 0
    package var firstToken: Double?
    package var end: Double = 0
    /// Between successive chunks with text.
    package var gapsMicroseconds: [Int] = []
    /// Why it failed: one of a bounded set of kinds; nil if it did not.
    package var failure: String?

    package init(index: Int, due: Double, sent: Double, promptTokensWanted: Int, outputTokensWanted: Int) {
        self.index = index
        self.due = due
        self.sent = sent
        self.promptTokensWanted = promptTokensWanted
        self.outputTokensWanted = outputTokensWanted
        promptTokens = promptTokensWanted
    }

    package var timeToFirstToken: Double? { firstToken.map { $0 - due } }
    package var endToEnd: Double { end - due }
    /// End-to-end latency over generated tokens, as in the paper's figures.
    package var normalisedLatency: Double? { outputTokens > 0 ? endToEnd / Double(outputTokens) : nil }
    /// Mean over the tokens after the first; nil if there are none.
    package var timePerOutputToken: Double? {
        guard outputTokens > 1, !gapsMicroseconds.isEmpty else { return nil }
        return Double(gapsMicroseconds.reduce(0, +)) / 1e6 / Double(outputTokens - 1)
    }

    func meets(_ objectives: Objectives) -> Bool {
        func holds(_ value: Double?, _ limit: Double?) -> Bool { limit.map { (value ?? 0) <= $0 } ?? true }
        return failure == nil && holds(timeToFirstToken, objectives.timeToFirstToken)
            && holds(timePerOutputToken, objectives.timePerOutputToken) && holds(endToEnd, objectives.endToEnd)
    }
}
