/// Consecutive transformer layers `first ..< end`.
public struct LayerRange: Hashable, Codable, Sendable, CustomStringConvertible {
    public let first: Int
    public let end: Int

    /// - Precondition: `0 <= first <= end`.
    public init(_ first: Int, _ end: Int) {
        precondition(0 <= first && first <= end, "a layer range must not be negative: \(first)..<\(end)")
        self.first = first
        self.end = end
    }

    @inlinable public var count: Int { end - first }
    @inlinable public var indices: Range<Int> { first..<end }
    public var description: String { "\(first)..<\(end)" }

    @inlinable public func contains(_ other: LayerRange) -> Bool { first <= other.first && other.end <= end }

    /// The layers that both have; nil if there are none.
    @inlinable public func intersection(_ other: LayerRange) -> LayerRange? {
        let low = max(first, other.first)
        let high = min(end, other.end)
        return low < high ? LayerRange(low, high) : nil
    }

    /// Cuts `layers` layers into `stages` ranges whose sizes differ by at most one. The earlier stages take the larger
    /// part, since the last one also computes the logits.
    ///
    /// - Precondition: `1 <= stages <= layers`.
    public static func even(layers: Int, stages: Int) -> [LayerRange] {
        precondition(stages >= 1 && stages <= layers, "\(layers) layers cannot be cut into \(stages) stages")
        let (quotient, remainder) = layers.quotientAndRemainder(dividingBy: stages)
        var ranges: [LayerRange] = []
        var start = 0
        for stage in 0..<stages {
            let size = quotient + (stage < remainder ? 1 : 0)
            ranges.append(LayerRange(start, start + size))
            start += size
        }
        return ranges
    }
}
