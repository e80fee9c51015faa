package import DejaVuCore

/// What a performance simulation has shown.
package struct PerformanceResult: Hashable, Sendable {
    package struct Outcome: Hashable, Sendable {
        package let arrival: Instant
        package var firstToken: Instant
        package var end: Instant
        package let outputCount: Int

        /// From arrival to end for each output, in seconds: the paper's measure.
        package var normalisedLatency: Double { (end - arrival).seconds / Double(outputCount) }
    }

    /// In the order of the scenario.
    package let outcomes: [Outcome]
    /// How long each machine computed, in order: prompt stages first.
    package let busy: [TimeSpan]
    /// nil if nobody asked for it.
    package let trace: PerformanceTrace?

    package init(outcomes: [Outcome], busy: [TimeSpan], trace: PerformanceTrace?) {
        self.outcomes = outcomes
        self.busy = busy
        self.trace = trace
    }

    /// From time zero to the last end, in seconds.
    package var makespan: Double { (outcomes.map(\.end).max() ?? .zero).nanoseconds > 0 ? lastEnd : 0 }
    private var lastEnd: Double { ((outcomes.map(\.end).max() ?? .zero) - .zero).seconds }

    package var outputCount: Int { outcomes.reduce(0) { $0 + $1.outputCount } }
    /// Output tokens a second over the whole run.
    package var throughput: Double { makespan > 0 ? Double(outputCount) / makespan : 0 }
    package var medianNormalisedLatency: Double { Self.median(outcomes.map(\.normalisedLatency)) }
    package var medianFirstTokenSeconds: Double {
        Self.median(outcomes.map { ($0.firstToken - $0.arrival).seconds })
    }
    /// The share of the machines' time from the first arrival to the last end in which they did not compute.
    package var bubbleShare: Double {
        let from = outcomes.first?.arrival ?? .zero
        let whole = (lastEnd - (from - .zero).seconds) * Double(busy.count)
        return whole > 0 ? max(0, 1 - busy.reduce(0) { $0 + $1.seconds } / whole) : 0
    }

    /// The middle one, or the mean of the two in the middle.
    package static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        guard !sorted.isEmpty else { return 0 }
        return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
    }
}
