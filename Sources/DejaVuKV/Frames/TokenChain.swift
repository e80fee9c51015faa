public import DejaVuCore

/// A running hash of a sequence's tokens from position 0: equal chains mean equal texts, up to chance.
///
/// It guards against mistakes, not against an adversary: peers have proved the cluster key.
public struct TokenChain: Hashable, Codable, Sendable {
    public private(set) var hash: UInt64
    public private(set) var count: Int

    /// The chain of no tokens.
    public init() {
        hash = 0x6465_6A61_7675_6C62
        count = 0
    }

    /// Goes on from where another chain stood.
    init(hash: UInt64, count: Int) {
        self.hash = hash
        self.count = count
    }

    public init(_ tokens: some Sequence<TokenID>) {
        self.init()
        for token in tokens { append(token) }
    }

    @inline(__always)
    public mutating func append(_ token: TokenID) {
        hash = mix64(hash ^ UInt64(truncatingIfNeeded: token))
        count += 1
    }
}
