/// What is said about a set of samples. Quantiles are exact: of all samples, interpolated between neighbours (Hyndman
/// and Fan's type 7, which is also numpy's default).
package struct Summary: Hashable, Sendable, Codable {
    package let count: Int
    package let mean: Double
    package let least: Double
    package let p50: Double
    package let p95: Double
    package let p99: Double
    package let greatest: Double

    /// nil if there are no samples.
    package init?(_ samples: [Double]) {
        guard !samples.isEmpty else { return nil }
        let sorted = samples.sorted()
        count = sorted.count
        mean = sorted.reduce(0, +) / Double(sorted.count)
        least = sorted[0]
        p50 = Self.quantile(0.5, ofSorted: sorted)
        p95 = Self.quantile(0.95, ofSorted: sorted)
        p99 = Self.quantile(0.99, ofSorted: sorted)
        greatest = sorted[sorted.count - 1]
    }

    /// - Precondition: ascending, not empty; `share` in 0...1.
    package static func quantile(_ share: Double, ofSorted sorted: [Double]) -> Double {
        precondition(!sorted.isEmpty && share >= 0 && share <= 1, "no such quantile")
        let place = share * Double(sorted.count - 1)
        let below = Int(place)
        let above = min(below + 1, sorted.count - 1)
        return sorted[below] + (sorted[above] - sorted[below]) * (place - Double(below))
    }
}
