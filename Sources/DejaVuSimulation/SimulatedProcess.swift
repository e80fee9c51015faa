import DejaVuControl
import DejaVuCore
import DejaVuKV

/// A worker process of the simulated world: the real worker machine, an emulated stage, and a compute thread.
struct SimulatedProcess: Sendable {
    enum Job: Sendable {
        case load(EngineID, StageAssignment)
        case open(EngineID, SequenceRecord, CellRun, Ticket)
        case share(EngineID, Ticket, PipelineID)
        case adopt(EngineID, SequenceRecord, Ticket)
        case unload(EngineID)
        case loadReplica(ReplicaAssignment)
        case dropReplica(ReplicaID)
        case openReplica(ReplicaID, SequenceRecord, CellRun, Ticket)
        case releaseReplica(ReplicaID, SequenceID)
        case promote(ReplicaID, EngineID)
        case release(EngineID, SequenceID)
        case releaseLanded(EngineID, SequenceID)
        case compute(EngineID, Pass, [UInt64]?)
        /// The first of what is to be loaded is there.
        case made

        /// The replica that it loads.
        var loadedReplica: ReplicaID? {
            if case .loadReplica(let assignment) = self { assignment.id } else { nil }
        }
    }
    /// A stage's engine, and what it copies to holders.
    struct Stage: Sendable {
        let id: EngineID
        var store: SimulatedStore
        var book: SubscriptionBook
        var bulk: [BulkLink] = []
        /// Where it has copied to, in the order in which it was told.
        var targets: [StoreAddress] = []

        init(id: EngineID, store: SimulatedStore) {
            self.id = id
            self.store = store
            var limits = SubscriptionLimits()
            // Small, so that a replica that is made anew takes many frames.
            limits.frameBytesMax = 8 * 24
            limits.bytesInFlightMax = 8 * 96
            limits.flightsMax = 6
            book = SubscriptionBook(layers: store.layers, rowBytes: 8, limits: limits)
        }

        /// What the book calls those cells.
        mutating func destination(_ target: StoreAddress) -> StoreID {
            if !targets.contains(target) { targets.append(target) }
            return StoreID(UInt64((targets.firstIndex(of: target) ?? 0) + 1))
        }
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
    /// In the order in which they were made, as the replicas.
    var stages: [Stage] = []
    var replicas: [SimulatedStore] = []
    /// Could not be loaded.
    var failedReplicas: [ReplicaID] = []
    /// The last places that the controller told it, as they arrived, one for each stage.
    var told: [StageAssignment] = []
    var jobs: [Job] = []
    /// What is to be loaded beside that, one after the other; the first is under way.
    var loads: [Job] = []
    /// Whether that is not there yet.
    var isLoading = false
    /// Whether nobody wants it any more.
    var isLoadInVain = false
    /// Replicas that are to become stages as soon as they are there.
    var promotions: [ReplicaID: EngineID] = [:]
    var jobRunning = false
    var jobStarted = Instant.zero
    var jobEnded = Instant.zero
    /// The worker's id over the link that is open; nil without a link.
    var link: WorkerID?
    var outgoing: [Outgoing] = []
    var rows: [UInt64: [UInt64]] = [:]
    var handleCount: UInt64 = 0
    var progress: UInt64 = 0
    /// The same of what it loads.
    var loading: UInt64 = 0
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

    mutating func begin(incarnation: Incarnation, orphanGrace: TimeSpan, at now: Instant) {
        let generation = generation + 1
        let slot = slot
        self = SimulatedProcess(slot: slot)
        self.generation = generation
        self.incarnation = incarnation
        alive = true
        machine = WorkerMachine(incarnation: incarnation, orphanGrace: orphanGrace)
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

    func stage(_ id: EngineID) -> Int? { stages.indices.first { stages[$0].id == id } }
    /// Where the link with this serial is.
    func bulk(_ serial: UInt64) -> (stage: Int, link: Int)? {
        for index in stages.indices {
            if let link = stages[index].bulk.firstIndex(where: { $0.serial == serial }) { return (index, link) }
        }
        return nil
    }

    /// The cells of that address, if the sequence is open there.
    func store(of sequence: SequenceID, at address: StoreAddress) -> StorePlace? {
        func has(_ place: StorePlace) -> Bool {
            self[place].pipeline == address.pipeline && self[place].layers == address.layers
                && self[place].ledger.ticket(of: sequence) != nil
        }
        if let index = stages.indices.first(where: { has(.stage($0)) }) { return .stage(index) }
        return replicas.indices.first { has(.replica($0)) }.map { .replica($0) }
    }

    /// All that hold something here.
    var places: [StorePlace] { replicas.indices.map { .replica($0) } + stages.indices.map { .stage($0) } }

    enum StorePlace: Hashable {
        case stage(Int)
        case replica(Int)
    }

    subscript(place: StorePlace) -> SimulatedStore {
        _read {
            switch place {
            case .stage(let index): yield stages[index].store
            case .replica(let index): yield replicas[index]
            }
        }
        _modify {
            switch place {
            case .stage(let index): yield &stages[index].store
            case .replica(let index): yield &replicas[index]
            }
        }
    }
}
