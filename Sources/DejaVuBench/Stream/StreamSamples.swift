package import DejaVuCore

/// What one part of the benchmark measured, for whoever compares: raw samples, in the order in which they were taken.
/// Sample i of each variant belongs to round i.
package struct StreamSamples: Encodable, Sendable {
    package struct Series: Encodable, Sendable {
        package let name: String
        package var values: [Double] = []
    }
    /// Of runs whose compute is emulated.
    package struct Usage: Encodable, Sendable {
        package var wakeUps = 0
        package var lateWakeUps = 0
        package var lateTime = TimeSpan.zero
        package var waitedTime = TimeSpan.zero
        /// The largest of any run: of all processors.
        package var processorShare = 0.0
        package var lateShare: Double { wakeUps == 0 ? 0 : Double(lateWakeUps) / Double(wakeUps) }
        /// By how much late wake-ups were late, together, of all that was waited for.
        package var lateTimeShare: Double {
            waitedTime > .zero ? lateTime.seconds / waitedTime.seconds : 0
        }
        /// The figures mean something: at most 80% of the processors used, and at most 1% of the wake-ups late.
        package var isValid: Bool { processorShare <= 0.8 && lateShare <= 0.01 }

        package init() {}

        package mutating func add(_ lateness: Lateness, processorShare share: Double) {
            wakeUps += lateness.wakeUps
            lateWakeUps += lateness.lateWakeUps
            lateTime = lateTime + lateness.lateTime
            waitedTime = waitedTime + lateness.waitedTime
            processorShare = max(processorShare, share)
        }

        private enum Keys: String, CodingKey {
            case wakeUps, lateWakeUps, processorShare, lateShare, lateTimeShare, isValid
        }
        package func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Keys.self)
            try container.encode(wakeUps, forKey: .wakeUps)
            try container.encode(lateWakeUps, forKey: .lateWakeUps)
            try container.encode(processorShare, forKey: .processorShare)
            try container.encode(lateShare, forKey: .lateShare)
            try container.encode(lateTimeShare, forKey: .lateTimeShare)
            try container.encode(isValid, forKey: .isValid)
        }
    }

    package let part: String
    /// What was measured, in words and figures.
    package var settings: [String: String] = [:]
    package var series: [Series] = []
    /// By variant.
    package var usage: [String: Usage] = [:]

    package init(_ part: String) { self.part = part }

    mutating func add(_ value: Double, to name: String) {
        if let index = series.firstIndex(where: { $0.name == name }) {
            series[index].values.append(value)
        } else {
            series.append(Series(name: name, values: [value]))
        }
    }

    mutating func add(_ outcome: StreamTrial.Outcome, of variant: String) {
        var sum = usage[variant] ?? Usage()
        sum.add(outcome.lateness, processorShare: outcome.processorShare)
        usage[variant] = sum
    }
}

/// How long everything may take.
package struct StreamBenchOptions: Sendable {
    /// Rounds that count; one before them does not.
    package var rounds = 5
    /// Everything smaller: to see whether it works.
    package var isQuick = false
    /// For the disk store; its file system is what is measured.
    package var directory = "."
    /// Told what is measured next.
    package var progress: @Sendable (String) -> Void = { _ in }

    package init() {}

    /// Calls each variant in turn, every other round in reverse order; the first round does not count.
    package func interleave<Variant>(
        _ variants: [Variant], _ measure: (Variant, _ counts: Bool) throws(DejaVuError) -> Void
    ) throws(DejaVuError) {
        for round in 0...rounds {
            for variant in round % 2 == 0 ? variants : variants.reversed() {
                progress("round \(round) of \(rounds): \(variant)")
                try measure(variant, round > 0)
            }
        }
    }
}

extension Sequence<Double> {
    /// The middle one.
    package var median: Double {
        let sorted = self.sorted()
        guard !sorted.isEmpty else { return 0 }
        return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
    }
}
