import DejaVuCore
import DejaVuKV

/// A stage that goes to the holder of its replica although its worker lives: nothing is computed again.
struct PlannedMove: Hashable {
    let pipeline: Int
    let stage: Int
    let replica: ReplicaID
    let from: WorkerID
    let to: WorkerID
    let since: Instant
    /// Since when no pass has been sent: it waits for those in flight, and for their rows to arrive.
    var pausedSince: Instant?
}

/// Planned moves: away from workers that are to leave, and from those that run several stages to standbys. One at a
/// time. Stages of prompt pipelines have no replica: they are left when the last guest has gone.
extension ControllerMachine {
    /// The worker gets nothing to do any more, gives its stages to others, and is told to end when it has none.
    mutating func leave(_ id: WorkerID) {
        guard let index = workers.index(of: id), !workers[at: index].leaving, !stopped else { return }
        workers[at: index].leaving = true
        for hold in workers[at: index].holds { dropReplica(hold.pipeline, hold.stage) }
        place()
        letGo(id)
        movesDue = true
    }

    /// Ends a worker that is to leave and runs nothing.
    mutating func letGo(_ id: WorkerID) {
        guard adoption == nil, let index = workers.index(of: id), workers[at: index].leaving, workers[at: index].isFree
        else { return }
        workers[at: index].toldToEnd = true
        send(.shutdown, to: id)
    }

    /// Whether the scheduler waits for the sake of a move.
    func isPaused(_ index: Int) -> Bool { move.map { $0.pipeline == index && $0.pausedSince != nil } ?? false }

    /// Begins a move that is wanted, goes on with the one that is under way, or gives it up.
    mutating func advanceMove() {
        guard !stopped else { return }
        if movesDue { leavePromptStages() }
        if move == nil {
            guard movesDue, now >= moveNotBefore else { return }
            movesDue = false
            move = nextMove()
        }
        guard var move else { return }
        guard isPossible(move) else { return giveUpMove() }
        let index = move.pipeline
        guard let paused = move.pausedSince else {
            // A step is one row of each sequence. Where prompts never cease, a chunk more has to do.
            let rows =
                2 * pipelines[index].members.count + (now - move.since > limits.silenceMax ? limits.chunkRowsMax : 0)
            guard backlog(of: move) <= rows, isUnused(move.to) else { return }
            move.pausedSince = now
            self.move = move
            if pipelines[index].flights.isEmpty, backlog(of: move) == 0 { carryOut(move) }
            return
        }
        if pipelines[index].flights.isEmpty, backlog(of: move) == 0 {
            carryOut(move)
        } else if now - paused > limits.silenceMax {
            // Something holds the rows up. Clients have waited for long enough.
            moveNotBefore = now + limits.restMin
            giveUpMove()
        }
    }

    /// Work goes on where it is; the next tick looks anew.
    private mutating func giveUpMove() {
        if let index = move?.pipeline { pipelines[index].dirty = true }
        move = nil
        guestsDue = true
    }

    private func isPossible(_ move: PlannedMove) -> Bool {
        let stage = pipelines[move.pipeline].stages[move.stage]
        return pipelines[move.pipeline].phase == .serving && stage.worker == move.from
            && stage.replica?.id == move.replica && canTake(move.to, move.replica, of: move.pipeline)
    }

    /// All stages of a worker are of one pipeline, and a prompt pipeline is left for another.
    private func canTake(_ id: WorkerID, _ replica: ReplicaID, of index: Int) -> Bool {
        guard let worker = workers[id], worker.isWilling,
            worker.isFree || worker.pipeline == index || pipelines[worker.pipeline].role == .prompt
        else { return false }
        return worker.holds.contains { $0.id == replica && $0.since == nil }
    }

    private func nextMove() -> PlannedMove? {
        for rank in workers.indices {
            let worker = workers[at: rank]
            guard worker.leaving || worker.seats.count > 1, !worker.isFree else { continue }
            for seat in worker.seats {
                let stage = pipelines[worker.pipeline].stages[seat.stage]
                guard pipelines[worker.pipeline].phase == .serving, let replica = stage.replica else { continue }
                let taker = replica.holder.worker
                guard canTake(taker, replica.id, of: worker.pipeline) else { continue }
                if !worker.leaving, workers[taker]?.isFree == false || isOnProbation(taker) { continue }
                return PlannedMove(
                    pipeline: worker.pipeline, stage: seat.stage, replica: replica.id, from: workers.keys[rank],
                    to: taker, since: now)
            }
        }
        return nil
    }

    /// Committed rows that the taker has not said it has. What a guest still feeds is copied from there once more.
    private func backlog(of move: PlannedMove) -> Int {
        pipelines[move.pipeline].members.reduce(0) {
            guard let sequence = sequences[$1], let home = sequence.home, !home.isLeaving, !sequence.isProbe,
                home.pipeline == move.pipeline
            else { return $0 }
            let isFed = sequence.guest.map { !$0.isLeaving } ?? false
            return isFed && home.watermarks.least < sequence.owed ? $0 : $0 + home.lag(move.stage)
        }
    }

    /// Whether no guest would lose anything if that worker left its prompt pipeline now.
    private func isUnused(_ id: WorkerID) -> Bool {
        guard let worker = workers[id], !worker.isFree, pipelines[worker.pipeline].role == .prompt else { return true }
        return pipelines[worker.pipeline].members.isEmpty
    }

    /// Whoever is to leave a prompt pipeline does when nobody is in it any more.
    private mutating func leavePromptStages() {
        for id in workers.keys {
            guard let worker = workers[id], worker.leaving, !worker.isFree, pipelines[worker.pipeline].role == .prompt,
                pipelines[worker.pipeline].members.isEmpty, pipelines[worker.pipeline].phase != .loading
            else { continue }
            counters.moves += UInt64(worker.seats.count)
            for seat in worker.seats {
                send(.retire(pipelines[worker.pipeline].id, stageIndex: seat.stage), to: id)
            }
            vacate(id)
            place()
            letGo(id)
        }
    }

    /// Between two steps: a new epoch in which the holder has the stage.
    private mutating func carryOut(_ planned: PlannedMove) {
        move = nil
        movesDue = true
        counters.moves += 1
        let index = planned.pipeline
        let crossed = pipelines[index].lastCrossing
        breakOff(index)
        pipelines[index].lastCrossing = crossed
        workers.index(of: planned.from).map { _ = workers[at: $0].leave(planned.stage) }
        pipelines[index].stages[planned.stage].worker = nil
        forgetStage(index, planned.stage)
        send(.retire(pipelines[index].id, stageIndex: planned.stage), to: planned.from)
        take(planned.to, pipeline: index, stage: planned.stage)
        assign(index, planned: true)
        letGo(planned.from)
        place()
    }
}
