import DejaVuCore
import DejaVuKV

/// One chain of stages: who runs it, what is in flight, whose cells are where.
struct PipelineState: Hashable {
    enum Phase: Hashable {
        /// A stage has no worker, or a link is to be made again.
        case forming
        /// Every stage has a worker; not all have said that they are ready.
        case loading
        case serving
    }

    /// Where the copy of a stage is.
    struct Replica: Hashable {
        let id: ReplicaID
        let holder: PeerAddress
    }

    struct Stage: Hashable {
        let layers: LayerRange
        var worker: WorkerID?
        var replica: Replica?
        /// The token stages to which it was told to copy what it runs for guests.
        var fed: [StoreAddress] = []
        var ready = false
        var busy = BusyShare()
        var passes: UInt64 = 0
        var computed = TimeSpan.zero
    }

    /// A pass that was sent and whose end is not yet known.
    struct Flight: Hashable {
        struct Entry: Hashable {
            let sequence: SequenceID
            let first: Int
            let end: Int
            let samples: Bool
        }
        let id: PassID
        let entries: [Entry]
        let rows: Int
        /// Those of them that all stages had committed once.
        let rowsAgain: Int
        /// How many stages have finished it, as far as they have said.
        var stagesPassed = 0
        /// Since when it is with the next one.
        var since: Instant
    }

    let id: PipelineID
    let role: PipelineRole
    var epoch = Epoch(0)
    var phase = Phase.forming
    var stages: [Stage]
    /// The same runs in every stage; no cells before it first had all its workers.
    var cells = CellAllocator(cellCount: 0)
    var swap = PipelineSwap()
    /// Those that hold cells here, ascending; also who leaves but is not yet quiet.
    var members: [SequenceID] = []
    /// Oldest first.
    var flights: [Flight] = []
    /// When a pass last crossed all stages; nil if a death has ended the epoch since.
    var lastCrossing: Instant?
    /// Whether one has in this epoch, planned moves or not.
    var hasCrossed = false
    /// By rows, at the first stage.
    var passTimes = PassTimes()
    var probe: SequenceID?
    /// Epochs in a row that ended by a broken link between living workers.
    var linkFailures = 0
    /// Whether the last pass was one that ran alone because of a strike.
    var lastWasAlone = false
    /// The microbatches of `Batching.paper`, and whose turn it is; empty for other batching.
    var places: [[SequenceID]] = []
    var turn = 0
    /// Whether there may be something to send.
    var dirty = false
    /// What the loss of a worker has cost so far; nil before the first.
    var recovery: RecoveryProgress?

    init(id: PipelineID, role: PipelineRole, layers: [LayerRange]) {
        self.id = id
        self.role = role
        stages = layers.map { Stage(layers: $0) }
    }

    var vacancies: Int { stages.reduce(0) { $0 + ($1.worker == nil ? 1 : 0) } }

    mutating func insertMember(_ sequence: SequenceID) {
        if let last = members.last, last > sequence {
            members.insert(sequence, at: members.firstIndex { $0 > sequence } ?? members.count)
        } else {
            members.append(sequence)
        }
    }

    mutating func removeMember(_ sequence: SequenceID) {
        if let index = members.firstIndex(of: sequence) { members.remove(at: index) }
    }
}

/// The share of recent time in which a stage computed; about the last ten seconds of it count.
struct BusyShare: Hashable {
    private var computed = TimeSpan.zero
    private var idle = TimeSpan.zero
    private var lastEnd: Instant?

    private static let window = TimeSpan.seconds(10)

    mutating func add(computed time: TimeSpan, idleBefore: TimeSpan, now: Instant) {
        computed = computed + max(time, .zero)
        idle = idle + min(max(idleBefore, .zero), Self.window)
        while computed + idle > Self.window {
            computed = TimeSpan(nanoseconds: computed.nanoseconds / 2)
            idle = TimeSpan(nanoseconds: idle.nanoseconds / 2)
        }
        lastEnd = now
    }

    /// - Parameter busy: whether something is running now, which will be counted when it ends.
    func share(at now: Instant, busy: Bool) -> Double {
        guard let lastEnd else { return 0 }
        let waited = busy ? TimeSpan.zero : max(now - lastEnd, .zero)
        let total = (computed + idle + waited).seconds
        return total > 0 ? min(1, computed.seconds / total) : 0
    }
}
