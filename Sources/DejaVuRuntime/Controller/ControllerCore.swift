import DejaVuControl
import DejaVuCore
import DejaVuLib
import Glibc
import Logging
import NIOCore

/// Executes what a `ControllerMachine` decides. Confined to one event loop, on which all of its links live: a message
/// is read, decided on and answered without a change of thread.
final class ControllerCore {
    private struct Worker {
        let link: Link
        let incarnation: Incarnation
        let processID: Int32?
        /// For the next controller.
        let known: StateDirectory.KnownWorker
        var hasUnsent = false
    }

    private let logger: Logger
    private let eventLoop: any EventLoop
    private let observer: (any ControllerObserver)?
    private let recorder: StepRecorder?
    private var machine: ControllerMachine
    private var book: RequestBook
    private var events: [ControllerEvent] = []
    private var isHandling = false
    private var timers: [TimerID: Scheduled<Void>] = [:]
    private var workers: [WorkerID: Worker] = [:]
    /// Links whose hello has not come yet.
    private var strangers: [ObjectIdentifier: Link] = [:]
    private var workerCount: UInt64 = 0
    private var unsent: [WorkerID] = []
    private var stopWaiters: [() -> Void] = []
    private var hasStopped = false
    private var hasEnded = false
    /// Who waits for the end of the adoption, with what was restored.
    private var adoptionWaiters: [() -> Void] = []
    private var isAdopting = false
    private var restored: [RestoredRequest] = []
    private let directory: StateDirectory
    private let deposed: (String) -> Void
    /// The local children, once they are there.
    private var supervisor: LocalSupervisor?
    /// Where workers' hearts beat to, once they can.
    var heartbeats: HeartbeatDoors?

    /// - Parameter deposed: told why if another controller reigns.
    init(
        machine: ControllerMachine, directory: StateDirectory, eventLoop: any EventLoop,
        observer: (any ControllerObserver)?, recorder: StepRecorder?, logger: Logger,
        deposed: @escaping (String) -> Void
    ) {
        self.directory = directory
        self.deposed = deposed
        self.machine = machine
        self.eventLoop = eventLoop
        self.observer = observer
        self.recorder = recorder
        self.logger = logger
        book = RequestBook(observer: observer)
    }

    var bound: NIOLoopBound<ControllerCore> { NIOLoopBound(self, eventLoop: eventLoop) }

    // MARK: Requests

    func submit(_ request: Request, deliver: @escaping RequestBook.Deliver) {
        guard !hasEnded else {
            let error = DejaVuError(.unavailable, "the server has stopped")
            return deliver(.refused(Refusal(error: error, retryAfter: nil)))
        }
        book.submit(request, at: MonotonicClock.now, deliver: deliver)
        perform(.submit(request))
    }

    /// Waits for workers of a controller before this one. The first thing that is done.
    func beginAdoption(expecting expected: [Incarnation], until: Instant, deadline: Instant) {
        isAdopting = true
        perform(.adopt(expecting: expected, until: until, deadline: deadline))
    }

    /// - Parameter body: called when the workers of before are taken over, or have not come in time.
    func whenAdopted(_ body: @escaping () -> Void) {
        if isAdopting, !hasStopped, !hasEnded { adoptionWaiters.append(body) } else { body() }
    }

    private func endAdoption() {
        isAdopting = false
        for waiter in adoptionWaiters { waiter() }
        adoptionWaiters.removeAll()
    }

    /// Process ids of the workers that have joined.
    var joinedProcesses: [Int32] { workers.values.compactMap(\.processID) }

    func supervise(by supervisor: LocalSupervisor) {
        self.supervisor = supervisor
        for worker in workers.values { watch(worker.known) }
    }

    private func watch(_ worker: StateDirectory.KnownWorker) {
        if let process = worker.process { supervisor?.adopt(process, name: worker.name) }
    }

    /// Requests of before this controller, each told once.
    func takeRestored() -> [RestoredRequest] {
        defer { restored = [] }
        return restored
    }

    func follow(_ request: RequestID, deliver: @escaping RequestBook.Deliver) {
        book.follow(request, deliver: deliver)
    }

    func status() -> ClusterStatus { machine.status(at: MonotonicClock.now) }

    /// - Parameter body: called when every request has ended, at once if the controller has stopped.
    func whenStopped(_ body: @escaping () -> Void) {
        if hasStopped { body() } else { stopWaiters.append(body) }
    }

    // MARK: Events

    /// Takes an event and sends what follows from it.
    func perform(_ event: ControllerEvent) {
        handle(event)
        flush()
    }

    /// Takes an event; `flush` sends what follows from it. Events that its actions cause come after them.
    private func handle(_ event: ControllerEvent) {
        guard !hasEnded else { return }
        events.append(event)
        guard !isHandling else { return }
        isHandling = true
        var index = 0
        while index < events.count {
            let now = MonotonicClock.now
            let event = events[index]
            let actions = machine.handle(event, at: now)
            index += 1
            recorder?.record(RecordedStep(at: now, event: event, actions: actions))
            for action in actions { execute(action, at: now) }
            observer?.handled(in: MonotonicClock.now - now)
        }
        events.removeAll(keepingCapacity: true)
        isHandling = false
    }

    private func flush() {
        for id in unsent {
            workers[id]?.hasUnsent = false
            workers[id]?.link.flush()
        }
        unsent.removeAll(keepingCapacity: true)
    }

    // MARK: Actions

    private func execute(_ action: ControllerAction, at now: Instant) {
        switch action {
        case .send(let id, let message): send(message, to: id)
        case .setTimer(let timer, let instant): setTimer(timer, at: instant)
        case .dismiss(let id, let reason): dismiss(id, reason: reason)
        case .parted(let id, let reason):
            guard let process = forget(id, "worker left", reason: reason, level: .info) else { return }
            let bound = self.bound
            supervisor?.expectEnd(of: process) { bound.value.workers.values.contains { $0.processID == process } }
        case .admitted(let id): book.admitted(id, at: now)
        case .emit(let id, let choice, let token): book.emitted(id, choice: choice, token, at: now)
        case .finished(let id, let choice, let reason): book.finished(id, choice: choice, reason, at: now)
        case .refused(let id, let refusal): book.refused(id, refusal)
        case .restored(let request):
            restored.append(request)
            book.restore(request, at: now)
        case .swapping(let pipeline, let isOn, let reason):
            logger.notice(
                isOn ? "swapping is on" : "swapping is off",
                metadata: ["pipeline": "\(pipeline)", "reason": "\(reason)"])
        case .adopted:
            logger.info(
                "workers of before are taken over",
                metadata: ["workers": "\(workers.count)", "requests": "\(restored.count)"])
            endAdoption()
        case .stopped: stop()
        case .deposed(let reason):
            logger.error("another controller reigns", metadata: ["reason": "\(reason)"])
            stop()
            for id in Array(workers.keys) { dismiss(id, reason: "another controller reigns") }
            deposed(reason)
        }
    }

    private func stop() {
        hasStopped = true
        supervisor?.startNoMore()
        for waiter in stopWaiters { waiter() }
        stopWaiters.removeAll()
        endAdoption()
    }

    private func send(_ message: ControllerMessage, to id: WorkerID) {
        write(.control(machine.term, message), to: id)
    }

    private func write(_ envelope: Envelope, to id: WorkerID) {
        guard let worker = workers[id] else { return }
        worker.link.write(envelope.message)
        if !worker.hasUnsent {
            workers[id]?.hasUnsent = true
            unsent.append(id)
        }
    }

    private func setTimer(_ timer: TimerID, at instant: Instant) {
        let bound = self.bound
        timers[timer]?.cancel()
        timers[timer] = eventLoop.scheduleTask(deadline: NIODeadline(instant)) {
            bound.value.timers[timer] = nil
            bound.value.perform(.timer(timer))
        }
    }

    private func dismiss(_ id: WorkerID, reason: String) {
        let process = forget(id, "worker dismissed", reason: reason, level: hasStopped ? .info : .warning)
        if let process { supervisor?.kill(process) }
    }

    /// - Returns: its process, if it is of this machine.
    private func forget(_ id: WorkerID, _ what: Logger.Message, reason: String, level: Logger.Level) -> Int32? {
        guard let worker = workers.removeValue(forKey: id) else { return nil }
        logger.log(
            level: level, what,
            metadata: ["worker": "\(id)", "name": "\(worker.link.peer.name)", "reason": "\(reason)"])
        observer?.workerLost(id, reason: reason)
        if !hasStopped { directory.note(workers.values.map(\.known)) }
        worker.link.flush()
        worker.link.close(reason)
        return worker.processID
    }

    // MARK: Links

    func opened(_ link: Link, isLocal: Bool) -> Link.Receiver {
        let bound = self.bound
        guard !hasEnded else {
            link.close("the controller is ending")
            return { _ in }
        }
        strangers[ObjectIdentifier(link)] = link
        let mind = NIOLoopBoundBox<WorkerID?>(nil, eventLoop: eventLoop)
        return { event in bound.value.received(event, from: link, isLocal: isLocal, id: mind) }
    }

    private func received(_ event: LinkEvent, from link: Link, isLocal: Bool, id: NIOLoopBoundBox<WorkerID?>) {
        switch event {
        case .message(let message):
            do throws(DejaVuError) {
                try received(Envelope(message), from: link, isLocal: isLocal, id: id)
            } catch {
                logger.error(
                    "a worker's message makes no sense", metadata: ["name": "\(link.peer.name)", "error": "\(error)"])
                link.close(error.message)
            }
        case .batchEnd: flush()
        case .writable, .piece: break
        case .closed(let end):
            strangers[ObjectIdentifier(link)] = nil
            if let id = id.value { lost(id, reason: end.description) }
        }
    }

    private func received(
        _ envelope: Envelope, from link: Link, isLocal: Bool, id: NIOLoopBoundBox<WorkerID?>
    ) throws(DejaVuError) {
        switch (envelope, id.value) {
        case (.hello(let hello), nil):
            guard hello.incarnation == link.peer.incarnation else {
                throw DejaVuError(.network, "the hello of \(link.peer) names another incarnation")
            }
            id.value = joined(hello, over: link, isLocal: isLocal)
        case (.report(let term, let message), .some(let id)):
            guard let worker = workers[id] else { return }
            if case .passed(let timing) = message { observer?.passRan(timing, by: id) }
            handle(.message(id, worker.incarnation, term, message))
        case (.trace(let batch), .some(let id)) where observer?.wantsTrace == true:
            guard let worker = workers[id] else { return }
            observer?.traced(batch, by: id, isLocal: worker.processID != nil, at: MonotonicClock.now)
        default: throw DejaVuError(.network, "\(link.peer) sends what it may not, or in the wrong order")
        }
    }

    private func joined(_ hello: WorkerHello, over link: Link, isLocal: Bool) -> WorkerID {
        strangers[ObjectIdentifier(link)] = nil
        workerCount += 1
        let id = WorkerID(workerCount)
        let process = isLocal ? ProcessIdentity(id: hello.processID, start: hello.processStart) : nil
        let known = StateDirectory.KnownWorker(incarnation: hello.incarnation, process: process, name: hello.name)
        workers[id] = Worker(
            link: link, incarnation: hello.incarnation, processID: process?.id, known: known)
        watch(known)
        directory.note(workers.values.map(\.known))
        logger.info(
            "worker joined",
            metadata: ["worker": "\(id)", "name": "\(link.peer.name)", "address": "\(hello.peerAddress)"])
        observer?.workerJoined(id, hello)
        if let address = isLocal ? heartbeats?.local : heartbeats?.cluster {
            write(.heartbeats(at: address.description), to: id)
        }
        if observer?.wantsTrace == true { write(.traceWanted, to: id) }
        handle(.workerJoined(id, hello))
        return id
    }

    private func lost(_ id: WorkerID, reason: String) {
        guard workers[id] != nil else { return }
        // The machine dismisses whom it loses; whom it has forgotten before goes here.
        perform(.workerLost(id, reason: reason))
        if workers[id] != nil { dismiss(id, reason: reason) }
    }

    /// A heart has beaten, on a link of its own.
    func heard(_ beat: WorkerBeat, from incarnation: Incarnation) {
        guard let id = workers.first(where: { $0.value.incarnation == incarnation })?.key else { return }
        perform(.message(id, incarnation, beat.term, .heartbeat(beat.heartbeat)))
    }

    /// A local child has ended.
    func childEnded(_ process: Int32, _ end: ChildEnd) {
        guard let id = workers.first(where: { $0.value.processID == process })?.key else { return }
        lost(id, reason: end.description)
    }

    /// As if the process had been killed: whatever happens to links from here on is none of its business.
    func vanish() {
        hasEnded = true
        for timer in timers.values { timer.cancel() }
        workers.removeAll()
        strangers.removeAll()
        supervisor = nil
    }

    /// Closes everything. No event is taken after this.
    func end() {
        guard !hasEnded else { return }
        flush()
        hasEnded = true
        for timer in timers.values { timer.cancel() }
        let links = Array(strangers.values) + workers.values.map(\.link)
        strangers.removeAll()
        workers.removeAll()
        supervisor = nil
        heartbeats = nil
        for link in links { link.close("the controller is ending") }
        recorder?.finish()
    }
}
