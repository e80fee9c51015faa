import DejaVuControl
import DejaVuCore
import DejaVuSimulation
import Testing

/// Workers for `prompt` + `token` stages of 12 layers, and requests with prompts of 200 tokens.
private func apart(
    _ prompt: Int, _ token: Int, spares: Int = 0, outputs: Int = 60, faults: [Scenario.Fault] = [],
    _ change: (inout ControllerConfiguration) -> Void = { _ in }
) -> Scenario {
    var scenario = scenario(
        stages: min(prompt, token), spares: prompt + token + spares - min(prompt, token), outputs: outputs, replicas: 4,
        faults: faults)
    scenario.configuration.topology = PipelineTopology(stageCount: token, promptStageCount: prompt)
    scenario.configuration.disaggregateAbove = 32
    scenario.configuration.limits.promptRowsMax = 64
    for index in scenario.clients.indices where index % 3 != 0 {
        let old = scenario.clients[index].request
        scenario.clients[index].request = Request(
            id: old.id, prompt: (0..<200).map { TokenID($0 * (index + 1) % 1000) }, choiceCount: 1,
            sampling: .greedy, outputCountMax: outputs, stopTokens: [], deadline: old.deadline)
    }
    change(&scenario.configuration)
    return scenario
}

private func run(_ scenario: Scenario) throws -> World {
    var world = try World(scenario, tellsStory: true)
    world.run()
    #expect(world.violations.isEmpty, "\(world.story.suffix(40).joined(separator: "\n"))")
    #expect(world.controller.counters.requestsEnded == 12)
    return world
}

/// "Any P and T, boundaries need not match." The world compares every text with the reference.
@Test(arguments: [(1, 1), (1, 2), (2, 1), (1, 3), (2, 3), (3, 2)])
func disaggregated_anyStages_everyTextIsRightAndNothingRunsTwice(stages: (Int, Int)) throws {
    let world = try run(apart(stages.0, stages.1))
    let counters = world.controller.counters
    #expect(counters.tokensEmitted == 12 * 60 && counters.replayRows == 0)
}

/// Death of a prompt worker, of a token worker, and of both at once, early and late, with a spare and without.
@Test(arguments: [0, 1, 2, 3], [0, 1])
func disaggregated_workersDie_everyTextIsRight(first: Int, spares: Int) throws {
    for (second, at) in [(first, Int64(260)), ((first + 1) % 4, 300), ((first + 2) % 4, 900)] {
        let faults = [first, second].map {
            Scenario.Fault(at: .zero + .milliseconds(at), worker: $0, kind: .crash)
        }
        let world = try run(apart(2, 2, spares: spares, faults: faults))
        #expect(world.controller.counters.tokensEmitted == 12 * 60)
    }
}

/// With rows at a prompt worker a token stage's death costs no more than the lag.
@Test func disaggregated_tokenWorkerDiesWithoutASpare_promptWorkerGoesOnWithItsRows() throws {
    let fault = Scenario.Fault(at: .zero + .milliseconds(1500), worker: 0, kind: .crash)
    let world = try run(apart(1, 1, outputs: 200, faults: [fault]))
    #expect(world.controller.counters.takeovers == 1)
    #expect(world.controller.counters.positionsRunAgain <= 12 * 2)
}

/// Workers of both kinds leave; nothing is computed again.
@Test(arguments: [0, 1, 2, 3]) func disaggregated_workerLeaves_nothingRunsAgain(worker: Int) throws {
    let fault = Scenario.Fault(at: .zero + .milliseconds(500), worker: worker, kind: .leave)
    let world = try run(apart(2, 2, spares: 1, outputs: 100, faults: [fault]))
    let counters = world.controller.counters
    #expect(counters.positionsRunAgain == 0 && counters.workersLost == 0)
}

/// "A stalled or slow link between prompt and token workers: tokens go on, prompts wait", and it is said.
@Test func disaggregated_linkStalls_tokensGoOnAndItIsReported() throws {
    let stall = Scenario.Fault(
        at: .zero + .milliseconds(110), worker: 1, kind: .slowBulk(.seconds(6), .seconds(6)))
    var world = try World(apart(1, 1, outputs: 100, faults: [stall]) { $0.limits.stallMin = .milliseconds(500) })
    world.run(until: .zero + .seconds(2))
    let early = world.controller.status(at: world.now)
    #expect(early.prompts?.stalled ?? 0 > 0 && !early.warnings.isEmpty && early.ready)
    // The four short prompts need nobody.
    #expect(early.counters.tokensEmitted >= 4 * 100)
    world.run()
    #expect(world.violations.isEmpty && world.controller.counters.tokensEmitted == 12 * 100)
}
