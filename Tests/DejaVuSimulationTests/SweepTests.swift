import DejaVuControl
import DejaVuSimulation
import Foundation
import Testing

/// `DEJAVU_COUNT` seeds from `DEJAVU_SEED` on; the fixed set of `make test` if neither is given.
private let seeds: Range<UInt64> = {
    let environment = ProcessInfo.processInfo.environment
    let first = environment["DEJAVU_SEED"].flatMap { UInt64($0) } ?? 1
    let count = environment["DEJAVU_COUNT"].flatMap { UInt64($0) } ?? 500
    return first..<(first + count)
}()

@Test func randomScenarios_manySeeds_keepEveryInvariant() throws {
    let tells = ProcessInfo.processInfo.environment["DEJAVU_VERBOSE"] != nil
    let result = try SimulationSweep.run(seeds: seeds) { seed in
        if tells { FileHandle.standardError.write(Data("seed \(seed)\n".utf8)) }
    }
    for failure in result.failures {
        Issue.record("seed \(failure.seed): \(failure.violation)\n\(failure.story.joined(separator: "\n"))")
    }
    #expect(result.seeds == seeds.count || !result.failures.isEmpty)
    if seeds.count >= 200, result.failures.isEmpty {
        let totals = result.totals
        #expect(
            totals.recoveries > 0 && totals.passesVoided > 0 && totals.replayRows > 0 && totals.sequencesParked > 0
                && totals.sequencesPoisoned > 0 && totals.requestsRefused > 0 && totals.messagesStale > 0,
            "the seeds do not reach what they are to test")
        #expect(totals.takeovers > 0 && totals.replicasHeld > 0 && totals.positionsRunAgain > 0)
        #expect(totals.workersAdopted > 0 && totals.requestsRestored > 0)
        #expect(result.fetches > 0, "nobody swaps")
        // Whoever may die at a time that matters does: death of a source, of a holder, of a standby that loads, of a
        // taker, and, in long sweeps, of a standby that gets the rows that were there before it, which takes moments.
        let deaths = ["crash", "vanish"]
        let rare: [Role] = seeds.count >= 10_000 ? [.filling] : []
        for role in [Role.source, .sourceOfNew, .holder, .loading, .taker, .joiner] + rare {
            let count = deaths.reduce(0) { sum, kind in
                sum + Phase.allCases.reduce(0) { $0 + result.coverage.count(kind, role, $1) }
            }
            #expect(count > 0, "nobody died as \(role.rawValue)")
        }
    }
    print("\(result.seeds) seeds, \(result.events) events")
}

/// Seeds that once found something, the first seven before there were aimed faults. What each found, in this order:
/// cells that came free and woke nobody; a step that waited for a prompt pipeline; a device that was too small for a
/// stage that it took over (twice); rows of a pass that had to make room for each other (twice); a prompt that its home
/// had begun and a prompt pipeline began again; two stages at a worker without memory below its device, in a pipeline
/// that swaps. The last two found checks that were wrong.
@Test(
    arguments: [98, 1367, 1657, 1886, 2315, 7846, 12020].map { ($0 as UInt64, Scenario.Rules.plain) }
        + [7564, 31129].map { ($0 as UInt64, Scenario.Rules.aimed) } + [(2047 as UInt64, Scenario.Rules.crowded)])
func randomScenarios_seedsThatOnceFailed_areClean(seed: UInt64, rules: Scenario.Rules) throws {
    let result = try SimulationSweep.run(seeds: seed..<seed + 1, by: rules)
    #expect(result.failures.isEmpty, "\(result.failures.first?.story.suffix(60).joined(separator: "\n") ?? "")")
}
