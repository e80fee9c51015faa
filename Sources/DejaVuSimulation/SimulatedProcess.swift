import DejaVuControl
import DejaVuCore
import DejaVuKV

/// A worker process of the simulated world: the real worker machine, an emulated stage, and a compute thread.
struct SimulatedProcess: Sendable {
    enum Job: Sendable {
        case load(StageAssignment)
        case open(SequenceRecord, CellRun)
        case adopt(SequenceRecord, Ticket)
        case unload
        case loadReplica(ReplicaAssignment)
        case dropReplica(ReplicaID)
        case openReplica(ReplicaID, SequenceRecord, CellRun, Ticket)
        case releaseReplica(ReplicaID, SequenceID)
        case promote(ReplicaID)
        case release(SequenceID)
        case compute(Pass, [UInt64]?)
    }
    struct Outgoing: Sendable {
        let incarnation: Incarnation
        /// Tells this link from an earlier one between the same two.
        let serial: UInt64
        var connected: Bool
    }

    let slot: Int
    var incarnation = Incarnation(0)
    /// Raised at every start and every end: what was meant for an earlier process does not arrive.
    var generation: UInt64 = 0
    var alive = false
    var machine = WorkerMachine(incarnation: Incarnation(0))
    var stage: SimulatedStore?
    /// In the order in which they were made.
    var replicas: [SimulatedStore] = []
    /// Could not be loaded.
    var failedReplicas: [ReplicaID] = []
    /// What the stage copies to holders.
    var book: SubscriptionBook?
    var bulk: [BulkLink] = []
    /// The last place that the controller told it, as it arrived.
    var told: StageAssignment?
    var jobs: [Job] = []
    var jobRunning = false
    var jobStarted = Instant.zero
    var jobEnded = Instant.zero
    /// The worker's id over the link that is open; nil without a link.
    var link: WorkerID?
    var outgoing: Outgoing?
    var rows: [UInt64: [UInt64]] = [:]
    var handleCount: UInt64 = 0
    var progress: UInt64 = 0
    /// When the last message of each direction arrives: links keep order.
    var toController = Instant.zero
    var toWorker = Instant.zero
    var toPeer = Instant.zero
    // Faults.
    var pausedUntil = Instant.zero
    var hangsNext = false
    var hung = false
    var failsPassNext = false
    var failsLoadNext = false
    var slowFactor = 1
    var slowUntil = Instant.zero
    var corruptsNext = false
    var bulkDelay = TimeSpan.zero
    var bulkSlowUntil = Instant.zero

    init(slot: Int) { self.slot = slot }

    mutating func begin(incarnation: Incarnation, at now: Instant) {
        let generation = generation + 1
        let slot = slot
        self = SimulatedProcess(slot: slot)
        self.generation = generation
        self.incarnation = incarnation
        alive = true
        machine = WorkerMachine(incarnation: incarnation)
        jobEnded = now
        toController = now
        toWorker = now
        toPeer = now
    }

    mutating func store(_ values: [UInt64]) -> RowsHandle {
        handleCount += 1
        rows[handleCount] = values
        return RowsHandle(handleCount)
    }

    /// A new engine: nobody is told of what it will hold yet.
    mutating func setStage(_ store: SimulatedStore?) {
        stage = store
        book = store.map {
            var limits = SubscriptionLimits()
            // Small, so that a replica that is made anew takes many frames.
            limits.frameBytesMax = 8 * 24
            limits.bytesInFlightMax = 8 * 96
            limits.flightsMax = 6
            return SubscriptionBook(layers: $0.layers, rowBytes: 8, limits: limits)
        }
        bulk.removeAll()
    }

    /// What holds a sequence's layers here.
    func store(of sequence: SequenceID, layers: LayerRange) -> StorePlace? {
        if let stage, stage.ledger.ticket(of: sequence) != nil, stage.layers.contains(layers) { return .stage }
        let index = replicas.firstIndex { $0.ledger.ticket(of: sequence) != nil && $0.layers.contains(layers) }
        return index.map { .replica($0) }
    }

    enum StorePlace: Hashable {
        case stage
        case replica(Int)
    }

    subscript(place: StorePlace) -> SimulatedStore {
        get {
            switch place {
            case .stage:
                guard let stage else { preconditionFailure("a process without a stage") }
                return stage
            case .replica(let index): return replicas[index]
            }
        }
        _modify {
            switch place {
            case .stage:
                guard var store = stage else { preconditionFailure("a process without a stage") }
                stage = nil
                defer { stage = store }
                yield &store
            case .replica(let index): yield &replicas[index]
            }
        }
    }
}
