import DejaVuCore
import DejaVuKV

/// What a worker consists of.
extension WorkerMachine {
    /// An engine that the compute thread has, or will have when it has done what it was told.
    struct Engine: Hashable {
        let id: EngineID
        let layers: LayerRange
        let cellCount: Int
        let residentCellCount: Int
        var ready = false

        init(id: EngineID, _ assignment: StageAssignment) {
            self.id = id
            layers = assignment.layers
            cellCount = assignment.cellCount
            residentCellCount = assignment.residentCellCount
        }

        func fits(_ assignment: StageAssignment) -> Bool {
            layers == assignment.layers && cellCount == assignment.cellCount
                && residentCellCount == assignment.residentCellCount
        }
    }
    struct PeerLink: Hashable {
        var peer: PeerAddress
        var connected: Bool
    }
    struct OpenSequence: Hashable {
        var cells: CellRun
        var watermark: Int
        /// Whether frames were let into its cells: they are quiet only when none lands.
        var isForeign = false
        /// In a replica: the source's.
        var ticket: Ticket?
        /// In a stage: where it is copied to, by tickets from there.
        var copies: [Copy] = []
    }
    struct Copy: Hashable {
        let target: StoreAddress
        let ticket: UInt64
    }
    /// What is kept of a sequence that has ended.
    struct Ending: Sendable {
        let record: SequenceRecord
        let reason: FinishReason
        let until: Instant
    }
    /// A stage that the worker runs, or will.
    struct Seat: Sendable {
        var stage: StageAssignment
        var engine: Engine
        /// The replica that is becoming its engine.
        var promoting: ReplicaID?
        /// The replica that its engine was.
        var origin: ReplicaID?
        /// Whether the controller knows that the stage is ready.
        var announced = false
        /// Whether the present controller has said that the stage stays.
        var stays = true
        /// Whether a pass of this epoch failed here: no other one starts.
        var failed = false
        var sequences = SortedMap<SequenceID, OpenSequence>()
        var tickets = TicketBook()
        /// Where the stage's sequences are copied to.
        var targets: [StoreAddress] = []
        /// Passes of the stage's epoch, in the order of arrival.
        var waiting: [Work] = []

        func isCurrent(_ pass: Pass) -> Bool { pass.pipeline == stage.pipeline && pass.epoch == stage.epoch }
    }
    /// A replica that the process has, or will have when it has done what it was told.
    struct Hold: Sendable {
        let assignment: ReplicaAssignment
        var ready = false
        var sequences = SortedMap<SequenceID, OpenSequence>()
    }
    /// A sequence may be released from one pipeline, and go on in another.
    struct ReleaseKey: Hashable, Comparable {
        let sequence: SequenceID
        let pipeline: PipelineID
        static func < (left: Self, right: Self) -> Bool {
            (left.sequence, left.pipeline) < (right.sequence, right.pipeline)
        }
    }
    /// What is still to come before a release is answered.
    struct Release: Hashable {
        /// A pass was running that could still touch the cells.
        var waitsForPass: Bool
        /// Replicas in which a frame may still land.
        var replicas: [ReplicaID] = []
        /// Engines of stages in whose cells a frame may still land.
        var engines: [EngineID] = []
    }
    struct Work: Hashable {
        var pass: Pass
        var rows: RowsHandle?
        /// Counted over all stages.
        var arrival: UInt64
    }
    struct Running: Hashable {
        var pass: Pass
        let engine: EngineID
        /// Whether the sequences that are open there are still those with which it began.
        var commits = true
        /// Whether anybody still waits for what it gives.
        var isAwaited = true
    }

    /// The seat of that stage.
    func seat(_ stageIndex: Int) -> Int? { seats.firstIndex { $0.stage.stageIndex == stageIndex } }
    func seat(of engine: EngineID) -> Int? { seats.firstIndex { $0.engine.id == engine } }

    mutating func newEngine() -> EngineID {
        engineCount += 1
        return EngineID(engineCount)
    }
}
