/// How far a run is, for a line that is shown while it lasts.
package struct LoadProgress: Hashable, Sendable {
    package enum Phase: String, Hashable, Sendable {
        case learning, warmingUp, measuring
    }
    package var phase: Phase
    package var seconds: Double = 0
    package var sentCount: Int = 0
    package var inFlightCount: Int = 0
    package var doneCount: Int = 0
    package var failedCount: Int = 0
    /// Tokens of finished requests.
    package var outputTokenCount: Int = 0
    /// nil where the number of requests is not fixed.
    package var requestCount: Int?

    /// One line without a line feed.
    package var line: String {
        switch phase {
        case .learning: return "asking the server what it serves"
        case .warmingUp: return "warming up: \(doneCount + failedCount) of \(requestCount ?? 0)"
        case .measuring:
            let rate = seconds > 0 ? Int((Double(outputTokenCount) / seconds).rounded()) : 0
            let done = requestCount.map { "\(doneCount) of \($0)" } ?? "\(doneCount)"
            let failed = failedCount > 0 ? "  failed \(failedCount)" : ""
            return "\(Int(seconds)) s  in flight \(inFlightCount)  done \(done)\(failed)  output \(rate) tok/s"
        }
    }
}
