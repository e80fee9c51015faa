import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuKV
import DejaVuLib
import DejaVuRuntime
import NIOCore
import NIOPosix
import Synchronization
import Testing

/// A worker that has the key and says whatever a test wants.
final class FakeWorker: Sendable {
    let incarnation = Incarnation(UInt64.random(in: .min ... .max))
    private let state = Mutex<(orders: [ControllerMessage], heartbeats: String?, closed: Bool)>(([], nil, false))
    private let link = Mutex<Link?>(nil)
    let term: Term

    var orders: [ControllerMessage] { state.withLock { $0.orders } }
    var isClosed: Bool { state.withLock { $0.closed } }
    /// Where the controller hears heartbeats.
    var heartbeatAddress: String? { state.withLock { $0.heartbeats } }

    init(joining service: ControllerService) async throws {
        term = service.term
        let incarnation = self.incarnation
        let endpoint = Self.endpoint(incarnation)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let link = try await endpoint.connect(to: service.localAddress, on: loop) { _ in
            { event in
                switch event {
                case .message(let message): self.heard(try? Envelope(message))
                case .closed: self.state.withLock { $0.closed = true }
                default: break
                }
            }
        }.get()
        self.link.withLock { $0 = link }
    }

    static func endpoint(_ incarnation: Incarnation) -> LinkEndpoint {
        LinkEndpoint(key: key) {
            LinkIdentity(
                role: .worker, name: "fake", incarnation: incarnation, model: profile.model,
                numericClass: profile.numericClass)
        }
    }

    private func heard(_ envelope: Envelope?) {
        switch envelope {
        case .control(_, let order): state.withLock { $0.orders.append(order) }
        case .heartbeats(let address): state.withLock { $0.heartbeats = address }
        default: break
        }
    }

    func hello(incarnation: Incarnation? = nil) -> Envelope {
        .hello(
            WorkerHello(
                incarnation: incarnation ?? self.incarnation, term: nil, model: profile.model,
                peerAddress: "unix:/tmp/none.sock", bulkAddress: "unix:/tmp/none-bulk.sock",
                layerCount: profile.layerCount,
                kvBytesPerPositionAndLayer: profile.kvBytesPerPositionAndLayer, kvBytesMax: 1 << 30,
                replicaBytesMax: 1 << 30, numericClass: profile.numericClass, processID: 1, name: "fake"))
    }

    func say(_ envelope: Envelope) { say(envelope.message) }
    func say(_ message: LinkMessage) { link.withLock { $0?.send(message) } }
    func leave() { link.withLock { $0?.close("done") } }
}

private func withService(_ body: (ControllerService) async throws -> Void) async throws {
    try await withDirectory { directory in
        let service = try await ControllerService.start(
            options(stages: 1, in: directory) { $0.key = key }, logger: quiet)
        do { try await body(service) } catch { Issue.record(error) }
        await service.stop()
    }
}

@Test func controller_workersThatBreakTheProtocol_areDropped() async throws {
    try await withService { service in
        var random = RandomMessages(seed: 31)
        let wrong: [(FakeWorker, inout RandomMessages) -> LinkMessage] = [
            { worker, _ in worker.hello(incarnation: Incarnation(1)).message },
            { worker, random in Envelope.report(worker.term, random.workerMessage()).message },
            { worker, _ in Envelope.control(worker.term, .shutdown).message },
            { worker, random in Envelope.hidden(worker.term, random.pass(), stageIndex: 1, rows: ByteBuffer()).message
            },
            { _, _ in LinkMessage(kind: 200, header: ByteBuffer()) },
            { _, _ in LinkMessage(kind: 16, header: ByteBuffer(bytes: [1, 2, 3])) },
        ]
        for make in wrong {
            let worker = try await FakeWorker(joining: service)
            worker.say(make(worker, &random))
            try await wait("it is dropped") { worker.isClosed }
        }
        #expect(await service.status().counters.workersJoined == 0)
        let twice = try await FakeWorker(joining: service)
        twice.say(twice.hello())
        try await wait("it is welcome") { !twice.orders.isEmpty }
        twice.say(twice.hello())
        try await wait("it is dropped") { twice.isClosed }
    }
}

@Test func controller_workerThatSaysNonsense_doesNotBringItDown() async throws {
    try await withService { service in
        var random = RandomMessages(seed: 32)
        for round in 0..<12 {
            let worker = try await FakeWorker(joining: service)
            worker.say(worker.hello())
            try await wait("it is given a stage (\(round))") { worker.orders.contains { $0.isAssignment } }
            let request = service.request([1, 2, 3], outputs: 5)
            service.submit(request) { _ in }
            for _ in 0..<200 { worker.say(.report(worker.term, nonsense(for: worker, &random))) }
            // Some of it kills the worker in the controller's eyes; what does not is answered.
            worker.say(.report(worker.term, .heartbeat(WorkerHeartbeat(progress: 1, busy: false))))
            _ = await service.status()
            worker.leave()
            try await wait("it is gone") { await service.status().workers.isEmpty }
            service.cancel(request.id)
        }
        // An honest worker still finds an honest controller.
        let process = try worker(joining: service.localAddress, name: "honest")
        async let exit = process.run()
        try await untilReady(service)
        await expectTexts(mixedRequests(5, seed: 33, of: service), from: service)
        process.stop("done")
        #expect(await exit.code == 0)
    }
}

/// Random reports, many of which speak of what the worker has really been told.
private func nonsense(for worker: FakeWorker, _ random: inout RandomMessages) -> WorkerMessage {
    let orders = worker.orders
    guard random.generator.chance(0.8), !orders.isEmpty else { return random.workerMessage() }
    switch orders[random.number(orders.count)] {
    case .assign(let assignment):
        let pass = PassID(UInt64(random.number(4)))
        switch random.number(4) {
        case 0:
            return .assigned(assignment.pipeline, assignment.epoch, stageIndex: random.number(2), random.marks())
        case 1: return .sampled(pass, assignment.pipeline, assignment.epoch, [random.sampled()])
        case 2: return .passFailed(pass, assignment.pipeline, assignment.epoch, random.error())
        default:
            return .passed(
                PassTiming(
                    pass: pass, pipeline: assignment.pipeline, epoch: assignment.epoch, stageIndex: random.number(2),
                    computed: random.span(), idleBefore: random.span()))
        }
    case .open(let record, _, _):
        let mark = SequenceMark(sequence: record.id, watermark: random.number())
        return random.generator.chance(0.5)
            ? .released(record.id, of: PipelineID(0)) : .landed(PipelineID(0), stageIndex: random.number(2), [mark])
    case .hold(let assignment):
        return random.generator.chance(0.5) ? .held(assignment.id) : .replicated(assignment.id, random.marks())
    case .openReplica(let replica, let record, _, _):
        let mark = SequenceMark(sequence: record.id, watermark: random.number())
        return random.generator.chance(0.8) ? .replicated(replica, [mark]) : .released(record.id, of: PipelineID(0))
    case .release(let sequence, let pipeline): return .released(sequence, of: pipeline)
    case .share(let sequence, let ticket):
        return .shared(sequence, ticket: ticket.number, watermark: random.number())
    case .run(let pass):
        let entry = pass.entries[random.number(pass.entries.count)]
        let token = SampledToken(
            sequence: entry.sequence, position: entry.end + random.number(2),
            token: TokenID(random.number(profile.vocabularyCount * 2)))
        return .sampled(pass.id, pass.pipeline, pass.epoch, random.generator.chance(0.3) ? [token, token] : [token])
    default: return random.workerMessage()
    }
}

extension ControllerMessage {
    fileprivate var isAssignment: Bool {
        if case .assign = self { true } else { false }
    }
}
