import DejaVuSimulation
import Foundation
import Testing

/// `DEJAVU_COUNT` seeds from `DEJAVU_SEED` on; the fixed set of `make test` if neither is given.
private let seeds: Range<UInt64> = {
    let environment = ProcessInfo.processInfo.environment
    let first = environment["DEJAVU_SEED"].flatMap { UInt64($0) } ?? 1
    let count = environment["DEJAVU_COUNT"].flatMap { UInt64($0) } ?? 3000
    return first..<(first + count)
}()

@Test func randomLedgers_manySeeds_keepEveryPromise() {
    let tells = ProcessInfo.processInfo.environment["DEJAVU_VERBOSE"] != nil
    let result = LedgerSweep.run(seeds: seeds) { seed in
        if tells { FileHandle.standardError.write(Data("seed \(seed)\n".utf8)) }
    }
    for failure in result.failures {
        Issue.record("seed \(failure.seed): \(failure.violation)\n\(failure.story.joined(separator: "\n"))")
    }
    #expect(result.seeds == seeds.count || !result.failures.isEmpty)
    if seeds.count >= 3000, result.failures.isEmpty {
        let missing = result.coverage.missing
        #expect(missing.isEmpty, "the seeds do not reach what they are to test")
    }
    print("\(result.seeds) ledger seeds, \(result.events) events")
}

@Test func ledgerWorld_sameSeed_isTheSameRun() {
    for seed in 0..<20 as Range<UInt64> {
        let stories = (0..<2).map { _ in
            var world = LedgerWorld(LedgerScenario.drawn(seed: seed), tellsStory: true)
            world.run()
            return world.story
        }
        #expect(stories[0] == stories[1] && !stories[0].isEmpty)
    }
}
