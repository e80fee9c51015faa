package import DejaVuCore
import DejaVuKV

/// What a worker decides: whom it obeys, which stage it has, which sequences are open, which pass is next.
///
/// A pure state machine; its process executes the actions. Rules:
/// - It obeys the greatest term that it has seen. A greater one, and each `.welcome`, starts with a clean slate.
/// - Passes run one at a time in the order of their arrival. A pass of another pipeline or epoch than the stage's is
///   void: it does not start, and what it gave if it was running goes nowhere. What it committed stays valid.
/// - The pass at the head waits until all its sequences are open; what comes behind waits too, so links stay in order.
/// - After a pass that failed nothing else runs until the next epoch.
/// - A pass runs only under open tickets, and never starts above a watermark.
/// - `.released` is answered when no pass is running that could still touch the cells, and no frame can land there.
/// - It runs a stage or holds replicas, never both.
package struct WorkerMachine: Sendable {
    package let incarnation: Incarnation
    /// How long the worker lives without a controller.
    package let orphanGrace: TimeSpan
    /// The greatest term that it has seen: for the hello and for every message.
    package internal(set) var term: Term?
    /// The id that the controller gave; nil before the welcome.
    package internal(set) var id: WorkerID?
    package internal(set) var counters = WorkerCounters()

    /// The engine that the compute thread has, or will have when it has done what it was told.
    struct Engine: Hashable {
        var layers: LayerRange
        var cellCount: Int
        var pipeline: PipelineID
        /// The epoch of the `.load` that asked for it.
        var loadEpoch: Epoch
        var ready: Bool
    }
    struct PeerLink: Hashable {
        var peer: PeerAddress
        var connected: Bool
    }
    struct OpenSequence: Hashable {
        var cells: CellRun
        var watermark: Int
    }
    /// A replica that the process has, or will have when it has done what it was told.
    struct Hold: Sendable {
        let assignment: ReplicaAssignment
        var ready = false
        var sequences = SortedMap<SequenceID, OpenSequence>()
        /// Released; answered when no frame can land any more.
        var releasing: [SequenceID] = []
    }
    struct Work: Hashable {
        var pass: Pass
        var rows: RowsHandle?
    }
    struct Running: Hashable {
        var pass: Pass
        /// Whether the sequences that are open are still those with which it began.
        var commits: Bool
    }

    var connected = false
    var orphanTimer: TimerID?
    var timerCount: UInt64 = 0
    var engine: Engine?
    var stage: StageAssignment?
    /// Whether the controller knows that the stage is ready.
    var announced = false
    /// Whether a pass of this epoch failed here: no other one starts.
    var failed = false
    var link: PeerLink?
    var sequences = SortedMap<SequenceID, OpenSequence>()
    var tickets = TicketBook()
    var holds = SortedMap<ReplicaID, Hold>()
    /// The replica that is becoming the stage's engine.
    var promoting: ReplicaID?
    /// To whom the stage's sequences are copied.
    var holders: [Incarnation] = []
    /// Passes of the stage's epoch, in the order of arrival.
    var waiting: [Work] = []
    var running: Running?
    /// Released while a pass was running; answered after it.
    var releasing: [SequenceID] = []
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
        if exited {
            if case .hidden(_, _, _, let rows) = event { return [.drop(rows)] }
            if case .computed(_, .hidden(let rows), _, _) = event { return [.drop(rows)] }
            return []
        }
        switch event {
        case .controllerConnected(let term): controllerConnected(term)
        case .controllerLost: controllerLost(at: now)
        case .message(let term, let message): receive(message, term: term)
        case .hidden(_, let term, let pass, let rows): receive(pass, rows: rows, term: term)
        case .loaded(let pipeline, let epoch): loaded(pipeline, epoch)
        case .loadFailed(let pipeline, let epoch, let error): loadFailed(pipeline, epoch, error)
        case .peerConnected(let peer): peerConnected(peer)
        case .peerLost(let peer, _): peerLost(peer)
        case .computed(let pass, let output, let computed, let idle):
            self.computed(pass, output, computed: computed, idleBefore: idle)
        case .computeFailed(let pass, let error): computeFailed(pass, error)
        case .timer(let timer): fire(timer)
        case .replicaLoaded(let id): replicaLoaded(id)
        case .replicaLoadFailed(let id, let error): replicaLoadFailed(id, error)
        case .landed(let id, let marks): landed(id, marks)
        case .replicaReleased(let id, let sequence): replicaReleased(id, sequence)
        case .promoted(let id, let marks): promoted(id, marks)
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

    private mutating func obey(_ newTerm: Term) {
        guard term.map({ $0 < newTerm }) ?? true else { return }
        term = newTerm
        cleanSlate()
        // Each controller counts its tickets from the beginning; those of an older term are fenced with its messages.
        tickets = TicketBook()
        id = nil
    }

    private mutating func receive(_ message: ControllerMessage, term messageTerm: Term) {
        if let term, messageTerm < term {
            counters.messagesStale += 1
            return
        }
        obey(messageTerm)
        switch message {
        case .welcome(let id):
            cleanSlate()
            self.id = id
        case .refused(let error):
            cleanSlate()
            exit(code: 1, error.description)
        case .assign(let assignment): assign(assignment)
        case .open(let record, let cells, let ticket): open(record, cells: cells, ticket: ticket)
        case .release(let sequence): release(sequence)
        case .run(let pass): receive(pass, rows: nil, term: messageTerm)
        case .shutdown:
            stopping = true
            dropWaiting()
            if running == nil { exit(code: 0, "the controller said so") }
        case .hold(let assignment): hold(assignment)
        case .discard(let id): discard(id)
        case .openReplica(let id, let record, let cells, let ticket):
            openReplica(id, record, cells: cells, ticket: ticket)
        case .replicate(let sequence, let ticket, let holder): replicate(sequence, ticket, to: holder)
        case .endReplication(let holder): endReplication(to: holder)
        }
    }

    /// Neither a stage nor replicas nor sequences. The engine stays, in case that its layers are asked for again.
    private mutating func cleanSlate() {
        stage = nil
        announced = false
        failed = false
        dropWaiting()
        forgetSequences()
        abandonPromotion()
        dropHolds()
    }

    mutating func forgetSequences() {
        for sequence in sequences.keys { actions.append(.release(sequence)) }
        dropSequences()
    }

    /// Without a word to the engine.
    mutating func dropSequences() {
        for holder in holders { actions.append(.endReplication(to: holder)) }
        holders.removeAll()
        sequences.removeAll()
        tickets.revokeAll()
        releasing.removeAll()
        running?.commits = false
    }

    mutating func dropWaiting() {
        for work in waiting {
            counters.passesVoided += 1
            if let rows = work.rows { actions.append(.drop(rows)) }
        }
        waiting.removeAll()
    }

    mutating func exit(code: Int32, _ reason: String) {
        guard !exited else { return }
        exited = true
        dropWaiting()
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
