import DejaVuCore

/// A token as `logprobs` reports it.
struct TokenReport: Hashable, Sendable {
    /// One candidate and its log probability.
    struct Candidate: Hashable, Sendable {
        let bytes: [UInt8]
        let logprob: Float
    }

    let chosen: Candidate
    let alternatives: [Candidate]
    /// Where its text starts in the answer: in bytes of the shown text, and in characters as Python counts them.
    let start: Int
    let startCharacters: Int

    init(_ token: SampledToken, model: any TextModel, start: Int, startCharacters: Int) {
        func candidate(_ token: TokenID, _ logprob: Float) -> Candidate {
            var bytes: [UInt8] = []
            model.appendPiece(of: token, to: &bytes)
            return Candidate(bytes: bytes, logprob: logprob)
        }
        chosen = candidate(token.token, token.logprob ?? 0)
        alternatives = token.alternatives.map { candidate($0.token, $0.weight) }
        self.start = start
        self.startCharacters = startCharacters
    }
}
