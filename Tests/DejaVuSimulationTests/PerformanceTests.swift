import DejaVuCore
import DejaVuSimulation
import Foundation
import Testing

/// The trace of the authors' simulators.
private let paperJobs = (0..<64).map {
    PerformanceScenario.Job(promptCount: 1000, outputCount: 2 + $0 * 37 % 99)
}

private func paperRun(_ topology: Topology, prompt: Int64, step: Int64) throws -> PerformanceResult {
    try PerformanceScenario(
        topology: topology, batching: .paper(sequences: 1),
        costs: .fixed(prompt: .milliseconds(prompt), step: .milliseconds(step)), jobs: paperJobs
    ).run()
}

// What the authors' simulators print for it.
@Test(arguments: [
    (Topology.colocated(stages: 4, pipelines: 1), Int64(250), Int64(15), 108.61, 1.07494),
    (.disaggregated(promptStages: 1, tokenStages: 3), 1000, 20, 71.86, 0.73528),
    (.disaggregated(promptStages: 2, tokenStages: 2), 500, 30, 102.62, 1.00647),
])
func paperBaseline_authorsTrace_hasTheirMakespanAndMedianLatency(
    topology: Topology, prompt: Int64, step: Int64, makespan: Double, latency: Double
) throws {
    let result = try paperRun(topology, prompt: prompt, step: step)
    #expect(abs(result.makespan - makespan) < makespan / 1000)
    #expect(abs(result.medianNormalisedLatency - latency) < latency / 1000)
}

private let batchings: [PerformanceScenario.Batching] = [.paper(sequences: 4), .continuous()]

/// One request of 100 + 11 tokens that comes after 5 s, in two stages which take 0.1 s for its prompt and 10 ms a step.
private func alone(_ batching: PerformanceScenario.Batching) throws -> PerformanceResult {
    var profile = ModelProfile.instant
    profile.promptTimes = [.init(sequences: 1, tokens: 100, seconds: 0.1)]
    profile.stepTimes = [.init(sequences: 1, seconds: 0.01)]
    let job = PerformanceScenario.Job(arrival: .zero + .seconds(5), promptCount: 100, outputCount: 11)
    return try PerformanceScenario(
        topology: .colocated(stages: 2, pipelines: 1), batching: batching, costs: .profile(profile), jobs: [job]
    ).run()
}

@Test(arguments: [PerformanceScenario.Batching.paper(sequences: 4), .whole])
func performance_onePipelineAlone_takesWhatTheProfileSays(batching: PerformanceScenario.Batching) throws {
    let result = try alone(batching)
    // The prompt's pass samples the first.
    #expect(abs(result.makespan - (5 + 0.1 + 10 * 0.01)) < 1e-6)
    #expect(abs(result.outcomes[0].normalisedLatency * 11 - (result.makespan - 5)) < 1e-9)
    // One pass at a time keeps one of two stages busy, at most.
    #expect(abs(result.bubbleShare - 0.5) < 0.001)
}

/// As the controller does: one half is in the second stage while the other is in the first.
@Test func performance_promptAlone_isSpreadOverTheStages() throws {
    #expect(abs(try alone(.continuous()).makespan - (5 + 0.075 + 10 * 0.01)) < 1e-6)
}

private func load(count: Int, prompt: Int = 500, outputs: Int = 80, seed: UInt64 = 1) -> [PerformanceScenario.Job] {
    var random = SeededGenerator(seed: seed)
    var at = Instant.zero
    return (0..<count).map { _ in
        at = at + .milliseconds(Int64(random.next(below: 2000)))
        return .init(
            arrival: at, promptCount: random.next(in: prompt / 2...prompt), outputCount: random.next(in: 1...outputs))
    }
}

private let topologies: [Topology] = [
    .colocated(stages: 1, pipelines: 1), .colocated(stages: 4, pipelines: 1), .colocated(stages: 2, pipelines: 2),
    .disaggregated(promptStages: 1, tokenStages: 3), .disaggregated(promptStages: 3, tokenStages: 2),
]

@Test(arguments: topologies, batchings)
func performance_anyTopology_endsAllAndKeepsEveryMachinesTime(
    topology: Topology, batching: PerformanceScenario.Batching
) throws {
    var profile = ModelProfile.opt66B
    profile.deviceMemoryBytes = 300_000_000_000
    for swaps in [false, true] {
        var scenario = PerformanceScenario(
            topology: topology, batching: batching, costs: .profile(profile), jobs: load(count: 60))
        scenario.swaps = swaps
        scenario.keepsTrace = true
        let result = try scenario.run()
        #expect(result.outcomes.count == 60)
        #expect(result.busy.count == topology.machineCount)
        for outcome in result.outcomes {
            #expect(outcome.arrival < outcome.firstToken && outcome.firstToken <= outcome.end)
        }
        let trace = try #require(result.trace)
        #expect(trace.lanes.count == topology.machineCount && trace.droppedCount == 0)
        for lane in trace.lanes.indices {
            let passes = trace.intervals.filter { $0.lane == lane && $0.kind.isCompute }
            #expect(zip(passes, passes.dropFirst()).allSatisfy { $0.end <= $1.start })
            let busy = passes.reduce(TimeSpan.zero) { $0 + ($1.end - $1.start) }
            #expect(busy == result.busy[lane])
        }
        #expect(try scenario.run() == result)
    }
}

@Test func performance_continuousBatching_beatsWholeMicrobatches() throws {
    let jobs = load(count: 64).map { PerformanceScenario.Job(promptCount: $0.promptCount, outputCount: $0.outputCount) }
    func throughput(_ batching: PerformanceScenario.Batching) throws -> Double {
        try PerformanceScenario(
            topology: .colocated(stages: 4, pipelines: 1), batching: batching, costs: .profile(.opt66B), jobs: jobs
        ).run().throughput
    }
    #expect(try throughput(.continuous()) > throughput(.paper(sequences: 8)))
}

@Test func performance_swapping_isFreeUntilTheCopyTakesLongerThanTheStep() throws {
    // Room on the device for two of four microbatches of 8 x 1100 positions.
    var profile = ModelProfile.opt66B
    let positions = 8 * 1100
    let layers = profile.layerCount / 4
    profile.deviceMemoryBytes =
        (profile.weightBytesPerLayer + 2 * positions * profile.kvBytesPerPositionAndLayer) * layers
    let jobs = [PerformanceScenario.Job](repeating: .init(promptCount: 1000, outputCount: 100), count: 64)
    func run(_ sequences: Int, swaps: Bool, copy: Double, device: Int? = nil) throws -> PerformanceResult {
        var machine = profile
        machine.copyBytesPerSecond = copy
        machine.deviceMemoryBytes = device ?? machine.deviceMemoryBytes
        var scenario = PerformanceScenario(
            topology: .colocated(stages: 4, pipelines: 1), batching: .paper(sequences: sequences),
            costs: .profile(machine), jobs: jobs)
        scenario.swaps = swaps
        return try scenario.run()
    }
    #expect(throws: DejaVuError.self) { try run(8, swaps: false, copy: 1e12) }
    let roomy = try run(8, swaps: false, copy: 1e12, device: 1_000_000_000_000)
    let fast = try run(8, swaps: true, copy: 1e12)
    let slow = try run(8, swaps: true, copy: 2e9)
    let half = try run(4, swaps: false, copy: 1e12)
    #expect(abs(fast.makespan - roomy.makespan) < roomy.makespan / 1000)
    #expect(fast.throughput > 1.2 * half.throughput)
    #expect(slow.throughput < half.throughput)
}

/// A place that was empty does not wait for the others' turns.
@Test func paperBaseline_requestsOneAfterAnother_takeEmptyPlacesAtOnce() throws {
    let jobs = [Int64(0), 1].map {
        PerformanceScenario.Job(arrival: .zero + .milliseconds($0), promptCount: 10, outputCount: 3)
    }
    let result = try PerformanceScenario(
        topology: .colocated(stages: 4, pipelines: 1), batching: .paper(sequences: 1),
        costs: .fixed(prompt: .milliseconds(100), step: .milliseconds(10)), jobs: jobs
    ).run()
    // The second prompt follows the first through the stages: 100 ms behind, and so are its steps.
    #expect(result.outcomes[1].end == Instant.zero + TimeSpan.milliseconds(100 * 5 + 3 * 40))
}

@Test func performance_requestThatNeverFits_isRefusedWithTheNumbers() {
    var profile = ModelProfile.opt66B
    profile.deviceMemoryBytes = profile.weightBytesPerLayer * profile.layerCount + 1000
    let scenario = PerformanceScenario(
        topology: .colocated(stages: 1, pipelines: 1), batching: .continuous(), costs: .profile(profile),
        jobs: load(count: 1))
    #expect { try scenario.run() } throws: { ($0 as? DejaVuError)?.code == .resourceExhausted }
    profile.deviceMemoryBytes = 1000
    #expect { try MemoryBudget(profile, stages: 1) } throws: { ($0 as? DejaVuError)?.code == .resourceExhausted }
}

@Test func performanceTrace_forChrome_fillsEveryMachinesTimeUpToItsLastPass() throws {
    struct File: Decodable {
        struct Event: Decodable {
            let name: String
            let ph: String
            let pid: Int
            let tid: Int
            let ts: Double?
            let dur: Double?
        }
        let traceEvents: [Event]
    }
    var scenario = PerformanceScenario(
        topology: .disaggregated(promptStages: 1, tokenStages: 2), batching: .continuous(), costs: .profile(.opt66B),
        jobs: load(count: 8))
    scenario.keepsTrace = true
    let trace = try #require(try scenario.run().trace)
    let events = try JSONDecoder().decode(File.self, from: Data(trace.chromeText.utf8)).traceEvents
    for lane in 0..<3 {
        // Passes and bubbles follow each other without a gap.
        var end = 0.0
        for event in events where event.ph == "X" && event.pid == lane && event.tid == 0 {
            #expect(abs((event.ts ?? -1) - end) < 0.01)
            end = (event.ts ?? 0) + (event.dur ?? 0)
        }
        #expect(end > 0)
    }
    #expect(events.contains { $0.name == "bubble" } && events.contains { $0.name == "stream" })
}
