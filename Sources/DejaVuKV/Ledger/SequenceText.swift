import DejaVuCore

/// The tokens of one sequence as far as a ledger knows them, with the hash of every prefix.
///
/// The firm part was told or came with committed rows; behind it stand tokens of frames that are still landing.
struct SequenceText: Hashable, Sendable {
    private(set) var tokens: [TokenID] = []
    /// `hashes[n]` is the `TokenChain` hash of the first n tokens.
    private var hashes: [UInt64] = [TokenChain().hash]
    private(set) var firmCount = 0

    init(_ tokens: [TokenID]) {
        hashes.reserveCapacity(tokens.count + 1)
        append(tokens[...])
        firmCount = tokens.count
    }

    var count: Int { tokens.count }

    /// The hash of the first `end` tokens; nil beyond what is known.
    func hash(at end: Int) -> UInt64? {
        end >= 0 && end < hashes.count ? hashes[end] : nil
    }

    /// Whether tokens from a position on are those that are known, and lead to `endHash`.
    ///
    /// - Parameter endHash: nil if the caller has none and vouches for the tokens.
    /// - Precondition: `first` is not above what is known.
    func agrees(with new: [TokenID], at first: Int, endHash: UInt64?) -> Bool {
        precondition(first <= count, "tokens with a gap")
        let common = min(new.count, count - first)
        guard new[..<common] == tokens[first..<first + common] else { return false }
        guard let endHash else { return true }
        var chain = TokenChain(hash: hashes[first + common], count: first + common)
        for token in new[common...] { chain.append(token) }
        return chain.hash == endHash
    }

    /// Whether tokens from a position on are those that are certain, as far as those reach.
    func agreesFirmly(with new: [TokenID], at first: Int) -> Bool {
        let common = max(0, min(new.count, firmCount - first))
        return first <= firmCount && new[..<common] == tokens[first..<first + common]
    }

    /// Adds what is new of tokens that agree.
    mutating func extend(with new: [TokenID], at first: Int) {
        let common = count - first
        if common < new.count { append(new[common...]) }
    }

    mutating func makeFirm(to end: Int) {
        precondition(end <= count, "tokens that nobody has brought")
        firmCount = max(firmCount, end)
    }

    /// Forgets the tokens that are neither firm nor below `end`.
    mutating func truncate(to end: Int) {
        let keep = max(firmCount, end)
        guard keep < count else { return }
        tokens.removeLast(count - keep)
        hashes.removeLast(hashes.count - keep - 1)
    }

    private mutating func append(_ new: ArraySlice<TokenID>) {
        var chain = TokenChain(hash: hashes[tokens.count], count: tokens.count)
        for token in new {
            chain.append(token)
            tokens.append(token)
            hashes.append(chain.hash)
        }
    }
}
