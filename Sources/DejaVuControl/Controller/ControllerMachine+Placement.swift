import DejaVuCore
import DejaVuKV

/// Who runs which stage. A function of the living workers and of who has what already; it keeps no state of its own.
extension ControllerMachine {
    /// The epoch is over: nothing that is in flight counts any more. What was committed stays.
    mutating func breakOff(_ index: Int) {
        guard pipelines[index].phase != .forming else { return }
        pipelines[index].phase = .forming
        pipelines[index].lastCrossing = nil
        counters.passesVoided += UInt64(pipelines[index].flights.count)
        pipelines[index].flights.removeAll()
        for stage in pipelines[index].stages.indices {
            pipelines[index].stages[stage].ready = false
            if let id = pipelines[index].stages[stage].worker, let worker = workers.index(of: id) {
                workers[at: worker].assigningSince = nil
            }
        }
        for sequence in pipelines[index].members {
            guard let at = sequences.index(of: sequence) else { continue }
            sequences[at: at].inFlight = 0
            if sequences[at: at].phase == .leaving {
                settle(sequence)
            } else if sequences[at: at].isProbe {
                end(sequence, .cancelled)
            }
        }
    }

    /// Gives every pipeline that lacks workers those that are free, the nearest to completion first. If they do not
    /// suffice, a pipeline that cannot run anyway gives its own. What is left in pipelines that cannot run goes to
    /// those that can.
    mutating func place() {
        guard !stopped else { return }
        defer { placeReplicas() }
        let order = pipelines.indices.filter { pipelines[$0].phase == .forming }.sorted {
            (pipelines[$0].vacancies, $0) < (pipelines[$1].vacancies, $1)
        }
        for (rank, index) in order.enumerated() {
            guard let takers = takers(for: index, poolingWith: order[(rank + 1)...]) else { continue }
            for (stage, id) in takers { take(id, pipeline: index, stage: stage) }
            assign(index)
        }
        guard pipelines.contains(where: { $0.phase != .forming }) else { return }
        for index in pipelines.indices where pipelines[index].phase == .forming { evict(index) }
    }

    /// A worker for every vacant stage, or nil if there are too few: the holder of its replica; else whoever is free,
    /// the one with the fewest replicas first; else one from the pool.
    private func takers(for index: Int, poolingWith others: ArraySlice<Int>) -> [(stage: Int, worker: WorkerID)]? {
        var pool = workers.indices.filter {
            workers[at: $0].place == nil && workers[at: $0].restUntil == nil
        }.sorted { (workers[at: $0].holds.count, $0) < (workers[at: $1].holds.count, $1) }
        for other in others.reversed() {
            for stage in pipelines[other].stages {
                if let id = stage.worker, let worker = workers.index(of: id) { pool.append(worker) }
            }
        }
        var takers: [(stage: Int, worker: WorkerID)] = []
        let vacant = pipelines[index].stages.indices.filter { pipelines[index].stages[$0].worker == nil }
        for stage in vacant {
            guard let holder = pipelines[index].stages[stage].replica?.holder.worker,
                let place = pool.firstIndex(where: { workers.keys[$0] == holder })
            else { continue }
            pool.remove(at: place)
            takers.append((stage, holder))
        }
        for stage in vacant where !takers.contains(where: { $0.stage == stage }) {
            let description = pipelines[index].stages[stage]
            let fit = pool.firstIndex {
                workers[at: $0].cellCapacity(layers: description.layers.count) >= CellRun.granularity
            }
            guard let fit else { return nil }
            takers.append((stage, workers.keys[pool.remove(at: fit)]))
        }
        return takers
    }

    private mutating func take(_ id: WorkerID, pipeline index: Int, stage: Int) {
        guard let worker = workers.index(of: id) else { preconditionFailure("\(id) is placed but not known") }
        if let former = workers[at: worker].place {
            pipelines[former.pipeline].stages[former.stage].worker = nil
        }
        let taken = pipelines[index].stages[stage]
        if taken.replica?.holder.worker != id { dropReplica(index, stage) }
        for hold in workers[at: worker].holds where hold.id != taken.replica?.id {
            dropReplica(hold.pipeline, hold.stage)
        }
        workers[at: worker].place = WorkerState.Place(pipeline: index, stage: stage)
        pipelines[index].stages[stage] = PipelineState.Stage(
            layers: taken.layers, worker: id, replica: pipelines[index].stages[stage].replica)
    }

    /// Begins a new epoch: every stage is told its place, also those that keep it.
    private mutating func assign(_ index: Int) {
        if pipelines[index].epoch > Epoch(0) { counters.recoveries += 1 }
        pipelines[index].epoch = pipelines[index].epoch.next
        pipelines[index].phase = .loading
        let members = stageWorkers(of: index)
        let cellCount = cellCount(for: index, members)
        let changes = cellCount != pipelines[index].cells.cellCount
        if changes { for stage in members.indices { dropReplica(index, stage) } }
        let epoch = pipelines[index].epoch
        pipelines[index].recovery?.placed(at: now, epoch: epoch)
        for (stage, id) in members.enumerated() {
            tell(
                id, pipeline: index, stage: stage, cellCount: cellCount,
                next: stage + 1 < members.count ? members[stage + 1] : nil)
        }
        guard changes else { return }
        // Every engine is made anew, so all cells are quiet, and who had some waits for a place again.
        evict(index)
        precondition(pipelines[index].cells.usedCount == 0, "cells are in use in engines that are gone")
        pipelines[index].cells = CellAllocator(cellCount: cellCount)
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
        for (stage, id) in members.enumerated() {
            guard let worker = workers[id] else { preconditionFailure("\(id) is placed but not known") }
            capacity = min(capacity, worker.cellCapacity(layers: pipelines[index].stages[stage].layers.count))
        }
        let current = pipelines[index].cells.cellCount
        return current > 0 && current <= capacity ? current : capacity
    }

    private mutating func tell(_ id: WorkerID, pipeline index: Int, stage: Int, cellCount: Int, next: WorkerID?) {
        guard let at = workers.index(of: id) else { preconditionFailure("\(id) is placed but not known") }
        let pipeline = pipelines[index]
        let layers = pipeline.stages[stage].layers
        let engine = WorkerState.Engine(pipeline: pipeline.id, layers: layers, cellCount: cellCount)
        let keeps = workers[at: at].engine == engine
        workers[at: at].engine = engine
        workers[at: at].assigningSince = now
        workers[at: at].progressAt = now
        let replica = takeOver(index, stage, by: id)
        if !keeps, replica == nil { forgetHoldings(of: id) }
        let peer = next.flatMap { next in
            workers[next].map {
                PeerAddress(worker: next, incarnation: $0.hello.incarnation, address: $0.hello.peerAddress)
            }
        }
        send(
            .assign(
                StageAssignment(
                    pipeline: pipeline.id, epoch: pipeline.epoch, stageIndex: stage, stageCount: pipeline.stages.count,
                    layers: layers, cellCount: cellCount, next: peer, replica: replica)), to: id)
    }

    mutating func assigned(
        _ id: WorkerID, _ pipeline: PipelineID, _ epoch: Epoch, stage: Int, _ marks: [SequenceMark]
    ) {
        guard let place = currentPlace(of: id, pipeline, epoch), place.stage == stage,
            pipelines[place.pipeline].phase == .loading, let worker = workers.index(of: id)
        else { return }
        workers[at: worker].assigningSince = nil
        workers[at: worker].loadFailures = 0
        workers[at: worker].error = nil
        pipelines[place.pipeline].stages[stage].ready = true
        for mark in marks {
            guard let at = sequences.index(of: mark.sequence), sequences[at: at].pipeline == place.pipeline,
                sequences[at: at].openAt[stage] == id || sequences[at: at].keptAt[stage] == id
            else { continue }
            let level = min(mark.watermark, sequences[at: at].record.knownCount, sequences[at: at].positionsReserved)
            sequences[at: at].watermarks.raise(stage, to: level)
        }
        if pipelines[place.pipeline].stages.allSatisfy({ $0.ready }) { serve(place.pipeline) }
    }

    /// All stages are there: whoever has a place gets it back in the stages that do not know it.
    private mutating func serve(_ index: Int) {
        pipelines[index].phase = .serving
        pipelines[index].dirty = true
        pipelines[index].recovery?.restored(at: now)
        admissionDue = true
        for sequence in pipelines[index].members {
            guard let at = sequences.index(of: sequence), sequences[at: at].phase == .running else { continue }
            openEverywhere(sequence)
            openReplicas(sequence)
        }
        placeReplicas()
    }

    /// The worker stays, without a stage, and is tried again after a rest.
    mutating func assignFailed(_ id: WorkerID, _ pipeline: PipelineID, _ epoch: Epoch, _ error: DejaVuError) {
        guard let place = currentPlace(of: id, pipeline, epoch), let worker = workers.index(of: id) else { return }
        workers[at: worker].place = nil
        workers[at: worker].engine = nil
        workers[at: worker].assigningSince = nil
        rest(id, after: error)
        pipelines[place.pipeline].stages[place.stage].worker = nil
        breakOff(place.pipeline)
        forgetHoldings(of: id)
        self.place()
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

    /// The pipeline's sequences give their place up, and wait for one elsewhere.
    private mutating func evict(_ index: Int) {
        for sequence in pipelines[index].members {
            guard let at = sequences.index(of: sequence), sequences[at: at].phase == .running else { continue }
            sequences[at: at].phase = .leaving
            counters.sequencesParked += 1
            settle(sequence)
        }
    }
}
