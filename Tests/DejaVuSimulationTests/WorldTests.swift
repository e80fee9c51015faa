import DejaVuControl
import DejaVuCore
import DejaVuSimulation
import Testing

func scenario(
    stages: Int, spares: Int = 0, clients: Int = 12, outputs: Int = 60, cells: Int = 16384,
    replicas: Int = 0, faults: [Scenario.Fault] = [],
    _ change: (inout ControllerLimits) -> Void = { _ in }
) -> Scenario {
    var limits = ControllerLimits(contextLength: 512)
    change(&limits)
    let layers = (12 + stages - 1) / stages
    var worker = Scenario.Worker(
        kvBytesMax: cells * layers * Scenario.kvBytesPerPositionAndLayer,
        passCost: .microseconds(15_000 / Int64(stages)),
        rowCost: .microseconds(60 / Int64(stages)), loadTime: .milliseconds(100), isLocal: true,
        restartDelay: .milliseconds(300))
    worker.replicaBytesMax = worker.kvBytesMax * replicas
    let configuration = ControllerConfiguration(
        model: ModelID(digest: "0123456789abcdef"), layerCount: 12, vocabularyCount: 1000, stageCount: stages,
        limits: limits)
    // Spares join last, so that they are spares.
    var spare = worker
    spare.startAt = .zero + .milliseconds(50)
    let plans = (0..<clients).map { index -> Scenario.Client in
        let prompt = (0..<20).map { TokenID($0 * (index + 1) % 1000) }
        let request = Request(
            id: RequestID(UInt64(index + 1)), prompt: prompt, choiceCount: 1, sampling: .greedy,
            outputCountMax: outputs, stopTokens: [], deadline: Instant.zero + .seconds(600))
        return Scenario.Client(at: Instant.zero + .milliseconds(Int64(index)), request: request)
    }
    return Scenario(
        seed: 1, configuration: configuration,
        workers: [Scenario.Worker](repeating: worker, count: stages)
            + [Scenario.Worker](repeating: spare, count: spares), clients: plans, faults: faults)
}

/// "Microbatches to fill them": with three stages three passes are in flight, and no stage waits for long.
@Test func pipeline_threeStagesUnderLoad_keepsThreePassesInFlight() throws {
    var world = try World(scenario(stages: 3, outputs: 400))
    world.run(until: .zero + .seconds(2))
    #expect(world.violations.isEmpty && world.flightsMax == 3)
    let pipeline = world.controller.status(at: world.now).pipelines[0]
    #expect(pipeline.microbatches.map(\.sequences) == [4, 4, 4])
    for stage in pipeline.stages { #expect(stage.busyShare > 0.9, "stage \(stage.index) waits") }
}

/// Three stages of a third of the layers each, on a worker each: what a pipeline is for.
@Test func pipeline_moreStages_passMoreTokensInTheSameTime() throws {
    func tokens(_ stages: Int) throws -> UInt64 {
        var world = try World(scenario(stages: stages, clients: 24, outputs: 400) { $0.microbatchSequencesMax = 8 })
        world.run(until: .zero + .seconds(2))
        #expect(world.violations.isEmpty)
        return world.controller.counters.tokensEmitted
    }
    let one = try tokens(1)
    let three = try tokens(3)
    #expect(three > one * 2)
}

@Test(arguments: [Scenario.FaultKind.crash, .vanish, .hang, .failPass, .cutController])
func worker_lostInMidRun_costsAPauseAndNoToken(kind: Scenario.FaultKind) throws {
    for worker in 0..<2 {
        let fault = Scenario.Fault(at: .zero + .milliseconds(600), worker: worker, kind: kind)
        var world = try World(scenario(stages: 2, spares: 1, faults: [fault]), tellsStory: true)
        world.run()
        #expect(world.violations.isEmpty, "\(world.story.suffix(40).joined(separator: "\n"))")
        let counters = world.controller.counters
        #expect(counters.tokensEmitted == 12 * 60 && counters.requestsEnded == 12)
        // The broken link to the lost worker may be reported first, and costs an epoch of its own.
        #expect(counters.workersLost == 1 && (1...2).contains(counters.recoveries) && counters.replayRows > 0)
    }
}

/// "Slow but progressing is not" dead; nor is anybody for the controller's own pause.
@Test(arguments: [Scenario.FaultKind.slow(50, .seconds(3)), .pauseController(.seconds(3)), .pause(.milliseconds(350))])
func worker_slowOrUnheard_keepsItsStage(kind: Scenario.FaultKind) throws {
    let fault = Scenario.Fault(at: .zero + .milliseconds(600), worker: 1, kind: kind)
    var world = try World(scenario(stages: 2, faults: [fault]))
    world.run()
    #expect(world.violations.isEmpty)
    #expect(world.controller.counters.workersLost == 0 && world.controller.counters.tokensEmitted == 12 * 60)
}

/// Ten times what the cells hold: all of it ends, and no cell is lost.
@Test func cells_loadOfTenTimes_allRequestsEnd() throws {
    var world = try World(scenario(stages: 2, clients: 40, outputs: 30, cells: 1024))
    world.run()
    #expect(world.violations.isEmpty && world.controller.counters.tokensEmitted == 40 * 30)
    #expect(world.controller.isAtRest)
}
