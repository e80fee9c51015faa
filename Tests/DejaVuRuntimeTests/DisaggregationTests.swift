import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuLib
import DejaVuRuntime
import Foundation
import Testing

/// A cluster of emulated workers in this process, one for each stage and `spares` more.
private func withCluster(
    _ prompt: Int, _ token: Int, spares: Int = 0, profile: ModelProfile = profile,
    observer: (any ControllerObserver)? = nil,
    _ body: (ControllerService, [WorkerProcess]) async throws -> Void
) async throws {
    try await withDirectory { directory in
        var topology = PipelineTopology(stageCount: token, promptStageCount: prompt)
        topology.promptStageCount = prompt
        let service = try await ControllerService.start(
            options(stages: token, in: directory) {
                $0.key = key
                $0.configuration.topology = topology
                $0.configuration.disaggregateAbove = 24
                $0.configuration.limits.promptRowsMax = 128
            }, observer: observer, logger: quiet)
        let meter = EmulationMeter()
        let workers = try (0..<(prompt + token + spares)).map { index in
            try worker(
                joining: service.localAddress, name: "worker-\(index)", peers: .directory(directory), profile: profile,
                meter: meter, replicaBytesMax: 8 << 30)
        }
        await withTaskGroup(of: Void.self) { group in
            for worker in workers { group.addTask { _ = await worker.run() } }
            do {
                try await wait("every pipeline serves") {
                    await service.status().pipelines.allSatisfy { $0.state == .serving }
                }
                try await untilReady(service)
                try await body(service, workers)
            } catch { Issue.record(error) }
            await service.stop()
        }
        #expect(meter.usage.rewriteMismatches == 0)
    }
}

/// "Emulated: 200 mixed requests": long and short prompts, seeds, several choices, stops; some clients leave. Every
/// text is that of one stage alone.
@Test(arguments: [(1, 1), (1, 2), (2, 1), (2, 3)])
func disaggregated_mixedRequests_textsAreThoseOfOneStage(stages: (Int, Int)) async throws {
    try await withCluster(stages.0, stages.1) { service, _ in
        let requests = mixedRequests(200, seed: 41, outputs: 1...24, of: service)
        let leavers = mixedRequests(20, seed: 42, outputs: 200...400, of: service)
        await withTaskGroup(of: Void.self) { group in
            for request in leavers {
                group.addTask {
                    // Whoever reads no more has left.
                    for await event in service.events(of: request) {
                        if case .token = event { break }
                    }
                }
            }
            group.addTask { await expectTexts(requests, from: service) }
        }
        try await wait("all cells are back") {
            await service.status().pipelines.allSatisfy { $0.cellsUsed == 0 }
        }
        let status = await service.status()
        #expect(status.counters.replayRows == 0 && status.counters.workersLost == 0)
        #expect(status.pipelines.allSatisfy { $0.stages[0].passes > 10 }, "prompts were run where they should be")
    }
}

@Test(.timeLimit(.minutes(2))) func disaggregated_longPrompt_traceHasItsPassesAndWhatWasFed() async throws {
    let path = NSTemporaryDirectory() + "trace-\(UUID().uuidString).json"
    defer { try? FileManager.default.removeItem(atPath: path) }
    let trace = try TraceFile(
        path: path, topology: PipelineTopology(stageCount: 1, promptStageCount: 1), logger: quiet)
    func passes(_ role: String, _ events: [TracedEvent]) -> [TracedEvent] { events.filter { $0.args?.role == role } }
    func steps(_ events: [TracedEvent]) -> Int { passes("token", events).reduce(0) { $0 + ($1.args?.steps ?? 0) } }
    try await withCluster(1, 1, observer: trace) { service, _ in
        let request = service.request((0..<400).map { TokenID($0 % 7) }, outputs: 20)
        #expect(await service.answer(to: request) == expected(request))
        // Heartbeats bring it; who reads in the middle of a write may see half of it.
        try await wait("the last steps are written down") { (try? TracedEvent.all(in: path)).map(steps) ?? 0 >= 19 }
    }
    await trace.finish()
    let events = try TracedEvent.all(in: path)
    #expect(passes("prompt", events).reduce(0) { $0 + ($1.args?.rows ?? 0) } >= 400)
    let fed = events.filter { $0.name == "feed" && $0.ph == "b" }
    #expect(!fed.isEmpty && Set(fed.map(\.pid)) == Set(passes("token", events).map(\.pid)))
}

private struct TracedEvent: Decodable {
    struct Arguments: Decodable {
        let role: String?
        let rows: Int?
        let steps: Int?
    }
    let ph: String
    let name: String
    let pid: Int
    let args: Arguments?

    static func all(in path: String) throws -> [TracedEvent] {
        try JSONDecoder().decode([TracedEvent].self, from: Data(contentsOf: URL(filePath: path)))
    }
}
