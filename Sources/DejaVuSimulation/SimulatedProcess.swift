import DejaVuControl
import DejaVuCore

/// A worker process of the simulated world: the real worker machine, an emulated stage, and a compute thread.
struct SimulatedProcess: Sendable {
    enum Job: Sendable {
        case load(StageAssignment)
        case open(SequenceRecord, CellRun)
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
    var engine: EmulatedStage?
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
}
