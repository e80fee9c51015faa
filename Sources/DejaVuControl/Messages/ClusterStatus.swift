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
    /// Whether standbys are to hold replicas of the stages at all.
    package var replicates: Bool
    /// Running sequences for which some stage has no replica: they would be run again from the start.
    package var sequencesAtRisk: Int
    /// Positions that would be run again if, for each running sequence, the stage whose replica lags most died now.
    package var positionsAtRisk: Int
    package var lastRecovery: RecoveryReport?
    package var counters: ControllerCounters
    /// Whether emulated devices kept their times, over all workers so far; nil where devices are real.
    package var emulation: EmulationUsage?
    /// What goes on between prompt and token pipelines; nil where there are none.
    package var prompts: PromptStatus?

    /// What an operator should know though the server is ready, in words; empty if nothing.
    package var warnings: [String] {
        guard let prompts else { return [] }
        var warnings: [String] = []
        if prompts.stalled > 0 {
            let count = prompts.stalled == 1 ? "1 prompt waits" : "\(prompts.stalled) prompts wait"
            warnings.append(
                "\(count) for the link between prompt and token workers: nothing has arrived for"
                    + " \(prompts.stalledFor.nanoseconds / 1_000_000_000) s")
        }
        if !pipelines.contains(where: { $0.role == .prompt && $0.state != .forming }) {
            warnings.append("no prompt pipeline has all its workers: token pipelines run prompts themselves")
        }
        return warnings
    }
}

/// Sequences whose prompts are run elsewhere than their tokens.
package struct PromptStatus: Hashable, Codable, Sendable {
    /// Prompts of more tokens than this go through a prompt pipeline.
    package var disaggregateAbove: Int
    /// Sequences that wait for cells of a prompt pipeline.
    package var waiting = 0
    /// Sequences that have some.
    package var running = 0
    /// Positions that a prompt pipeline has run and the token stages lack, over all sequences.
    package var positionsBehind = 0
    /// Sequences that lack such rows and have not got one for long, and for how long at most.
    package var stalled = 0
    package var stalledFor = TimeSpan.zero

    package init(disaggregateAbove: Int) { self.disaggregateAbove = disaggregateAbove }
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
        /// Is to end as soon as others have its stages.
        case leaving
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
    /// The stages of which it holds a replica, or is about to.
    package var replicas: [ReplicaStatus]
}

/// A replica as its holder has it.
package struct ReplicaStatus: Hashable, Codable, Sendable {
    package var pipeline: PipelineID
    package var stageIndex: Int
    /// Whether its layers and cells are there.
    package var ready: Bool
}

/// What the last loss of a stage's worker cost, from its last sign of life to the next token.
package struct RecoveryReport: Hashable, Codable, Sendable {
    package var pipeline: PipelineID
    package var reason: String
    package var at: Instant
    /// From the last sign of life to the verdict.
    package var detect: TimeSpan
    /// From there until every stage had a worker and was told so.
    package var place: TimeSpan
    /// From there until the last of them was ready.
    package var restore: TimeSpan
    /// From there until the last row that was lost had been run again; zero if none was.
    package var runAgain: TimeSpan
    /// From the end of `restore` to the next accepted token.
    package var firstToken: TimeSpan
    /// Positions that all stages had committed, and that were run again.
    package var positionsRunAgain: Int
    /// Stages that the holders of their replicas took over.
    package var stagesByReplica: Int

    /// From the last sign of life to the next token.
    package var pause: TimeSpan { detect + place + restore + firstToken }
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
    package var role: PipelineRole
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
    /// nil where the devices hold everything.
    package var swap: SwapStatus?
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
    /// The standby that holds the stage's replica, or is about to.
    package var holder: WorkerID?
    /// Whether the replica's layers and cells are there.
    package var replicaReady: Bool
    /// Committed positions that the replica does not have, over all running sequences; all there are without one.
    package var replicaLag: Int
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
    /// Positions that all stages had committed, and that were run again because one of them was lost.
    package var positionsRunAgain: UInt64 = 0
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
    /// Stages that were taken over by the holder of their replica.
    package var takeovers: UInt64 = 0
    /// Stages that went to another worker by plan, and workers that left so.
    package var moves: UInt64 = 0
    package var workersLeft: UInt64 = 0
    /// Workers that were taken over from a controller before this one, and requests that were found at them.
    package var workersAdopted: UInt64 = 0
    package var requestsRestored: UInt64 = 0
    /// Replicas that a worker has made room for.
    package var replicasHeld: UInt64 = 0
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
        left.positionsRunAgain += right.positionsRunAgain
        left.passesSent += right.passesSent
        left.passesCompleted += right.passesCompleted
        left.passesVoided += right.passesVoided
        left.messagesStale += right.messagesStale
        left.workersJoined += right.workersJoined
        left.workersRefused += right.workersRefused
        left.workersLost += right.workersLost
        left.recoveries += right.recoveries
        left.takeovers += right.takeovers
        left.moves += right.moves
        left.workersLeft += right.workersLeft
        left.workersAdopted += right.workersAdopted
        left.requestsRestored += right.requestsRestored
        left.replicasHeld += right.replicasHeld
        left.sequencesParked += right.sequencesParked
        left.sequencesPoisoned += right.sequencesPoisoned
        left.probes += right.probes
        left.rewriteMismatches &+= right.rewriteMismatches
    }
}
