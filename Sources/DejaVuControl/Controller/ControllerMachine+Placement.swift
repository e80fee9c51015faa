import DejaVuCore
import DejaVuKV

/// Who runs which stage. A function of the living workers and of who has what already; it keeps no state of its own.
extension ControllerMachine {
    /// The epoch is over: nothing that is in flight counts any more. What was committed stays.
    mutating func breakOff(_ index: Int) {
        guard pipelines[index].phase != .forming else { return }
        pipelines[index].phase = .forming
        pipelines[index].lastCrossing = nil
        pipelines[index].hasCrossed = false
        counters.passesVoided += UInt64(pipelines[index].flights.count)
        // A broken link may be heard of before the death that broke it.
        for stage in pipelines[index].stages {
            guard let id = stage.worker, let worker = workers.index(of: id) else { continue }
            workers[at: worker].suspect = runningFlight(of: workers[at: worker])
        }
        pipelines[index].flights.removeAll()
        for stage in pipelines[index].stages.indices {
            pipelines[index].stages[stage].ready = false
            if let id = pipelines[index].stages[stage].worker, let worker = workers.index(of: id) {
                workers[at: worker].change(stage) { $0.since = nil }
            }
        }
        for sequence in pipelines[index].members {
            guard let at = sequences.index(of: sequence) else { continue }
            sequences[at: at].change(index) { $0.inFlight = 0 }
            if sequences[at: at][index]?.isLeaving == true {
                settle(sequence, in: index)
            } else if sequences[at: at].isProbe {
                end(sequence, .cancelled)
            }
        }
        guestsDue = true
        // What the guests do not run, others may have to.
        for other in pipelines.indices where pipelines[other].role == .token { pipelines[other].dirty = true }
    }

    /// Gives every pipeline that lacks workers those that are free, the nearest to completion first, and prompt
    /// pipelines last: the others can do without. If they do not suffice, a pipeline that cannot run anyway gives its
    /// own, and a prompt pipeline in any case. What is left in pipelines that cannot run goes to those that can.
    mutating func place() {
        guard !stopped, adoption == nil else { return }
        defer { placeReplicas() }
        let order = pipelines.indices.filter { pipelines[$0].phase == .forming }.sorted {
            (pipelines[$0].role.isHome ? 0 : 1, pipelines[$0].vacancies, $0)
                < (pipelines[$1].role.isHome ? 0 : 1, pipelines[$1].vacancies, $1)
        }
        for (rank, index) in order.enumerated() {
            var pool = Array(order[(rank + 1)...])
            if pipelines[index].role.isHome {
                pool = pipelines.indices.filter { pipelines[$0].role == .prompt && !pool.contains($0) } + pool
            }
            guard let takers = takers(for: index, poolingWith: pool) else { continue }
            for (stage, id) in takers { take(id, pipeline: index, stage: stage) }
            assign(index)
        }
        let isElsewhere = pipelines.contains { $0.role.isHome && $0.phase != .forming }
        for index in pipelines.indices where pipelines[index].phase == .forming {
            if isElsewhere || pipelines[index].role == .prompt { evict(index) }
        }
    }

    /// A worker for every vacant stage, or nil if there are too few. In this order: the standby that holds its replica;
    /// another standby, the one with the fewest replicas first; the worker that holds the replica beside a stage of its
    /// own; one that has died before and is back; one from the pool.
    private func takers(for index: Int, poolingWith others: [Int]) -> [(stage: Int, worker: WorkerID)]? {
        var standbys = workers.indices.filter {
            workers[at: $0].isFree && workers[at: $0].isWilling
        }.sorted { (workers[at: $0].holds.count, $0) < (workers[at: $1].holds.count, $1) }
        var takers: [(stage: Int, worker: WorkerID)] = []
        let vacant = pipelines[index].stages.indices.filter { pipelines[index].stages[$0].worker == nil }
        for stage in vacant {
            guard let holder = pipelines[index].stages[stage].replica?.holder.worker,
                let place = standbys.firstIndex(where: { workers.keys[$0] == holder })
            else { continue }
            standbys.remove(at: place)
            takers.append((stage, holder))
        }
        var pool = standbys.filter { isOnProbation(workers.keys[$0]) }
        standbys.removeAll { isOnProbation(workers.keys[$0]) }
        for other in others.reversed() {
            for stage in pipelines[other].stages {
                guard let id = stage.worker, let worker = workers.index(of: id), !pool.contains(worker),
                    !workers[at: worker].leaving
                else { continue }
                pool.append(worker)
            }
        }
        for stage in vacant where !takers.contains(where: { $0.stage == stage }) {
            if let fit = fit(standbys, index, stage) {
                takers.append((stage, workers.keys[standbys.remove(at: fit)]))
            } else if let holder = busyHolder(index, stage, among: takers.map(\.worker)) {
                takers.append((stage, holder))
            } else if let fit = fit(pool, index, stage) {
                takers.append((stage, workers.keys[pool.remove(at: fit)]))
            } else {
                return nil
            }
        }
        return takers
    }

    private func fit(_ candidates: [Int], _ index: Int, _ stage: Int) -> Int? {
        let layers = pipelines[index].stages[stage].layers.count
        return candidates.firstIndex { workers[at: $0].residentCapacity(layers: layers) >= CellRun.granularity }
    }

    /// The holder of a stage's replica that runs another stage of the pipeline, or is about to, or one of a prompt
    /// pipeline, which then does without it.
    private func busyHolder(_ index: Int, _ stage: Int, among takers: [WorkerID]) -> WorkerID? {
        guard let holder = pipelines[index].stages[stage].replica?.holder.worker, let worker = workers[holder],
            worker.isFree
                ? takers.contains(holder) : worker.pipeline == index || pipelines[worker.pipeline].role == .prompt,
            worker.isWilling
        else { return nil }
        return holder
    }

    mutating func take(_ id: WorkerID, pipeline index: Int, stage: Int) {
        guard let worker = workers.index(of: id) else { preconditionFailure("\(id) is placed but not known") }
        if workers[at: worker].pipeline != index { vacate(id) }
        let taken = pipelines[index].stages[stage]
        if taken.replica?.holder.worker != id { dropReplica(index, stage) }
        workers[at: worker].pipeline = index
        workers[at: worker].seats.append(WorkerState.Seat(stage: stage, layers: taken.layers.count))
        pipelines[index].stages[stage] = PipelineState.Stage(
            layers: taken.layers, worker: id, replica: pipelines[index].stages[stage].replica)
    }

    /// Takes all its stages from a worker; it is told when it gets another.
    mutating func vacate(_ id: WorkerID) {
        guard let worker = workers.index(of: id), !workers[at: worker].isFree else { return }
        let former = workers[at: worker].pipeline
        breakOff(former)
        for seat in workers[at: worker].seats {
            forgetStage(former, seat.stage)
            pipelines[former].stages[seat.stage].worker = nil
            forgetStage(former, seat.stage)
        }
        workers[at: worker].seats.removeAll()
    }

    /// Begins a new epoch: every stage is told its place, also those that keep it.
    ///
    /// - Parameter planned: whether nothing was lost.
    mutating func assign(_ index: Int, planned: Bool = false) {
        if pipelines[index].epoch > Epoch(0), !planned { counters.recoveries += 1 }
        pipelines[index].epoch = pipelines[index].epoch.next
        pipelines[index].phase = .loading
        let members = stageWorkers(of: index)
        let cellCount = cellCount(for: index, members)
        let residentCount = residentCount(for: index, members, of: cellCount)
        let changes =
            cellCount != pipelines[index].cells.cellCount || residentCount != pipelines[index].swap.residentCount
        if changes { for stage in members.indices { dropReplica(index, stage) } }
        pipelines[index].swap.residentCount = residentCount
        let epoch = pipelines[index].epoch
        if !planned { pipelines[index].recovery?.placed(at: now, epoch: epoch) }
        for (stage, id) in members.enumerated() {
            tell(
                id, pipeline: index, stage: stage, cellCount: cellCount,
                next: stage + 1 < members.count ? members[stage + 1] : nil, planned: planned)
        }
        for id in members { shed(id) }
        guard changes else { return }
        // Every engine is made anew, so all cells are quiet, and who had some waits for a place again.
        forgetReleases(index)
        evict(index)
        precondition(pipelines[index].cells.usedCount == 0, "cells are in use in engines that are gone")
        pipelines[index].cells = CellAllocator(cellCount: cellCount)
        pipelines[index].places = []
    }

    func stageWorkers(of index: Int) -> [WorkerID] {
        pipelines[index].stages.map { stage in
            guard let worker = stage.worker else { preconditionFailure("a stage without a worker was assigned") }
            return worker
        }
    }

    /// What the least memory of all stages holds. A pipeline that has cells keeps their number if it can, and with them
    /// the KV of its sequences.
    private func cellCount(for index: Int, _ members: [WorkerID]) -> Int {
        var capacity = limits.cellsMax / CellRun.granularity * CellRun.granularity
        for id in members {
            guard let worker = workers[id] else { preconditionFailure("\(id) is placed but not known") }
            capacity = min(capacity, mayBeSwapped(index) ? worker.cellCapacity : worker.residentCapacity)
        }
        let current = pipelines[index].cells.cellCount
        return current > 0 && current <= capacity ? current : capacity
    }

    /// Prompts leave as soon as they have run.
    private func mayBeSwapped(_ index: Int) -> Bool {
        pipelines[index].role.isHome && configuration.swapping != .off
    }

    /// What the least device of all stages holds at one time. It stays if it can, as the number of cells does.
    private func residentCount(for index: Int, _ members: [WorkerID], of cellCount: Int) -> Int {
        guard mayBeSwapped(index) else { return cellCount }
        let capacity = members.enumerated().reduce(cellCount) { least, member in
            let layers = pipelines[index].stages[member.offset].layers.count
            return min(least, workers[member.element]?.residentCapacity(layers: layers) ?? 0)
        }
        let current = pipelines[index].swap.residentCount
        return pipelines[index].cells.cellCount == cellCount && current > 0 && current <= capacity ? current : capacity
    }

    private mutating func tell(
        _ id: WorkerID, pipeline index: Int, stage: Int, cellCount: Int, next: WorkerID?, planned: Bool
    ) {
        guard let at = workers.index(of: id) else { preconditionFailure("\(id) is placed but not known") }
        let pipeline = pipelines[index]
        let layers = pipeline.stages[stage].layers
        var keeps = false
        workers[at: at].change(stage) { seat in
            keeps = seat.cellCount == cellCount && seat.residentCount == pipeline.swap.residentCount
            seat.cellCount = cellCount
            seat.residentCount = pipeline.swap.residentCount
            seat.since = now
        }
        workers[at: at].progressAt = now
        workers[at: at].loadingAt = now
        let replica = takeOver(index, stage, by: id, planned: planned)
        if !keeps, replica == nil { forgetStage(index, stage) }
        let peer = next.flatMap { next in
            workers[next].map {
                PeerAddress(worker: next, incarnation: $0.hello.incarnation, address: $0.hello.peerAddress)
            }
        }
        send(
            .assign(
                StageAssignment(
                    pipeline: pipeline.id, epoch: pipeline.epoch, stageIndex: stage, stageCount: pipeline.stages.count,
                    layers: layers, cellCount: cellCount, residentCellCount: pipeline.swap.residentCount, next: peer,
                    replica: replica)), to: id)
    }

    mutating func assigned(
        _ id: WorkerID, _ pipeline: PipelineID, _ epoch: Epoch, stage: Int, _ marks: [SequenceMark]
    ) {
        guard let index = current(id, pipeline, epoch, stage: stage), pipelines[index].phase == .loading,
            let worker = workers.index(of: id)
        else { return }
        workers[at: worker].change(stage) { $0.since = nil }
        workers[at: worker].loadFailures = 0
        workers[at: worker].error = nil
        workers[at: worker].suspect = nil
        pipelines[index].stages[stage].ready = true
        for mark in marks {
            guard let at = sequences.index(of: mark.sequence), let place = sequences[at: at][index],
                place.openAt[stage] == id || place.keptAt[stage] == id
            else { continue }
            let level = min(mark.watermark, sequences[at: at].record.knownCount, place.positions)
            sequences[at: at].change(index) { $0.watermarks.raise(stage, to: level) }
        }
        if pipelines[index].stages.allSatisfy({ $0.ready }) { serve(index) }
    }

    /// All stages are there: whoever has a place gets it back in the stages that do not know it.
    private mutating func serve(_ index: Int) {
        pipelines[index].phase = .serving
        pipelines[index].dirty = true
        pipelines[index].recovery?.restored(at: now)
        admissionDue = true
        guestsDue = true
        for sequence in pipelines[index].members {
            guard let at = sequences.index(of: sequence), let place = sequences[at: at][index], !place.isLeaving else {
                continue
            }
            if sequences[at: at].guest?.pipeline == index, isNoGuestAnyMore(sequences.values[at]) {
                leaveGuest(sequence)
                continue
            }
            openEverywhere(sequence, in: index)
            openReplicas(sequence)
            copyOn(sequence, in: index)
            feed(sequence)
        }
        placeReplicas()
        movesDue = true
    }

    /// Whether a guest whose pipeline was placed anew has little left to do there, or would have to be opened for more
    /// than it has cells.
    private func isNoGuestAnyMore(_ sequence: SequenceState) -> Bool {
        guard let home = sequence.home, let guest = sequence.guest else { return false }
        let known = sequence.record.knownCount
        return known > guest.positions + 1 || home.watermarks.least >= sequence.owed
            || known - home.nextStart(known: known) <= configuration.shortRowsMax
    }

    /// The worker stays, without the stage, and is tried again after a rest.
    mutating func assignFailed(
        _ id: WorkerID, _ pipeline: PipelineID, _ epoch: Epoch, stage: Int, _ error: DejaVuError
    ) {
        guard let index = current(id, pipeline, epoch, stage: stage), let worker = workers.index(of: id) else { return }
        workers[at: worker].leave(stage)
        rest(id, after: error)
        pipelines[index].stages[stage].worker = nil
        breakOff(index)
        forgetStage(index, stage)
        place()
    }

    /// Gives the worker nothing to do for a while, longer with each failure in a row.
    mutating func rest(_ id: WorkerID, after error: DejaVuError) {
        guard let worker = workers.index(of: id) else { return }
        workers[at: worker].error = error.message
        var rest = limits.restMin
        for _ in 0..<min(workers[at: worker].loadFailures, 32) where rest < limits.restMax { rest = rest * 2 }
        workers[at: worker].loadFailures += 1
        workers[at: worker].restUntil = now + min(rest, limits.restMax)
    }

    /// The pipeline's sequences give their place up, and wait for one elsewhere; guests go home.
    private mutating func evict(_ index: Int) {
        for sequence in pipelines[index].members {
            guard let at = sequences.index(of: sequence) else { continue }
            if sequences[at: at].guest?.pipeline == index {
                leaveGuest(sequence)
            } else if sequences[at: at].phase == .running {
                counters.sequencesParked += 1
                leavePlaces(sequence)
            }
        }
    }
}
