public import DejaVuCore
import DejaVuKV
import Synchronization

/// The tokens of the sequences that are streamed, with the hash of every prefix: what frames say of their text.
///
/// Whoever hears of tokens first (a prompt, a pass, an accepted token) appends them here before the rows are computed.
public final class TokenBook: Sendable {
    private struct Text {
        var tokens: [TokenID] = []
        /// `hashes[n]` is the hash of the first n tokens.
        var hashes: [UInt64] = [TokenChain().hash]
        var chain = TokenChain()

        mutating func append(_ token: TokenID) {
            chain.append(token)
            tokens.append(token)
            hashes.append(chain.hash)
        }
    }
    private let texts = Mutex<[SequenceID: Text]>([:])

    public init() {}

    public var count: Int { texts.withLock { $0.count } }

    /// Appends tokens at a position; those that are known already must be the same.
    ///
    /// - Throws: `.mismatch` if they differ from what is known; `.invalidArgument` if they leave a gap. Nothing is
    ///   changed then.
    public func append(_ tokens: [TokenID], at first: Int = 0, of sequence: SequenceID) throws(DejaVuError) {
        let result = texts.withLock { texts -> Result<Void, DejaVuError> in
            let known = texts[sequence]?.tokens.count ?? 0
            guard first >= 0, first <= known else {
                return .failure(DejaVuError(.invalidArgument, "the tokens of \(sequence) have a gap at \(known)"))
            }
            let overlap = min(tokens.count, known - first)
            if overlap > 0, let text = texts[sequence], text.tokens[first..<first + overlap] != tokens[..<overlap] {
                return .failure(DejaVuError(.mismatch, "\(sequence) has other tokens"))
            }
            for token in tokens[overlap...] { texts[sequence, default: Text()].append(token) }
            return .success(())
        }
        try result.get()
    }

    /// Forgets a sequence.
    public func release(_ sequence: SequenceID) { texts.withLock { _ = $0.removeValue(forKey: sequence) } }

    /// How many tokens of a sequence are known.
    public func count(of sequence: SequenceID) -> Int { texts.withLock { $0[sequence]?.tokens.count ?? 0 } }

    /// The tokens at some positions, and the hash of all up to their end; nil beyond what is known.
    public func text(of sequence: SequenceID, in positions: Range<Int>) -> (tokens: [TokenID], hash: UInt64)? {
        texts.withLock { texts in
            guard let text = texts[sequence], positions.upperBound <= text.tokens.count, positions.lowerBound >= 0
            else { return nil }
            return (Array(text.tokens[positions]), text.hashes[positions.upperBound])
        }
    }
}
