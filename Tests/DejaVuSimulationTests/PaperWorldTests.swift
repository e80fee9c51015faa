import DejaVuControl
import DejaVuCore
import DejaVuSimulation
import Testing

/// The trace of the authors' simulators on four stages, through the real control code: a prompt of 48 rows takes 250 ms
/// on each stage and a step 15 ms. Their microbatch makes one token pass more than answers have tokens, and so answers
/// are one token longer here.
private func paperScenario(_ batching: Batching) -> (scenario: Scenario, outputs: [Int]) {
    let outputs = (0..<64).map { 2 + $0 * 37 % 99 }
    var limits = ControllerLimits(contextLength: 256)
    limits.probeInterval = .seconds(1000)
    limits.readyWindow = .seconds(1001)
    var configuration = ControllerConfiguration(
        model: ModelID(digest: "0123456789abcdef"), layerCount: 12, vocabularyCount: 1000, stageCount: 4,
        limits: limits)
    configuration.batching = batching
    let worker = Scenario.Worker(
        kvBytesMax: 64 * 256 * 3 * Scenario.kvBytesPerPositionAndLayer, passCost: .milliseconds(10),
        rowCost: .milliseconds(5), loadTime: .milliseconds(100), isLocal: true, restartDelay: nil)
    let clients = outputs.enumerated().map { index, count in
        Scenario.Client(
            at: .zero + .seconds(5),
            request: Request(
                id: RequestID(UInt64(index + 1)), prompt: [TokenID](repeating: TokenID(index), count: 48),
                choiceCount: 1, sampling: .greedy, outputCountMax: count + 1, stopTokens: [],
                deadline: .zero + .seconds(1000)))
    }
    return (
        Scenario(
            seed: 1, configuration: configuration, workers: [Scenario.Worker](repeating: worker, count: 4),
            clients: clients, latency: TimeSpan(nanoseconds: 100), jitter: .zero),
        outputs
    )
}

/// When each request ended after all had come.
private func ends(_ world: World) -> [Double] {
    var ends = [Double](repeating: 0, count: 64)
    for step in world.log {
        for case .finished(let request, _, _) in step.actions {
            ends[Int(request.rawValue) - 1] = (step.at - (.zero + .seconds(5))).seconds
        }
    }
    return ends
}

@Test func paperBaseline_throughTheControlMachine_hasTheAuthorsMakespanAndMedianLatency() throws {
    let (scenario, outputs) = paperScenario(.paper(sequences: 1))
    var world = try World(scenario, keepsLog: true)
    world.run()
    #expect(world.violations.isEmpty)
    #expect(world.flightsMax == 4)
    let ends = ends(world)
    let makespan = try #require(ends.max())
    #expect(abs(makespan - 108.61) < 0.11)
    let latency = PerformanceResult.median(zip(ends, outputs).map { $0 / Double($1) })
    #expect(abs(latency - 1.07494) < 0.0011)
}

@Test func paperBaseline_workersDie_everyAnswerIsWhole() throws {
    var (scenario, _) = paperScenario(.paper(sequences: 3))
    scenario.workers = scenario.workers.map { worker in
        var worker = worker
        worker.restartDelay = .milliseconds(300)
        return worker
    }
    scenario.faults = [
        .init(at: .zero + .seconds(7), worker: 0, kind: .crash),
        .init(at: .zero + .seconds(9), worker: 2, kind: .vanish),
    ]
    var world = try World(scenario)
    world.run()
    #expect(world.violations.isEmpty, "\(world.violations)")
    #expect(world.controller.counters.requestsEnded == 64)
}

@Test func paperBaseline_randomWorldsWithFaults_keepTheInvariants() throws {
    for seed in UInt64(0)..<60 {
        var scenario = Scenario.drawn(seed: seed)
        scenario.configuration.batching = .paper(sequences: 1 + Int(seed % 5))
        var world = try World(scenario)
        world.run()
        #expect(world.violations.isEmpty, "seed \(seed): \(world.violations)")
    }
}
