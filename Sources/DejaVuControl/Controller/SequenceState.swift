import DejaVuCore
import DejaVuKV

/// A sequence as the controller sees it: its record and where it stands.
struct SequenceState: Hashable {
    enum Phase: Hashable {
        /// Has its place.
        case running
        /// Gives its place up: waits until no pass contains it, then until every stage has forgotten it.
        case leaving
        /// Has no place and waits for one.
        case parked
    }

    /// Its part of a stage's replica.
    struct Copy: Hashable {
        let replica: ReplicaID
        let holder: WorkerID
        /// The holder's.
        let ticket: Ticket
        /// What the holder has said last.
        var watermark = 0
        /// Whether the source was told to copy.
        var subscribed = false
    }

    var record: SequenceRecord
    let isProbe: Bool
    /// Whether the client has been told the end; what is left is to give the cells back.
    var ended = false
    var phase = Phase.parked
    var pipeline = 0
    var cells = CellRun(start: 0, count: 0)
    var watermarks: StageWatermarks
    /// For each stage the worker that has it open.
    var openAt: [WorkerID?]
    /// For each stage its worker that has rows from a replica, and no ticket to write more yet.
    var keptAt: [WorkerID?]
    /// For each stage the copy at its holder.
    var copies: [Copy?]
    /// Who has not yet said that it is released; empty also before they were asked.
    var releasesDue: [WorkerID] = []
    var releasesSent = false
    /// Passes in flight that contain it.
    var inFlight = 0
    /// The end of what they run.
    var scheduledEnd = 0
    /// When it was last put into a pass, counted over all: who has waited longest comes first.
    var lastTurn: UInt64 = 0
    /// Positions that were sent before, to tell a replay from a prompt.
    var sentMax = 0
    /// Positions that all stages had committed: what of them runs once more was lost.
    var committedMax = 0
    /// Workers lost in a row in passes that contain it.
    var strikes = 0
    /// Where the cause must be, if it is this sequence: the positions that all those passes ran, `record.knownCount`
    /// among them if they sampled.
    var struck = 0..<0

    init(record: SequenceRecord, isProbe: Bool, stageCount: Int) {
        self.record = record
        self.isProbe = isProbe
        watermarks = StageWatermarks(stageCount: stageCount)
        openAt = [WorkerID?](repeating: nil, count: stageCount)
        keptAt = openAt
        copies = [Copy?](repeating: nil, count: stageCount)
    }

    var positionsReserved: Int { record.positionCountMax }

    /// Where the next pass for it begins: w of the rule of work, or behind what is in flight.
    var nextStart: Int {
        inFlight > 0 ? scheduledEnd : min(record.knownCount - 1, watermarks.least)
    }

    /// The worker of that stage knows nothing of it any more.
    mutating func forget(_ stage: Int) {
        openAt[stage] = nil
        keptAt[stage] = nil
        watermarks.reset(stage)
    }

    /// Positions that would be run again if that stage died now.
    func lag(_ stage: Int) -> Int {
        max(0, watermarks[stage] - (copies[stage]?.watermark ?? 0))
    }

    /// A worker was lost in a pass that ran these positions.
    mutating func strike(_ positions: Range<Int>) {
        let common = strikes > 0 ? struck.clamped(to: positions) : positions
        strikes = common.isEmpty ? 1 : strikes + 1
        struck = common.isEmpty ? positions : common
    }

    /// All stages have run past the place of the strikes: it was not this sequence.
    mutating func clearStrikesIfPast() {
        if strikes > 0, struck.upperBound <= watermarks.least { strikes = 0 }
    }
}

/// A request that is queued or running.
struct RequestState: Hashable {
    let request: Request
    let outputCountMax: Int
    /// Empty while it is queued; then one for each choice.
    var choices: [SequenceID] = []
    /// Choices that have ended.
    var ended: [Bool]
    let submittedAt: Instant
    var admittedAt: Instant?

    init(request: Request, outputCountMax: Int, now: Instant) {
        self.request = request
        self.outputCountMax = outputCountMax
        ended = [Bool](repeating: false, count: request.choiceCount)
        submittedAt = now
    }

    /// Positions that one choice reserves.
    var positions: Int { request.prompt.count + outputCountMax - 1 }
    /// What the queue counts.
    var tokens: Int { positions * request.choiceCount }
}
