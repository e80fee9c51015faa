/// How long a stream stood still because of a fault.
package struct StreamPause: Sendable {
    /// Tokens that were on their way when a worker died still come.
    private static let underwaySeconds = 0.05

    /// The longest part of a gap between two tokens that lies behind the fault's begin.
    package let seconds: Double
    /// The median of all gaps of the stream.
    package let usualSeconds: Double

    /// - Parameters:
    ///   - times: when the stream grew.
    ///   - end: when the fault was over; gaps that begin later have other reasons.
    /// - Returns: nil for a stream that did not run when the fault came.
    package init?(
        of times: [ContinuousClock.Instant], from begin: ContinuousClock.Instant, until end: ContinuousClock.Instant
    ) {
        guard let first = times.first, let last = times.last, first < begin, last > begin else { return nil }
        let latest = end + .seconds(Self.underwaySeconds)
        var longest = 0.0
        var gaps: [Double] = []
        for (before, after) in zip(times, times.dropFirst()) {
            gaps.append(ChaosRun.seconds(before, after))
            guard after > begin, before < latest else { continue }
            longest = max(longest, ChaosRun.seconds(max(before, begin), after))
        }
        seconds = longest
        usualSeconds = gaps.sorted()[gaps.count / 2]
    }
}
