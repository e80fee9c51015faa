import DejaVuControl
import DejaVuCore
import DejaVuRuntime
import Glibc
import Testing

/// A controller with real local workers; afterwards no process may be left.
private func withLocalWorkers(
    stages: Int, count: Int, stepMilliseconds: Double, silenceMax: TimeSpan = .seconds(20),
    _ body: (ControllerService) async throws -> Void
) async throws {
    try await withDirectory { directory in
        let service = try await ControllerService.start(
            options(stages: stages, in: directory) {
                $0.localWorkers = LocalWorkers(
                    count: count, arguments: ["test-worker", "worker", "\(stepMilliseconds)"])
                $0.localWorkers.executable = testWorkerPath
                $0.localWorkers.restartDelayMin = .milliseconds(50)
                $0.configuration.limits.silenceMax = silenceMax
            }, logger: quiet)
        var seen = Set(service.localProcessIDs)
        #expect(seen.count == count)
        do {
            try await untilReady(service)
            try await body(service)
        } catch {
            Issue.record(error)
        }
        seen.formUnion(service.localProcessIDs)
        await service.stop()
        for process in seen { #expect(!isAlive(process), "process \(process) is left") }
        StateDirectoryProbe.expectNoPeerSockets(in: directory)
    }
}

enum StateDirectoryProbe {
    static func expectNoPeerSockets(in directory: String) {
        var found: [String] = []
        guard let stream = opendir(directory) else { return }
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasPrefix("peer-") { found.append(name) }
        }
        #expect(found.isEmpty, "\(found)")
    }
}

@Test(arguments: [(1, 1), (2, 2), (2, 3)])
func localWorkers_killedAgainAndAgain_everyTextIsStillRight(stages: Int, count: Int) async throws {
    try await withLocalWorkers(stages: stages, count: count, stepMilliseconds: 1) { service in
        let requests = mixedRequests(12, seed: UInt64(stages * 10 + count), outputs: 150...400, of: service)
        async let done: Void = expectTexts(requests, from: service)
        var generator = SeededGenerator(seed: 5)
        for round in 1...3 {
            let before = await service.status().counters
            try await wait("tokens come (round \(round))") {
                let status = await service.status()
                return status.counters.tokensEmitted > before.tokensEmitted + 100 || status.counters.requestsEnded == 12
            }
            let processes = service.localProcessIDs
            guard !processes.isEmpty else { continue }
            kill(processes[generator.next(below: processes.count)], SIGKILL)
            try await wait("the loss is noticed") {
                await service.status().counters.workersLost > before.workersLost
            }
        }
        await done
        let counters = await service.status().counters
        #expect(counters.workersLost >= 3)
        #expect(counters.sequencesPoisoned == 0)
    }
}

@Test func localWorkers_oneIsStopped_isFoundSilentAndReplaced() async throws {
    try await withLocalWorkers(stages: 2, count: 2, stepMilliseconds: 1, silenceMax: .milliseconds(500)) { service in
        let requests = mixedRequests(6, seed: 3, outputs: 200...300, of: service)
        async let done: Void = expectTexts(requests, from: service)
        try await wait("tokens come") { await service.status().counters.tokensEmitted > 50 }
        let victim = service.localProcessIDs[1]
        kill(victim, SIGSTOP)
        try await wait("it is found") { await service.status().counters.workersLost >= 1 }
        await done
        try await wait("it is gone") { !isAlive(victim) }
        #expect(service.localProcessIDs.count == 2)
    }
}

@Test func localWorkers_serviceStops_stoppedProcessesAreKilledToo() async throws {
    try await withDirectory { directory in
        let service = try await ControllerService.start(
            options(stages: 1, in: directory) {
                $0.localWorkers = LocalWorkers(count: 2, arguments: ["test-worker", "worker", "0"])
                $0.localWorkers.executable = testWorkerPath
                $0.localWorkers.shutdownTime = .milliseconds(200)
            }, logger: quiet)
        let processes = service.localProcessIDs
        // At once, before they have joined: they never hear that it is over.
        for process in processes { kill(process, SIGSTOP) }
        await service.stop()
        for process in processes { #expect(!isAlive(process)) }
    }
}

@Test func localWorkers_terminalInterrupts_goOn() async throws {
    try await withLocalWorkers(stages: 1, count: 1, stepMilliseconds: 0) { service in
        let process = service.localProcessIDs[0]
        kill(process, SIGINT)
        await expectTexts(mixedRequests(3, seed: 1, of: service), from: service)
        #expect(service.localProcessIDs == [process])
    }
}

@Test func localWorkers_programMissing_startFailsWithThePath() async throws {
    try await withDirectory { directory in
        let missing = options(stages: 1, in: directory) {
            $0.localWorkers = LocalWorkers(count: 1, arguments: ["x"])
            $0.localWorkers.executable = "/nonexistent/dejavu"
        }
        await #expect { _ = try await ControllerService.start(missing, logger: quiet) } throws: {
            "\($0)".contains("/nonexistent/dejavu")
        }
        // What was taken is free again.
        let service = try await ControllerService.start(options(stages: 1, in: directory), logger: quiet)
        await service.stop()
    }
}

@Test func controller_killed_itsWorkersEndByThemselves() async throws {
    try await withDirectory { directory in
        var ends = [Int32](repeating: -1, count: 2)
        #expect(pipe(&ends) == 0)
        defer { close(ends[0]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let words = ["test-worker", "controller", directory, "2"]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var controller: pid_t = 0
        // The workers re-execute /proc/self/exe, which is the test worker there.
        #expect(posix_spawn(&controller, testWorkerPath, &actions, nil, &arguments, environ) == 0)
        close(ends[1])
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = read(ends[0], &bytes, bytes.count)
        let workers = String(decoding: bytes[..<max(count, 0)], as: UTF8.self)
            .split(whereSeparator: \.isWhitespace).compactMap { Int32($0) }
        #expect(workers.count == 2)
        for worker in workers { #expect(isAlive(worker)) }
        kill(controller, SIGKILL)
        waitpid(controller, nil, 0)
        for worker in workers { try await wait("worker \(worker) ends") { !isAlive(worker) } }
        let service = try await ControllerService.start(options(stages: 1, in: directory), logger: quiet)
        #expect(service.term.number == 2)
        StateDirectoryProbe.expectNoPeerSockets(in: directory)
        await service.stop()
    }
}
