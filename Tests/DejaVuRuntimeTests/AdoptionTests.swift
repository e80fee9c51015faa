import DejaVuControl
import DejaVuCore
import DejaVuLib
import DejaVuRuntime
import Glibc
import Synchronization
import Testing

/// What comes for a restored request.
private final class Rest: Sendable {
    private let state: Mutex<Answer>

    init(_ restored: RestoredRequest) {
        state = Mutex(
            Answer(tokens: restored.choices.map(\.outputs), reasons: restored.choices.map(\.finish)))
    }

    func take(_ event: GenerationEvent) {
        state.withLock { answer in
            switch event {
            case .token(let choice, let token): answer.tokens[choice].append(token.token)
            case .finished(let choice, let reason): answer.reasons[choice] = reason
            case .admitted, .refused: break
            }
        }
    }

    var answer: Answer { state.withLock { $0 } }
    var isWhole: Bool { answer.reasons.allSatisfy { $0 != nil } }
}

/// "`serve` adopts the workers it finds before it starts new ones, and rebuilds every sequence from their records."
@Test(arguments: [(1, 2), (2, 3)])
func controller_goneWithStreamsOpen_theNextGoesOnWithItsWorkers(stages: Int, count: Int) async throws {
    try await withDirectory { directory in
        let starting = options(stages: stages, in: directory) {
            $0.localWorkers = LocalWorkers(count: count, arguments: ["test-worker", "worker", "1"])
            $0.localWorkers.executable = testWorkerPath
            $0.configuration.limits.endedKept = .seconds(60)
            $0.adoptionTime = .seconds(60)
        }
        let first = try await ControllerService.start(starting, logger: quiet)
        try await untilReady(first)
        try await wait("all are there") { await first.status().workers.count == count }
        let processes = Set(first.localProcessIDs)
        let requests = mixedRequests(12, seed: 21, outputs: 100...300, of: first)
        for request in requests { first.submit(request) { _ in } }
        try await wait("tokens come") { await first.status().counters.tokensEmitted > 400 }
        await first.abandon()
        for process in processes { #expect(isAlive(process)) }

        let second = try await ControllerService.start(starting, logger: quiet)
        #expect(Set(second.localProcessIDs) == processes, "nobody was started anew")
        let restored = await second.takeRestored()
        #expect(Set(restored.map(\.request.id)) == Set(requests.map(\.id)))
        let rests = restored.map { Rest($0) }
        for (rest, request) in zip(rests, restored) { second.follow(request.request.id) { rest.take($0) } }
        try await wait("all have ended") { rests.allSatisfy(\.isWhole) }
        for (rest, found) in zip(rests, restored) {
            let request = try #require(requests.first { $0.id == found.request.id })
            #expect(rest.answer == expected(request), "\(request.id)")
        }
        let counters = await second.status().counters
        #expect(counters.workersAdopted == UInt64(count) && counters.workersLost == 0)
        #expect(counters.positionsRunAgain == 0)
        // One of them dies: it is watched although it is nobody's child any more.
        let victim = try #require(second.localProcessIDs.first)
        kill(victim, SIGKILL)
        try await wait("the loss is noticed") { await second.status().counters.workersLost == 1 }
        try await wait("another is started") {
            second.localProcessIDs.count == count && !second.localProcessIDs.contains(victim)
        }
        let all = processes.union(second.localProcessIDs)
        await second.stop()
        for process in all { #expect(!isAlive(process), "process \(process) is left") }
        StateDirectoryProbe.expectNoPeerSockets(in: directory)
    }
}

@Test func stateDirectory_workersOfAKilledController_areKnownToTheNext() async throws {
    try await withDirectory { path in
        let own = try #require(ProcessIdentity.start(of: getpid()))
        let workers = [
            StateDirectory.KnownWorker(
                incarnation: Incarnation(.max), process: ProcessIdentity(id: getpid(), start: own), name: "local-0"),
            StateDirectory.KnownWorker(incarnation: Incarnation(7), process: nil, name: "a machine\nfar away"),
        ]
        let first = try StateDirectory(path)
        let key = try first.localKey()
        first.note(workers)
        first.release(keeping: true)
        let second = try StateDirectory(path)
        let known = second.knownWorkers()
        #expect(known.map(\.incarnation) == workers.map(\.incarnation) && known[0] == workers[0])
        #expect(known[1].process == nil && known[1].name == "a machine far away")
        #expect(try second.localKey().bytes == key.bytes)
        second.release()
        let third = try StateDirectory(path)
        #expect(third.knownWorkers().isEmpty, "a normal stop leaves nobody")
        #expect(try third.localKey().bytes != key.bytes)
        third.release()
    }
}

@Test func processIdentity_otherStart_isAnotherProcess() throws {
    let start = try #require(ProcessIdentity.start(of: getpid()))
    #expect(ProcessIdentity(id: getpid(), start: start).isAlive)
    #expect(!ProcessIdentity(id: getpid(), start: start + 1).isAlive)
    #expect(!ProcessIdentity(id: getpid(), start: 0).isAlive)
}
