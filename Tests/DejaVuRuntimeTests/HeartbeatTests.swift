import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuLib
import DejaVuRuntime
import NIOCore
import NIOPosix
import Synchronization
import Testing

@Test func workerBeat_itsContent_surviveTheWireAndNothingElseDoes() throws {
    var random = RandomMessages(seed: 51)
    for _ in 0..<200 {
        guard case .heartbeat(let heartbeat) = random.workerMessage() else { continue }
        let beat = WorkerBeat(term: random.term(), heartbeat: heartbeat)
        #expect(try WorkerBeat(beat.content) == beat)
        let bytes = [UInt8](beat.content.readableBytesView)
        for count in 0..<bytes.count {
            #expect(throws: DejaVuError.self) { try WorkerBeat(ByteBuffer(bytes: bytes[..<count])) }
        }
        #expect(throws: DejaVuError.self) { try WorkerBeat(ByteBuffer(bytes: bytes + [0])) }
    }
}

/// A controller that only a test commands: it welcomes one worker, names where it hears heartbeats, and is silent.
private final class FakeController: Sendable {
    let term = Term(number: 1, nonce: 7)
    /// Of the beats over the link to the controller, and of those over the heart's own.
    let counts = Mutex<(stopgap: Int, own: Int)>((0, 0))
    private let link = Mutex<Link?>(nil)
    private let listeners = Mutex<(LinkListener?, HeartbeatListener?)>((nil, nil))

    private var endpoint: LinkEndpoint {
        let term = self.term
        return LinkEndpoint(key: key) {
            LinkIdentity(
                role: .controller, name: "fake", incarnation: Incarnation(term.nonce), term: term,
                model: profile.model, numericClass: profile.numericClass)
        }
    }

    /// - Returns: where workers join.
    func listen(on loop: any EventLoop) async throws -> LinkAddress {
        let listener = try await LinkListener.listen(at: .tcp(host: "127.0.0.1", port: 0), as: endpoint, on: loop) {
            link in
            self.link.withLock { $0 = link }
            return { event in
                guard case .message(let message) = event, case .report(_, .heartbeat)? = try? Envelope(message)
                else { return }
                self.counts.withLock { $0.stopgap += 1 }
            }
        } refused: {
            Issue.record("refused: \($0)")
        }
        listeners.withLock { $0.0 = listener }
        return listener.address
    }

    /// Hears heartbeats from now on, and says where.
    func openHeart() async throws {
        let term = self.term
        let heart = try await HeartbeatListener.listen(at: .tcp(host: "127.0.0.1", port: 0), as: endpoint) { _, event in
            guard case .beat(let content) = event else { return }
            guard let beat = try? WorkerBeat(content), beat.term == term else {
                Issue.record("a beat that is none")
                return
            }
            self.counts.withLock { $0.own += 1 }
        } refused: {
            Issue.record("refused: \($0)")
        }
        listeners.withLock { $0.1 = heart }
        tell(heart.address.description)
    }

    func tell(_ address: String) { link.withLock { $0?.send(Envelope.heartbeats(at: address).message) } }

    func closeHeart() async { await listeners.withLock { $0.1.take() }?.close() }

    func close() async {
        await closeHeart()
        await listeners.withLock { $0.0.take() }?.close()
    }
}

@Test func worker_heartHasALinkOfItsOwn_beatsThereAndElsewhereOnlyMeanwhile() async throws {
    let controller = FakeController()
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    let process = try worker(joining: await controller.listen(on: loop), name: "w")
    async let exit = process.run()
    // Nobody has said where heartbeats are heard, so that they come this way.
    try await wait("it beats") { controller.counts.withLock { $0.stopgap >= 2 } }
    try await controller.openHeart()
    try await wait("it beats over its own link") { controller.counts.withLock { $0.own >= 5 } }
    // What was on its way has come by the time that another ten have.
    let before = controller.counts.withLock { $0 }
    try await wait("it goes on") { controller.counts.withLock { $0.own >= before.own + 10 } }
    #expect(controller.counts.withLock { $0.stopgap } == before.stopgap)
    await controller.closeHeart()
    try await wait("it beats the first way again") {
        controller.counts.withLock { $0.stopgap >= before.stopgap + 3 }
    }
    process.stop("done")
    #expect(await exit.code == 0)
    await controller.close()
}

@Test func controller_beatsOverTheirOwnLink_areTheWorkers() async throws {
    try await withDirectory { directory in
        let service = try await ControllerService.start(
            options(stages: 1, in: directory) { $0.key = key }, logger: quiet)
        let fake = try await FakeWorker(joining: service)
        fake.say(fake.hello())
        try await wait("it is told where to beat") { fake.heartbeatAddress != nil }
        let address = try LinkAddress(parsing: try #require(fake.heartbeatAddress))
        let term = fake.term
        // Whoever is no worker of the controller's is heard and not counted.
        let strange = HeartbeatSender(to: address, as: FakeWorker.endpoint(Incarnation(1)), every: .milliseconds(5)) {
            WorkerBeat(term: term, heartbeat: WorkerHeartbeat(progress: 1, busy: false, rewriteMismatches: 100)).content
        } report: { _ in
        }
        let heart = HeartbeatSender(to: address, as: FakeWorker.endpoint(fake.incarnation), every: .milliseconds(5)) {
            WorkerBeat(term: term, heartbeat: WorkerHeartbeat(progress: 1, busy: false, rewriteMismatches: 3)).content
        } report: { _ in
        }
        strange.start()
        try await wait("the strange heart beats") { strange.isBeating }
        heart.start()
        try await wait("a beat is heard") { await service.status().counters.rewriteMismatches > 0 }
        #expect(await service.status().counters.rewriteMismatches == 3)
        await strange.stop("done")
        await heart.stop("done")
        fake.leave()
        await service.stop()
    }
}
