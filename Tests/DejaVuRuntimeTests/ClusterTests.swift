import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuLib
import DejaVuRuntime
import Testing

/// A controller and workers in this process, over real sockets.
private func withCluster(
    stages: Int, workers: Int, overTCP: Bool, profile: ModelProfile = profile,
    _ body: (ControllerService) async throws -> Void
) async throws {
    try await withDirectory { directory in
        let service = try await ControllerService.start(
            options(stages: stages, in: directory) {
                $0.key = key
                $0.clusterListen = overTCP ? .tcp(host: "127.0.0.1", port: 0) : nil
            }, logger: quiet)
        let address = service.clusterAddress ?? service.localAddress
        let meter = EmulationMeter()
        let processes = try (0..<workers).map {
            try worker(
                joining: address, name: "w\($0)", peers: overTCP ? .host(nil) : .directory(directory),
                profile: profile, meter: meter)
        }
        let exits = await withTaskGroup(of: WorkerExit.self) { group in
            for process in processes { group.addTask { await process.run() } }
            do {
                try await untilReady(service)
                try await body(service)
            } catch {
                Issue.record(error)
            }
            await service.stop()
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(exits.map(\.code) == Array(repeating: 0, count: workers), "\(exits)")
        #expect(meter.usage.rewriteMismatches == 0)
    }
}

@Test(arguments: [1, 2, 3], [false, true])
func cluster_mixedRequests_textsEqualTheReference(stages: Int, overTCP: Bool) async throws {
    try await withCluster(stages: stages, workers: stages, overTCP: overTCP) { service in
        await expectTexts(mixedRequests(40, seed: UInt64(stages), of: service), from: service)
        let status = await service.status()
        #expect(status.ready && status.sequencesRunning == 0 && status.queue.requests == 0)
        #expect(status.pipelines.first?.stages.count == stages)
    }
}

@Test func cluster_clientLeaves_itsCellsComeBack() async throws {
    var slow = profile
    slow.passSeconds = 0.002
    try await withCluster(stages: 2, workers: 2, overTCP: false, profile: slow) { service in
        let request = service.request([1, 2, 3], outputs: 1500)
        var seen = 0
        for await event in service.events(of: request) {
            if case .token = event { seen += 1 }
            if seen == 3 { break }
        }
        try await wait("the cells are free") { await service.status().pipelines[0].cellsUsed == 0 }
        #expect(seen == 3)
    }
}

@Test func cluster_serverFindsAStopString_theChoiceAloneEnds() async throws {
    // Slow enough that the server's word arrives before the answer's end.
    var slow = profile
    slow.passSeconds = 0.002
    try await withCluster(stages: 1, workers: 1, overTCP: false, profile: slow) { service in
        let request = service.request([7], outputs: 800, choices: 2)
        var counts = [0, 0]
        var reasons: [FinishReason?] = [nil, nil]
        for await event in service.events(of: request) {
            if case .token(let choice, _) = event {
                counts[choice] += 1
                if choice == 0, counts[0] == 5 { service.finish(request.id, choice: 0) }
            }
            if case .finished(let choice, let reason) = event { reasons[choice] = reason }
        }
        #expect(reasons == [.stop, .length])
        #expect(counts[0] < 800 && counts[1] == 800)
    }
}

@Test func cluster_impossibleRequests_areRefusedWithTheReason() async throws {
    try await withCluster(stages: 1, workers: 1, overTCP: false) { service in
        let long = service.request([TokenID](repeating: 1, count: 5000), outputs: 1)
        #expect(await service.answer(to: long).refusal?.code == .invalidArgument)
    }
}

@Test func cluster_drain_endsTheRunningAndRefusesTheNew() async throws {
    try await withCluster(stages: 1, workers: 1, overTCP: false) { service in
        let running = service.request([5], outputs: 300)
        async let answer = service.answer(to: running)
        try await wait("it runs") { await service.status().counters.tokensEmitted > 0 }
        await service.drain(until: ControllerService.now + .seconds(300))
        #expect(await answer == expected(running))
        let late = await service.answer(to: service.request([5], outputs: 3))
        #expect(late.refusal?.code == .unavailable)
    }
}

@Test func cluster_drainPastItsDeadline_endsWithShutdown() async throws {
    var slow = profile
    slow.passSeconds = 0.01
    try await withCluster(stages: 1, workers: 1, overTCP: false, profile: slow) { service in
        let request = service.request([5], outputs: 1900)
        async let answer = service.answer(to: request)
        try await wait("it runs") { await service.status().counters.tokensEmitted > 0 }
        await service.drain(until: ControllerService.now + .milliseconds(100))
        #expect(await answer.reasons == [.shutdown])
    }
}

@Test func service_afterItsEnd_answersEveryCall() async throws {
    try await withDirectory { directory in
        let service = try await ControllerService.start(options(stages: 1, in: directory), logger: quiet)
        await service.stop()
        await service.stop()
        #expect(await service.answer(to: service.request([1], outputs: 1)).refusal?.code == .unavailable)
        #expect(await !service.status().ready)
        service.cancel(RequestID(1))
        await service.drain(until: ControllerService.now)
    }
}
