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

    /// The same, with fewer layers for the last stage where the logits take time: so many that the stage that takes
    /// longest takes as little as possible.
    ///
    /// - Parameter outputCost: what the logits cost, in layers.
    /// - Precondition: `1 <= stages <= layers`, `outputCost >= 0`.
    public static func balanced(layers: Int, stages: Int, outputCost: Double) -> [LayerRange] {
        precondition(outputCost >= 0, "logits cost something or nothing")
        let even = even(layers: layers, stages: stages)
        guard stages > 1 else { return even }
        /// What the longest stage takes if the last one has so many.
        func longest(_ last: Int) -> Double {
            max(Double((layers - last + stages - 2) / (stages - 1)), Double(last) + outputCost)
        }
        let counts = (1...even[stages - 1].count).reversed()
        let last = counts.min { longest($0) < longest($1) } ?? 1
        return Self.even(layers: layers - last, stages: stages - 1) + [LayerRange(layers - last, layers)]
    }
}
