import DejaVuControl
import DejaVuCore
import DejaVuSimulation
import Testing

private func run(_ scenario: Scenario) throws -> World {
    var world = try World(scenario, tellsStory: true)
    world.run()
    #expect(world.violations.isEmpty, "\(world.story.suffix(40).joined(separator: "\n"))")
    return world
}

private func fault(_ kind: Scenario.FaultKind, at milliseconds: Int64, worker: Int) -> Scenario.Fault {
    Scenario.Fault(at: .zero + .milliseconds(milliseconds), worker: worker, kind: kind)
}

/// "Nothing is run again beyond the replica's lag." The rows on the way when the source dies are those of its last
/// steps: one for each sequence that was in them.
@Test(arguments: [1, 2, 3])
func source_dies_nothingButTheLagIsRunAgain(stages: Int) throws {
    for worker in 0..<stages {
        let scenario = scenario(
            stages: stages, spares: 1, replicas: stages, faults: [fault(.crash, at: 900, worker: worker)])
        let world = try run(scenario)
        let counters = world.controller.counters
        #expect(counters.tokensEmitted == 12 * 60 && counters.requestsEnded == 12)
        #expect(counters.takeovers == 1)
        #expect(counters.positionsRunAgain <= 2 * 12, "more than two steps: \(counters.positionsRunAgain)")
    }
}

/// The same without a replica runs everything again: the bound above is the replica's doing.
@Test func source_diesWithoutReplica_everythingIsRunAgain() throws {
    let world = try run(scenario(stages: 1, spares: 1, faults: [fault(.crash, at: 900, worker: 0)]))
    #expect(world.controller.counters.takeovers == 0)
    #expect(world.controller.counters.positionsRunAgain > 12 * 20)
}

/// "While replicas are made, nothing stops"; afterwards the lag is at most the steps on the way.
@Test func replica_steadyState_lagsByAtMostTwoSteps() throws {
    var world = try World(scenario(stages: 2, spares: 1, outputs: 400, replicas: 2))
    world.run(until: .zero + .milliseconds(800))
    for _ in 0..<40 {
        world.run(until: world.now + .milliseconds(7))
        let status = world.controller.status(at: world.now)
        #expect(status.sequencesAtRisk == 0 && status.positionsAtRisk <= 2 * 12)
        for stage in status.pipelines[0].stages { #expect(stage.replicaReady && stage.replicaLag <= 2 * 12) }
    }
    #expect(world.violations.isEmpty)
}

/// Takeover after takeover: each new standby gets everything anew, so each death costs a pause and no more.
@Test func source_diesAgainAndAgain_eachIsTakenOver() throws {
    let deaths = (0..<5).map { index in
        Scenario.Fault(
            at: .zero + .milliseconds(700 + Int64(index) * 1200), worker: 0, kind: .crash, target: .source)
    }
    let world = try run(scenario(stages: 1, spares: 1, outputs: 400, replicas: 1, faults: deaths))
    let counters = world.controller.counters
    #expect(counters.tokensEmitted == 12 * 400)
    #expect(counters.takeovers == 5 && counters.positionsRunAgain <= 5 * 2 * 12)
}

/// Stage and replica holder at once: more is run again, and the texts are the same.
@Test func sourceAndHolder_dieAtOnce_textsAreTheSame() throws {
    let world = try run(
        scenario(
            stages: 1, spares: 1, replicas: 1,
            faults: [fault(.crash, at: 900, worker: 1), fault(.crash, at: 900, worker: 0)]))
    #expect(world.controller.counters.tokensEmitted == 12 * 60)
    #expect(world.controller.counters.takeovers == 0 && world.controller.counters.positionsRunAgain > 12 * 20)
}

/// The holder's death costs no pass and no position.
@Test func holder_dies_nothingStops() throws {
    let world = try run(
        scenario(stages: 2, spares: 1, outputs: 200, replicas: 2, faults: [fault(.crash, at: 900, worker: 2)]))
    let counters = world.controller.counters
    #expect(counters.recoveries == 0 && counters.passesVoided == 0 && counters.replayRows == 0)
    #expect(
        counters.replicasHeld == 6, "the stages' workers hold both, then the standby that was started in its place")
}

/// Without a standby the neighbour takes over beside its own stage, and next to nothing is run again.
@Test(arguments: [2, 3]) func source_diesWithoutAStandby_neighbourTakesOver(stages: Int) throws {
    for victim in 0..<stages {
        let world = try run(
            scenario(
                stages: stages, outputs: 200, replicas: 1, faults: [fault(.crash, at: 1500, worker: victim)]))
        let counters = world.controller.counters
        #expect(counters.tokensEmitted == 12 * 200)
        #expect(counters.takeovers == 1 && counters.positionsRunAgain <= UInt64(12 * 2 * stages))
    }
}

/// A frame of a source that was given up but lives is refused: it changes nothing.
@Test func source_aliveButGivenUp_writesNothingIntoTheTaker() throws {
    for kind in [Scenario.FaultKind.cutController, .pause(.milliseconds(900))] {
        var scenario = scenario(
            stages: 1, spares: 1, outputs: 200, replicas: 1, faults: [fault(kind, at: 900, worker: 0)])
        for index in scenario.workers.indices { scenario.workers[index].isLocal = false }
        scenario.latency = .milliseconds(2)
        scenario.jitter = .milliseconds(3)
        let world = try run(scenario)
        #expect(world.controller.counters.tokensEmitted == 12 * 200)
        #expect(world.controller.counters.takeovers >= 1)
    }
}

/// A link that breaks, lags or corrupts costs nobody his place; the replica gets there in the end.
@Test(arguments: [
    Scenario.FaultKind.cutBulk, .corruptFrame, .slowBulk(.milliseconds(120), .milliseconds(500)),
])
func bulkLink_troubled_catchesUp(kind: Scenario.FaultKind) throws {
    var world = try World(
        scenario(stages: 1, spares: 1, outputs: 400, replicas: 1, faults: [fault(kind, at: 800, worker: 0)]))
    world.run(until: .zero + .seconds(3))
    let status = world.controller.status(at: world.now)
    #expect(world.violations.isEmpty && status.counters.workersLost == 0 && status.counters.passesVoided == 0)
    #expect(status.sequencesAtRisk == 0 && status.positionsAtRisk <= 2 * 12)
}

@Test func recoveryReport_takeover_saysWhereTheTimeWent() throws {
    let world = try run(
        scenario(stages: 1, spares: 1, replicas: 1, faults: [fault(.vanish, at: 900, worker: 0)]))
    let report = try #require(world.controller.status(at: world.now).lastRecovery)
    // Nobody said that it died: the silence is most of the pause. Nothing has to be loaded.
    #expect(report.detect > .milliseconds(500) && report.detect < .milliseconds(800))
    #expect(report.place == .zero && report.restore < .milliseconds(5) && report.restore > .zero)
    #expect(report.firstToken > .milliseconds(14) && report.firstToken < .milliseconds(40))
    #expect(report.stagesByReplica == 1 && report.positionsRunAgain <= 24)
}
