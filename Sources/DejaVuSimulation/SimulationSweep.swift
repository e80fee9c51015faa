package import DejaVuControl
package import DejaVuCore

/// Runs many seeds and tells the story of those that fail.
package enum SimulationSweep {
    package struct Failure: Sendable {
        package let seed: UInt64
        package let violation: String
        /// What happened up to it, in words.
        package let story: [String]
    }

    package struct Result: Sendable {
        package internal(set) var seeds = 0
        package internal(set) var events = 0
        /// What all the controllers counted: whether the seeds reach what they are to test.
        package internal(set) var totals = ControllerCounters()
        package internal(set) var coverage = Coverage()
        /// Sequences that were brought back to a device, as far as its process lived to the end.
        package internal(set) var fetches = 0
        package internal(set) var failures: [Failure] = []

        package init() {}

        package static func += (left: inout Result, right: Result) {
            left.seeds += right.seeds
            left.events += right.events
            left.totals += right.totals
            left.coverage += right.coverage
            left.fetches += right.fetches
            left.failures += right.failures
        }
    }

    /// - Parameters:
    ///   - failuresMax: ends the sweep early.
    ///   - starting: is told of each seed before it runs, so that a crash can be traced to one.
    package static func run(
        seeds: Range<UInt64>, by rules: Scenario.Rules = .crowded, failuresMax: Int = 3,
        starting: (UInt64) -> Void = { _ in }
    ) throws(DejaVuError) -> Result {
        var result = Result()
        for seed in seeds {
            starting(seed)
            let scenario = Scenario.drawn(seed: seed, by: rules)
            var world = try World(scenario)
            world.run()
            result.seeds += 1
            result.events += world.eventCount
            result.totals += world.counters
            result.coverage += world.coverage
            result.fetches += world.fetchCount
            guard let violation = world.violations.first else { continue }
            var again = try World(scenario, tellsStory: true)
            again.run()
            result.failures.append(Failure(seed: seed, violation: violation, story: again.story))
            if result.failures.count >= failuresMax { break }
        }
        return result
    }
}
