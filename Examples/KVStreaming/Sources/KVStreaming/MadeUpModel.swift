import DejaVuCore
import DejaVuKV
import DejaVuLib

/// A model that understands nothing, but has a KV cache as a real one has: each layer writes one row for each position
/// and reads the rows of all positions before it. One row lost or changed, anywhere, and the text goes another way.
struct MadeUpModel {
    static let layers = LayerRange(0, 4)
    /// Bytes of K and V of one position in one layer.
    static let rowBytes = 64
    /// Whoever computes the same bits says the same here; others are refused.
    static let numericClass = NumericClass(parts: ["made-up model", "version 1"])
    static let prompt = ["once", "upon", "a", "time"].compactMap { words.firstIndex(of: $0).map(TokenID.init) }
    static let words = [
        "a", "and", "bird", "cold", "deep", "down", "far", "fire", "for", "forest", "found", "fox", "garden", "green",
        "hill", "house", "in", "it", "king", "lake", "light", "little", "moon", "morning", "near", "night", "of", "old",
        "on", "once", "over", "quiet", "rain", "river", "road", "said", "sang", "saw", "sea", "sings", "sleeps", "slow",
        "small", "snow", "song", "star", "stone", "summer", "the", "then", "there", "time", "to", "tower", "tree",
        "under", "upon", "warm", "was", "water", "wind", "winter", "with", "wood",
    ]

    /// Computes one position: reads all rows before it from the store and gives its own, packed.
    static func rows(
        of token: TokenID, at position: Int, in sequence: SequenceID, from store: any KVStore
    ) async throws -> [UInt8] {
        var packed: [UInt8] = []
        var value = mix64(UInt64(token) + 1)
        for layer in layers.indices {
            let row = mix64(value ^ mix64(UInt64(layer) << 32 ^ UInt64(position)))
            packed += bytes(of: row)
            value = output(row, attending: try await attended(layer, 0..<position, sequence, store))
        }
        return packed
    }

    /// The word after a position: from the cache alone.
    static func token(after position: Int, in sequence: SequenceID, from store: any KVStore) async throws -> TokenID {
        let last = layers.end - 1
        let own = try await attended(last, position..<position + 1, sequence, store)
        let others = try await attended(last, 0..<position, sequence, store)
        return TokenID(mix64(own &+ others) % UInt64(words.count))
    }

    static func text(_ tokens: some Sequence<TokenID>) -> String {
        tokens.map { words[Int($0)] }.joined(separator: " ")
    }

    private static func output(_ row: UInt64, attending others: UInt64) -> UInt64 { mix64(row &* 3 &+ others) }

    /// What the rows of one layer add up to; every byte of them counts.
    private static func attended(
        _ layer: Int, _ positions: Range<Int>, _ sequence: SequenceID, _ store: any KVStore
    ) async throws -> UInt64 {
        guard !positions.isEmpty else { return 0 }
        let span = Span(sequence: sequence, layers: LayerRange(layer, layer + 1), positions: positions)
        let bytes = try await store.rows(of: span)
        var sum: UInt64 = 0
        for (index, position) in positions.enumerated() {
            var hash = UInt64(position)
            for byte in bytes[index * rowBytes..<(index + 1) * rowBytes] { hash = mix64(hash ^ UInt64(byte)) }
            sum &+= hash
        }
        return sum
    }

    private static func bytes(of row: UInt64) -> [UInt8] {
        (0..<rowBytes).map { UInt8(truncatingIfNeeded: mix64(row &+ UInt64($0 / 8)) >> UInt64($0 % 8 * 8)) }
    }
}
