import DejaVuCore

/// The recovery that a pipeline is in, or was in last.
struct RecoveryProgress: Hashable {
    let reason: String
    let detect: TimeSpan
    let lostAt: Instant
    /// The one that began with it; nil before.
    var epoch: Epoch?
    /// When every stage had a worker and was told; when the last one was ready.
    var placedAt: Instant?
    var restoredAt: Instant?
    var firstTokenAt: Instant?
    /// When the last row that had been lost was there again.
    var caughtUpAt: Instant?
    var positionsRunAgain = 0
    /// Stages that were taken over by the holders of their replicas.
    var byReplica = 0

    init(reason: String, detect: TimeSpan, lostAt: Instant) {
        self.reason = reason
        self.detect = detect
        self.lostAt = lostAt
    }

    /// A death during recovery places anew: the times that follow are those of the last try.
    mutating func placed(at now: Instant, epoch: Epoch) {
        guard firstTokenAt == nil else { return }
        self.epoch = epoch
        placedAt = now
        restoredAt = nil
    }

    mutating func restored(at now: Instant) {
        if placedAt != nil, restoredAt == nil { restoredAt = now }
    }
}

/// Where the time of a recovery goes.
extension ControllerMachine {
    /// - Parameter detect: how long the lost worker had not been heard of.
    mutating func beginRecovery(_ index: Int, reason: String, detect: TimeSpan) {
        // One that has not got to its first token goes on; a pipeline that never ran has nothing to recover.
        guard pipelines[index].epoch > Epoch(0) else { return }
        if let recovery = pipelines[index].recovery, recovery.firstTokenAt == nil { return }
        pipelines[index].recovery = RecoveryProgress(reason: reason, detect: detect, lostAt: now)
    }

    mutating func recoveryCompleted(_ flight: PipelineState.Flight, _ index: Int) {
        guard flight.rowsAgain > 0, let recovery = pipelines[index].recovery, recovery.restoredAt != nil,
            recovery.epoch == pipelines[index].epoch
        else { return }
        pipelines[index].recovery?.caughtUpAt = now
        report(index)
    }

    mutating func recoveryAccepted(_ index: Int) {
        guard let recovery = pipelines[index].recovery, recovery.restoredAt != nil, recovery.firstTokenAt == nil else {
            return
        }
        pipelines[index].recovery?.firstTokenAt = now
        report(index)
    }

    private mutating func report(_ index: Int) {
        guard let recovery = pipelines[index].recovery, let placed = recovery.placedAt,
            let restored = recovery.restoredAt, let first = recovery.firstTokenAt
        else { return }
        lastRecovery = RecoveryReport(
            pipeline: pipelines[index].id, reason: recovery.reason, at: recovery.lostAt, detect: recovery.detect,
            place: placed - recovery.lostAt, restore: restored - placed,
            runAgain: (recovery.caughtUpAt ?? restored) - restored, firstToken: first - restored,
            positionsRunAgain: recovery.positionsRunAgain, stagesByReplica: recovery.byReplica)
    }
}
