import DejaVuCore
import DejaVuKV

/// A sequence's cells in one pipeline, and how far each of its stages is.
///
/// A running sequence has one where its tokens are made, its *home*, for prompt and outputs. While a prompt pipeline
/// runs its prompt it has another one there, for the prompt alone: it is a *guest*.
struct Place: Hashable {
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
        /// Whether the holder is known to have it open.
        var opened = false
    }

    let pipeline: Int
    let cells: CellRun
    /// How many positions may be written here.
    let positions: Int
    var watermarks: StageWatermarks
    /// For each stage the worker that has it open.
    var openAt: [WorkerID?]
    /// For each stage its worker that has rows from a replica, and no ticket to write more yet.
    var keptAt: [WorkerID?]
    /// For each stage the copy at its holder.
    var copies: [Copy?]
    /// Whether it is given up: it waits until no pass contains it, then until every stage has forgotten it.
    var isLeaving = false
    /// Who has not yet said that it is released; empty also before they were asked.
    var releasesDue: [WorkerID] = []
    var releasesSent = false
    /// Passes of this pipeline in flight that contain it.
    var inFlight = 0
    /// The end of what they run.
    var scheduledEnd = 0

    init(pipeline: Int, cells: CellRun, positions: Int, stageCount: Int) {
        self.pipeline = pipeline
        self.cells = cells
        self.positions = positions
        watermarks = StageWatermarks(stageCount: stageCount)
        openAt = [WorkerID?](repeating: nil, count: stageCount)
        keptAt = openAt
        copies = [Copy?](repeating: nil, count: stageCount)
    }

    /// Where the next pass begins here: w of the rule of work, or behind what is in flight.
    func nextStart(known: Int) -> Int {
        inFlight > 0 ? scheduledEnd : min(known - 1, positions, watermarks.least)
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
}
