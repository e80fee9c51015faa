package import DejaVuCore
import DejaVuKV

/// What a worker decides: whom it obeys, which stages it has, which sequences are open, which pass is next.
///
/// A pure state machine; its process executes the actions. Rules:
/// - It obeys the greatest term that it has seen. When a greater one comes nothing more is begun until its controller
///   says what stays (`.adopt`, then orders) or that nothing does (`.welcome`); what runs ends and is committed.
/// - Passes run one at a time; those of one stage in the order of their arrival. A pass of another pipeline or epoch
///   than the stage's is void: it does not start, and what it gave if it was running goes nowhere. What it committed
///   stays valid.
/// - The pass at a stage's head waits until all its sequences are open; what comes behind waits too, so links stay in
///   order.
/// - After a pass that failed a stage runs nothing else until the next epoch.
/// - A pass runs only under open tickets, and never starts above a watermark.
/// - `.released` is answered when no pass is running that could still touch the cells, and no frame can land there.
/// - All its stages are of one pipeline, and it never holds the replica of one that it runs.
/// - A stage that others bring rows to runs its own passes on them when they are committed, like its own.
package struct WorkerMachine: Sendable {
    package let incarnation: Incarnation
    /// How long the worker lives without a controller.
    package let orphanGrace: TimeSpan
    /// The greatest term that it has seen: for the hello and for every message.
    package internal(set) var term: Term?
    /// The id that the controller gave; nil before the welcome.
    package internal(set) var id: WorkerID?
    package internal(set) var counters = WorkerCounters()

    var connected = false
    var orphanTimer: TimerID?
    var timerCount: UInt64 = 0
    var engineCount: UInt64 = 0
    var arrivalCount: UInt64 = 0
    /// Ascending by stage.
    var seats: [Seat] = []
    /// Engines of before the last welcome, in case that their layers are asked for again.
    var spares: [Engine] = []
    /// To the workers of the stages that follow.
    var links: [PeerLink] = []
    var holds = SortedMap<ReplicaID, Hold>()
    var running: Running?
    /// Releases that are not answered yet.
    var releases = SortedMap<ReleaseKey, Release>()
    /// Of all sequences that are open anywhere here, and of some that were.
    var records = SortedMap<SequenceID, SequenceRecord>()
    /// Of sequences that have ended, in the order of their ends.
    var endings: [Ending] = []
    /// Whether the controller waits for a report.
    var owesReport = false
    var now = Instant.zero
    /// Whether it was asked to end.
    var leaving = false
    var stopping = false
    var exited = false
    var actions: [WorkerAction] = []

    /// More passes than any controller has in flight.
    static let waitingMax = 1024

    package init(incarnation: Incarnation, orphanGrace: TimeSpan = .seconds(60)) {
        self.incarnation = incarnation
        self.orphanGrace = orphanGrace
    }

    /// Takes one event and says what is to be done, in this order.
    package mutating func handle(_ event: WorkerEvent, at now: Instant) -> [WorkerAction] {
        self.now = max(self.now, now)
        if exited {
            if case .hidden(_, _, _, _, let rows) = event { return [.drop(rows)] }
            if case .computed(_, .hidden(let rows), _, _) = event { return [.drop(rows)] }
            return []
        }
        switch event {
        case .controllerConnected(let term): controllerConnected(term)
        case .controllerLost: controllerLost(at: now)
        case .message(let term, let message): receive(message, term: term)
        case .hidden(_, let term, let pass, let stage, let rows):
            receive(pass, rows: rows, stageIndex: stage, term: term)
        case .loaded(let engine): loaded(engine)
        case .loadFailed(let engine, let error): loadFailed(engine, error)
        case .peerConnected(let peer): peerConnected(peer)
        case .peerLost(let peer, _): peerLost(peer)
        case .computed(let pass, let output, let computed, let idle):
            self.computed(pass, output, computed: computed, idleBefore: idle)
        case .computeFailed(let pass, let error): computeFailed(pass, error)
        case .timer(let timer): fire(timer)
        case .leave: leave()
        case .replicaLoaded(let id): replicaLoaded(id)
        case .replicaLoadFailed(let id, let error): replicaLoadFailed(id, error)
        case .landed(let id, let marks): landed(id, marks)
        case .replicaReleased(let id, let sequence): replicaReleased(id, sequence)
        case .promoted(let id, let marks): promoted(id, marks)
        case .landedReleased(let engine, let sequence): landedReleased(engine, sequence)
        case .shared(let engine, let sequence, let ticket, let watermark):
            shared(engine, sequence, ticket: ticket, watermark: watermark)
        case .stageLanded(let engine, let marks): landed(engine, marks)
        }
        startNext()
        defer { actions.removeAll(keepingCapacity: true) }
        return actions
    }

    // MARK: The controller

    private mutating func controllerConnected(_ newTerm: Term) {
        if let term, newTerm < term {
            counters.messagesStale += 1
            actions.append(.rejectController(reason: "term \(newTerm) has passed: this worker obeys \(term)"))
            return
        }
        obey(newTerm)
        connected = true
        orphanTimer = nil
    }

    private mutating func controllerLost(at now: Instant) {
        guard connected else { return }
        connected = false
        timerCount += 1
        let timer = TimerID(timerCount)
        orphanTimer = timer
        actions.append(.setTimer(timer, at: now + orphanGrace))
    }

    private mutating func fire(_ timer: TimerID) {
        guard timer == orphanTimer else { return }
        exit(code: 1, "no controller for \(orphanGrace.seconds) seconds")
    }

    /// Whom nobody commands has nothing to hand over.
    private mutating func leave() {
        leaving = true
        if connected, id != nil { send(.leaving) } else { exit(code: 0, "it was asked to end") }
    }

    private mutating func obey(_ newTerm: Term) {
        guard term.map({ $0 < newTerm }) ?? true else { return }
        term = newTerm
        id = nil
        suspend()
    }

    private mutating func receive(_ message: ControllerMessage, term messageTerm: Term) {
        if let term, messageTerm < term {
            counters.messagesStale += 1
            return
        }
        obey(messageTerm)
        // It ends with the pass that runs.
        guard !stopping else { return }
        switch message {
        case .welcome(let id):
            cleanSlate()
            self.id = id
            owesReport = false
            if leaving { send(.leaving) }
        case .adopt(let id): beAdopted(as: id)
        case .refused(let error):
            cleanSlate()
            exit(code: 1, error.description)
        case .assign(let assignment): assign(assignment)
        case .open(let record, let cells, let ticket): open(record, cells: cells, ticket: ticket)
        case .release(let sequence, let pipeline): release(sequence, of: pipeline)
        case .ended(let sequence, let outputs, let reason, let keep):
            ended(sequence, outputs: outputs, reason, keep: keep)
        case .run(let pass): receive(pass, rows: nil, stageIndex: 0, term: messageTerm)
        case .announce(let pipeline, let epoch, let stage, let pass, let sequences):
            announced(pass, sequences, pipeline, epoch, stageIndex: stage)
        case .shutdown:
            stopping = true
            for index in seats.indices { dropWaiting(index) }
            if running == nil { exit(code: 0, "the controller said so") }
        case .hold(let assignment): hold(assignment)
        case .discard(let id): discard(id)
        case .openReplica(let id, let record, let cells, let ticket):
            openReplica(id, record, cells: cells, ticket: ticket)
        case .replicate(let sequence, let ticket, let holder): replicate(sequence, ticket, to: holder)
        case .endReplication(let stage, let holder): endReplication(stageIndex: stage, to: holder)
        case .retire(let pipeline, let stage): retire(pipeline, stageIndex: stage)
        case .share(let sequence, let ticket): share(sequence, ticket)
        }
    }

    /// Neither stages nor replicas nor sequences. Engines stay, in case that their layers are asked for again.
    private mutating func cleanSlate() {
        while !seats.isEmpty {
            if let engine = leave(seats.count - 1) { spares.append(engine) }
        }
        dropHolds()
        releases.removeAll()
        records.removeAll()
    }

    mutating func exit(code: Int32, _ reason: String) {
        guard !exited else { return }
        exited = true
        for index in seats.indices { dropWaiting(index) }
        actions.append(.exit(code: code, reason: reason))
    }
}

/// Totals since the process began.
package struct WorkerCounters: Hashable, Codable, Sendable {
    /// Messages and connections of a past term, and passes and rows of a past epoch.
    package var messagesStale: UInt64 = 0
    package var passesRun: UInt64 = 0
    package var passesVoided: UInt64 = 0
    package var passesFailed: UInt64 = 0
    /// Messages and passes that a controller without faults never sends.
    package var messagesWrong: UInt64 = 0

    package init() {}
}
