import DejaVuControl
import DejaVuCore
import DejaVuSimulation
import Testing

/// A calm scenario with a controller that dies at that time, and for that long.
private func world(seed: UInt64, at: TimeSpan, away: TimeSpan, orphanGrace: TimeSpan = .seconds(60)) throws -> World {
    var scenario = Scenario.drawn(seed: seed, weather: .calm)
    scenario.faults = [Scenario.Fault(at: Instant.zero + at, worker: 0, kind: .crashController(away))]
    scenario.orphanGrace = orphanGrace
    scenario.drainAt = nil
    var world = try World(scenario, tellsStory: true)
    world.run()
    return world
}

/// "Nothing is computed again": whatever the workers held they hold when the next controller has begun.
@Test(arguments: 1...25)
func controllerCrash_alone_losesNothing(seed: Int) throws {
    let world = try world(seed: UInt64(seed), at: .milliseconds(Int64(300 + 97 * seed)), away: .milliseconds(700))
    #expect(world.violations.isEmpty, "\(world.violations)\n\(world.story.joined(separator: "\n"))")
    #expect(world.counters.workersAdopted > 0)
    #expect(world.counters.positionsRunAgain == 0 && world.counters.workersLost == 0)
}

/// Workers that wait in vain end; clients send their requests again, and what they have got stays true.
@Test(arguments: 1...10)
func controllerCrash_longerThanTheOrphanGrace_beginsAnew(seed: Int) throws {
    let world = try world(
        seed: UInt64(seed), at: .milliseconds(Int64(400 + 150 * seed)), away: .seconds(6), orphanGrace: .seconds(2))
    #expect(world.violations.isEmpty, "\(world.violations)\n\(world.story.joined(separator: "\n"))")
    #expect(world.counters.workersAdopted == 0)
}

/// Seeds that have shown something once.
@Test(arguments: [UInt64(5), 31, 225, 5298])
func controllerCrash_seedsThatFailed_keepEveryInvariant(seed: UInt64) throws {
    var world = try World(Scenario.drawn(seed: seed, by: .plain), tellsStory: true)
    world.run()
    #expect(world.violations.isEmpty, "\(world.violations)\n\(world.story.suffix(200).joined(separator: "\n"))")
}
