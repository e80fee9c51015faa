import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuLib
import DejaVuRuntime
import Testing

/// Stages that take long enough for a death to come in mid-answer.
private let slow: ModelProfile = {
    var slow = profile
    slow.passSeconds = 0.003
    return slow
}()

/// Workers one after the other, each of which holds what the one before it runs.
private func withWorkers(
    stages: Int, overTCP: Bool = false, replicaBytesMax: Int? = nil,
    _ body: (ControllerService, _ start: @escaping @Sendable (String) async throws -> WorkerProcess) async throws ->
        Void
) async throws {
    try await withDirectory { directory in
        let service = try await ControllerService.start(
            options(stages: stages, in: directory) {
                $0.key = key
                $0.clusterListen = overTCP ? .tcp(host: "127.0.0.1", port: 0) : nil
            }, logger: quiet)
        let address = service.clusterAddress ?? service.localAddress
        let meter = EmulationMeter()
        await withTaskGroup(of: Void.self) { group in
            let (processes, feed) = AsyncStream.makeStream(of: WorkerProcess.self)
            group.addTask {
                await withTaskGroup(of: Void.self) { running in
                    for await process in processes { running.addTask { _ = await process.run() } }
                }
            }
            do {
                try await body(service) { name in
                    let process = try worker(
                        joining: address, name: name, peers: overTCP ? .host(nil) : .directory(directory),
                        profile: slow, meter: meter, replicaBytesMax: replicaBytesMax ?? stages << 30)
                    let known = await service.status().counters.workersJoined
                    feed.yield(process)
                    try await wait("\(name) has joined") {
                        await service.status().counters.workersJoined > known
                    }
                    return process
                }
            } catch {
                Issue.record(error)
            }
            await service.stop()
            feed.finish()
        }
        #expect(meter.usage.rewriteMismatches == 0)
    }
}

private func replicated(_ service: ControllerService) async throws {
    try await wait("every stage has a replica") {
        await service.status().pipelines.allSatisfy { $0.stages.allSatisfy(\.replicaReady) }
    }
}

/// "Kill any process at any moment, and the client sees a short pause and then exactly the text it would have got", and
/// nothing is run again beyond the lag.
@Test(arguments: [1, 2], [false, true])
func takeover_stageWorkersEndOneAfterTheOther_textsAreRightAndLittleIsRunAgain(
    stages: Int, overTCP: Bool
) async throws {
    try await withWorkers(stages: stages, overTCP: overTCP) { service, start in
        var workers: [WorkerProcess] = []
        for index in 0..<stages + 1 { workers.append(try await start("w\(index)")) }
        try await untilReady(service)
        try await replicated(service)
        let requests = (0..<8).map { index -> Request in
            var sampling = SamplingParameters()
            sampling.temperature = index % 2 == 0 ? 0 : 1
            sampling.seed = UInt64(index)
            return service.request([TokenID(index + 1), 5, 9], outputs: 600, sampling: sampling)
        }
        async let texts: Void = expectTexts(requests, from: service)
        for round in 0..<2 {
            let emitted = await service.status().counters.tokensEmitted
            try await wait("answers grow") { await service.status().counters.tokensEmitted > emitted + 300 }
            try await replicated(service)
            try await wait("the replicas have caught up") {
                let status = await service.status()
                return status.sequencesAtRisk == 0 && status.positionsAtRisk < 64
            }
            workers[round].stop("the test says so")
            try await wait("the loss was noticed") { await service.status().counters.workersLost > round }
            workers.append(try await start("n\(round)"))
        }
        await texts
        let counters = await service.status().counters
        #expect(counters.takeovers == 2)
        // At most some steps of eight sequences for each of two deaths; without replicas it would be thousands.
        #expect(counters.positionsRunAgain < 160, "\(counters.positionsRunAgain)")
        #expect(await service.status().lastRecovery?.stagesByReplica == 1)
    }
}

/// A standby without memory holds nothing, and takes over with the record alone.
@Test func takeover_standbyWithoutMemory_runsAgainFromTheRecord() async throws {
    try await withWorkers(stages: 1, replicaBytesMax: 0) { service, start in
        let first = try await start("w0")
        _ = try await start("w1")
        try await untilReady(service)
        let request = service.request([1, 2, 3], outputs: 400)
        async let texts: Void = expectTexts([request], from: service)
        try await wait("the answer grows") { await service.status().counters.tokensEmitted > 50 }
        #expect(await service.status().sequencesAtRisk == 1)
        first.stop("the test says so")
        await texts
        let counters = await service.status().counters
        #expect(counters.takeovers == 0 && counters.positionsRunAgain > 40)
    }
}

private func eightRequests(_ service: ControllerService, outputs: Int) -> [Request] {
    (0..<8).map { index in
        var sampling = SamplingParameters()
        sampling.temperature = index % 2 == 0 ? 0 : 1
        sampling.seed = UInt64(index)
        return service.request([TokenID(index + 1), 5, 9], outputs: outputs, sampling: sampling)
    }
}

/// Survivors need no spare: the neighbour takes the stage over beside its own, and gives one to the worker that comes.
@Test func takeover_noStandby_neighbourRunsBothStagesUntilAnotherComes() async throws {
    try await withWorkers(stages: 2) { service, start in
        _ = try await start("w0")
        let second = try await start("w1")
        try await untilReady(service)
        try await replicated(service)
        async let texts: Void = expectTexts(eightRequests(service, outputs: 600), from: service)
        try await wait("answers grow") { await service.status().counters.tokensEmitted > 300 }
        try await wait("the replicas have caught up") {
            let status = await service.status()
            return status.sequencesAtRisk == 0 && status.positionsAtRisk < 64
        }
        second.stop("the test says so")
        try await wait("one worker runs both stages") {
            let pipeline = await service.status().pipelines[0]
            return pipeline.state == .serving && Set(pipeline.stages.map(\.worker)).count == 1
        }
        _ = try await start("w2")
        try await wait("each runs one") { Set(await service.status().pipelines[0].stages.map(\.worker)).count == 2 }
        await texts
        let counters = await service.status().counters
        #expect(counters.takeovers == 1 && counters.moves == 1)
        #expect(counters.positionsRunAgain < 80, "\(counters.positionsRunAgain)")
    }
}

/// "Its stages move by streaming first …, nothing is computed again, then it exits 0."
@Test(arguments: [1, 2]) func drain_workerAskedToEnd_handsItsStageOverAndNothingIsRunAgain(stages: Int) async throws {
    try await withWorkers(stages: stages) { service, start in
        var workers: [WorkerProcess] = []
        for index in 0...stages { workers.append(try await start("w\(index)")) }
        try await untilReady(service)
        try await replicated(service)
        async let texts: Void = expectTexts(eightRequests(service, outputs: 400), from: service)
        try await wait("answers grow") { await service.status().counters.tokensEmitted > 300 }
        workers[0].drain()
        try await wait("the worker has left") { await service.status().counters.workersLeft == 1 }
        await texts
        let counters = await service.status().counters
        #expect(counters.moves == 1 && counters.recoveries == 0 && counters.workersLost == 0)
        #expect(counters.positionsRunAgain == 0 && counters.replayRows == 0)
    }
}
