package import DejaVuCore

/// What the controller knows of the cluster at one moment: for `/ready`, `/metrics`, the page's live strip and
/// `dejavu status`.
package struct ClusterStatus: Hashable, Codable, Sendable {
    /// Whether a token crossed all stages of some pipeline recently.
    package var ready: Bool
    /// Why not, in words for people; nil if ready.
    package var reason: String?
    package var term: Term
    package var draining: Bool
    package var workers: [WorkerStatus]
    package var pipelines: [PipelineStatus]
    package var queue: QueueStatus
    /// Sequences that hold cells and have not ended, probes not counted.
    package var sequencesRunning: Int
    /// Sequences that lost their place and wait for another, with their records kept.
    package var sequencesParked: Int
    package var counters: ControllerCounters
}

package struct WorkerStatus: Hashable, Codable, Sendable {
    package enum State: String, Hashable, Codable, Sendable {
        /// Alive, without a stage.
        case standby
        /// Reading its layers or wiring its links.
        case loading
        /// Has its stage.
        case serving
        /// Could not load a stage; tried again later.
        case resting
    }
    package var id: WorkerID
    package var name: String
    package var processID: Int32
    package var state: State
    package var pipeline: PipelineID?
    package var stageIndex: Int?
    /// How long ago it was last heard of.
    package var silence: TimeSpan
    /// What its device may hold in KV.
    package var kvBytesMax: Int
    /// The last error it reported.
    package var error: String?
}

package struct PipelineStatus: Hashable, Codable, Sendable {
    package enum State: String, Hashable, Codable, Sendable {
        /// Lacks workers.
        case forming
        /// All workers are there and load.
        case loading
        case serving
    }
    package var id: PipelineID
    package var epoch: Epoch
    package var state: State
    package var stages: [StageStatus]
    /// The passes in flight, oldest first.
    package var microbatches: [MicrobatchStatus]
    package var sequencesRunning: Int
    /// Per layer; the same in every stage.
    package var cellsTotal: Int
    package var cellsUsed: Int
    /// Bytes of K and V behind them, over all stages.
    package var kvBytesTotal: Int
    package var kvBytesUsed: Int
}

package struct StageStatus: Hashable, Codable, Sendable {
    package var index: Int
    package var layers: LayerRange
    package var worker: WorkerID?
    /// The share of recent time in which the stage computed, 0...1.
    package var busyShare: Double
    /// Totals since the worker took the stage.
    package var passes: UInt64
    package var computed: TimeSpan
    package var kvBytesTotal: Int
    package var kvBytesUsed: Int
}

package struct MicrobatchStatus: Hashable, Codable, Sendable {
    package var pass: PassID
    package var sequences: Int
    package var rows: Int
    /// The first stage that has not yet finished it.
    package var stageIndex: Int
}

package struct QueueStatus: Hashable, Codable, Sendable {
    package var requests: Int
    package var requestsMax: Int
    /// Positions that the queued requests will reserve.
    package var tokens: Int
    package var tokensMax: Int
}

/// Totals since the controller's start.
package struct ControllerCounters: Hashable, Codable, Sendable {
    package var requestsSubmitted: UInt64 = 0
    package var requestsRefused: UInt64 = 0
    package var requestsAdmitted: UInt64 = 0
    package var requestsEnded: UInt64 = 0
    package var tokensEmitted: UInt64 = 0
    /// Rows of prompts and replays, and of steps, in passes that were sent.
    package var promptRows: UInt64 = 0
    package var stepRows: UInt64 = 0
    /// Rows that were run again because a stage had lost them.
    package var replayRows: UInt64 = 0
    package var passesSent: UInt64 = 0
    package var passesCompleted: UInt64 = 0
    /// Passes whose epoch ended before they did.
    package var passesVoided: UInt64 = 0
    /// Messages of a past term, incarnation, worker or epoch.
    package var messagesStale: UInt64 = 0
    package var workersJoined: UInt64 = 0
    package var workersRefused: UInt64 = 0
    package var workersLost: UInt64 = 0
    /// Times that a pipeline was placed anew after a loss.
    package var recoveries: UInt64 = 0
    package var sequencesParked: UInt64 = 0
    package var sequencesPoisoned: UInt64 = 0
    package var probes: UInt64 = 0
    /// K and V of committed positions that came out otherwise when they were computed again, of workers that look.
    package var rewriteMismatches: UInt64 = 0

    package init() {}

    /// The sum of two, for summaries over several runs.
    package static func += (left: inout ControllerCounters, right: ControllerCounters) {
        left.requestsSubmitted += right.requestsSubmitted
        left.requestsRefused += right.requestsRefused
        left.requestsAdmitted += right.requestsAdmitted
        left.requestsEnded += right.requestsEnded
        left.tokensEmitted += right.tokensEmitted
        left.promptRows += right.promptRows
        left.stepRows += right.stepRows
        left.replayRows += right.replayRows
        left.passesSent += right.passesSent
        left.passesCompleted += right.passesCompleted
        left.passesVoided += right.passesVoided
        left.messagesStale += right.messagesStale
        left.workersJoined += right.workersJoined
        left.workersRefused += right.workersRefused
        left.workersLost += right.workersLost
        left.recoveries += right.recoveries
        left.sequencesParked += right.sequencesParked
        left.sequencesPoisoned += right.sequencesPoisoned
        left.probes += right.probes
        left.rewriteMismatches &+= right.rewriteMismatches
    }
}
