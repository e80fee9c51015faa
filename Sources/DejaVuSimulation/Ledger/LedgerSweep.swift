/// Runs many seeds of `LedgerWorld` and tells the story of those that fail.
package enum LedgerSweep {
    package struct Result: Sendable {
        package internal(set) var seeds = 0
        package internal(set) var events = 0
        package internal(set) var coverage = LedgerWorld.Coverage()
        package internal(set) var failures: [SimulationSweep.Failure] = []

        package init() {}

        package static func += (left: inout Result, right: Result) {
            left.seeds += right.seeds
            left.events += right.events
            left.coverage += right.coverage
            left.failures += right.failures
        }
    }

    /// - Parameters:
    ///   - failuresMax: ends the sweep early.
    ///   - starting: is told of each seed before it runs, so that a crash can be traced to one.
    package static func run(
        seeds: Range<UInt64>, failuresMax: Int = 3, starting: (UInt64) -> Void = { _ in }
    ) -> Result {
        var result = Result()
        for seed in seeds {
            starting(seed)
            let scenario = LedgerScenario.drawn(seed: seed)
            var world = LedgerWorld(scenario)
            world.run()
            result.seeds += 1
            result.events += world.eventCount
            result.coverage += world.coverage
            guard let violation = world.violations.first else { continue }
            var again = LedgerWorld(scenario, tellsStory: true)
            again.run()
            result.failures.append(
                SimulationSweep.Failure(seed: seed, violation: violation, story: again.story))
            if result.failures.count >= failuresMax { break }
        }
        return result
    }
}
