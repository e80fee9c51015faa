import DejaVuCore
import DejaVuKV

/// Who holds the replica of which stage, what is in it, and how it becomes the stage. See docs/recovery.md.
extension ControllerMachine {
    /// Gives every stage of a serving pipeline that has no replica one, as far as there is memory, and brings to
    /// standbys what others hold beside a stage of their own. Not before: a replica that loads must not slow a recovery
    /// down.
    mutating func placeReplicas() {
        guard configuration.replicates, !stopped else { return }
        for index in pipelines.indices where pipelines[index].role.isHome && pipelines[index].phase == .serving {
            // A neighbour of the ring has the first passes of a recovery to run, and clients wait for them.
            let mayLoad = pipelines[index].hasCrossed || pipelines[index].members.isEmpty
            for stage in pipelines[index].stages.indices where pipelines[index].stages[stage].replica == nil {
                if let holder = standby(for: index, stage) ?? (mayLoad ? neighbour(for: index, stage) : nil) {
                    hold(index, stage, at: holder)
                }
            }
        }
        bringToStandby()
    }

    /// One at a time, since the stage is at risk until the standby has everything.
    private mutating func bringToStandby() {
        guard !workers.values.contains(where: { $0.holds.contains { $0.since != nil } }) else { return }
        for index in pipelines.indices where pipelines[index].phase == .serving {
            for stage in pipelines[index].stages.indices {
                guard let holder = pipelines[index].stages[stage].replica?.holder.worker,
                    workers[holder]?.isFree == false, let standby = standby(for: index, stage)
                else { continue }
                dropReplica(index, stage)
                return hold(index, stage, at: standby)
            }
        }
    }

    /// The standby with the fewest replicas that has the memory.
    private func standby(for index: Int, _ stage: Int) -> WorkerID? {
        let layers = pipelines[index].stages[stage].layers.count
        let cells = pipelines[index].cells.cellCount
        var best: Int?
        for candidate in workers.indices {
            let worker = workers[at: candidate]
            guard worker.isFree, worker.isWilling,
                worker.canHold(cells: cells, resident: pipelines[index].swap.residentCount, layers: layers)
            else {
                continue
            }
            if let found = best, workers[at: found].holds.count <= worker.holds.count { continue }
            best = candidate
        }
        return best.map { workers.keys[$0] }
    }

    /// A worker of a prompt pipeline that has the memory, the one with the fewest replicas: it has no replica of its
    /// own to lose. Else the next worker of the ring of stages that has it, and is another than the stage's.
    private func neighbour(for index: Int, _ stage: Int) -> WorkerID? {
        let stages = pipelines[index].stages
        let prompts = pipelines.filter { $0.role == .prompt }.flatMap { $0.stages.compactMap(\.worker) }.filter {
            workers[$0]?.isWilling == true
                && workers[$0]?.canHold(
                    cells: pipelines[index].cells.cellCount, resident: pipelines[index].swap.residentCount,
                    layers: stages[stage].layers.count)
                    == true
        }
        if let best = prompts.min(by: { (workers[$0]?.holds.count ?? 0, $0) < (workers[$1]?.holds.count ?? 0, $1) }) {
            return best
        }
        for step in 1..<max(1, stages.count) {
            guard let id = stages[(stage + step) % stages.count].worker, id != stages[stage].worker,
                let worker = workers[id], worker.isWilling,
                worker.canHold(
                    cells: pipelines[index].cells.cellCount, resident: pipelines[index].swap.residentCount,
                    layers: stages[stage].layers.count)
            else { continue }
            return id
        }
        return nil
    }

    /// Drops what a worker holds for others and has no memory for, since it runs more than before: the last first.
    mutating func shed(_ id: WorkerID) {
        while let worker = workers[id], let last = worker.holds.last,
            worker.replicaBytes > worker.hello.replicaBytesMax
        {
            dropReplica(last.pipeline, last.stage)
        }
    }

    private mutating func hold(_ index: Int, _ stage: Int, at id: WorkerID) {
        guard let at = workers.index(of: id) else { preconditionFailure("\(id) is to hold but not known") }
        let pipeline = pipelines[index]
        let layers = pipeline.stages[stage].layers
        let hello = workers[at: at].hello
        replicaCount += 1
        let replica = ReplicaID(replicaCount)
        let shape = KVShape(bytesPerPositionAndLayer: hello.kvBytesPerPositionAndLayer, layerCount: layers.count)
        workers[at: at].holds.append(
            WorkerState.Hold(
                id: replica, pipeline: index, stage: stage,
                bytes: shape.bytes(
                    ofCells: workers[at: at].held(
                        cells: pipeline.cells.cellCount, resident: pipeline.swap.residentCount)),
                since: now))
        workers[at: at].loadingAt = now
        pipelines[index].stages[stage].replica = PipelineState.Replica(
            id: replica,
            holder: PeerAddress(worker: id, incarnation: hello.incarnation, address: hello.bulkAddress))
        send(
            .hold(
                ReplicaAssignment(
                    id: replica, pipeline: pipeline.id, stageIndex: stage, stageCount: pipeline.stages.count,
                    layers: layers, cellCount: pipeline.cells.cellCount, residentCellCount: pipeline.swap.residentCount)
            ),
            to: id)
    }

    /// Where a worker's replica is, if it is a current one.
    private func hold(_ replica: ReplicaID, of id: WorkerID) -> (worker: Int, hold: Int)? {
        guard let worker = workers.index(of: id),
            let hold = workers[at: worker].holds.firstIndex(where: { $0.id == replica })
        else { return nil }
        return (worker, hold)
    }

    mutating func held(_ replica: ReplicaID, by id: WorkerID) {
        guard let (worker, hold) = hold(replica, of: id) else {
            counters.messagesStale += 1
            return
        }
        workers[at: worker].holds[hold].since = nil
        movesDue = true
        workers[at: worker].loadFailures = 0
        workers[at: worker].error = nil
        counters.replicasHeld += 1
        let index = workers[at: worker].holds[hold].pipeline
        guard pipelines[index].phase == .serving else { return }
        // Ascending: the oldest first.
        for sequence in pipelines[index].members { openReplicas(sequence) }
        placeReplicas()
    }

    /// The worker stays, and is tried again after a rest.
    mutating func holdFailed(_ replica: ReplicaID, _ error: DejaVuError, by id: WorkerID) {
        guard let (worker, hold) = hold(replica, of: id) else {
            counters.messagesStale += 1
            return
        }
        let failed = workers[at: worker].holds[hold]
        dropReplica(failed.pipeline, failed.stage)
        rest(id, after: error)
        placeReplicas()
    }

    /// Opens a running sequence in every replica of its pipeline that is there and does not know it.
    mutating func openReplicas(_ id: SequenceID) {
        guard let at = sequences.index(of: id), sequences[at: at].phase == .running, !sequences[at: at].isProbe else {
            return
        }
        guard let home = sequences[at: at].home else { return }
        let index = home.pipeline
        for (stage, description) in pipelines[index].stages.enumerated() where home.copies[stage] == nil {
            guard let replica = description.replica, let source = description.worker,
                home.openAt[stage] == source, let incarnation = workers[source]?.hello.incarnation,
                let (worker, hold) = hold(replica.id, of: replica.holder.worker),
                workers[at: worker].holds[hold].since == nil
            else { continue }
            let ticket = newTicket(id, description.layers, positionLimit: home.positions, writer: incarnation)
            sequences[at: at].change(index) { home in
                home.copies[stage] = Place.Copy(replica: replica.id, holder: replica.holder.worker, ticket: ticket)
            }
            send(
                .openReplica(replica.id, sequences[at: at].record, cells: home.cells, ticket: ticket),
                to: replica.holder.worker)
        }
    }

    /// A holder says how far it is. At its first word for a sequence the source is told to copy.
    mutating func replicated(_ replica: ReplicaID, _ marks: [SequenceMark], by id: WorkerID) {
        guard let (worker, hold) = hold(replica, of: id) else {
            counters.messagesStale += 1
            return
        }
        let place = workers[at: worker].holds[hold]
        for mark in marks {
            guard let at = sequences.index(of: mark.sequence), let home = sequences[at: at][place.pipeline],
                var copy = home.copies[place.stage], copy.replica == replica
            else { continue }
            copy.opened = true
            copy.watermark = max(copy.watermark, min(mark.watermark, copy.ticket.positionLimit))
            sequences[at: at].change(place.pipeline) { $0.copies[place.stage] = copy }
            subscribe(at, in: place.pipeline, place.stage)
            fed(mark.sequence)
        }
    }

    /// Tells the source to copy, once it and the holder have the sequence.
    private mutating func subscribe(_ at: Int, in index: Int, _ stage: Int) {
        let described = pipelines[index].stages[stage]
        guard let home = sequences[at: at][index], let copy = home.copies[stage], copy.opened, !copy.subscribed,
            let source = described.worker, let holder = described.replica?.holder, home.openAt[stage] == source
        else { return }
        sequences[at: at].change(index) { $0.copies[stage]?.subscribed = true }
        let address = StoreAddress(peer: holder, pipeline: pipelines[index].id, layers: described.layers)
        send(.replicate(sequences.keys[at], copy.ticket, to: address), to: source)
    }

    /// The same for what was found at workers: it may be told already, which does no harm.
    mutating func copyOn(_ id: SequenceID, in index: Int) {
        guard let at = sequences.index(of: id), sequences[at: at][index]?.isLeaving == false else { return }
        for stage in pipelines[index].stages.indices {
            subscribe(at, in: index, stage)
        }
    }

    // MARK: The end of a replica

    /// Nobody holds this stage any more: its holder is dead, or is needed elsewhere, or has cells of another number.
    mutating func dropReplica(_ index: Int, _ stage: Int) {
        guard let replica = pipelines[index].stages[stage].replica else { return }
        pipelines[index].stages[stage].replica = nil
        let holder = replica.holder
        if let at = workers.index(of: holder.worker) {
            workers[at: at].holds.removeAll { $0.id == replica.id }
            send(.discard(replica.id), to: holder.worker)
        }
        var copied = false
        for sequence in pipelines[index].members {
            guard let at = sequences.index(of: sequence), let copy = sequences[at: at][index]?.copies[stage] else {
                continue
            }
            copied = copied || copy.opened
            sequences[at: at].change(index) { $0.copies[stage] = nil }
            fed(sequence)
        }
        if copied, let source = pipelines[index].stages[stage].worker, source != holder.worker {
            let address = StoreAddress(
                peer: holder, pipeline: pipelines[index].id, layers: pipelines[index].stages[stage].layers)
            send(.endReplication(stageIndex: stage, to: address), to: source)
        }
    }

    /// If the new worker of a stage holds its replica, the replica becomes the stage.
    ///
    /// - Returns: the replica, for the worker.
    mutating func takeOver(_ index: Int, _ stage: Int, by id: WorkerID, planned: Bool) -> ReplicaID? {
        guard let replica = pipelines[index].stages[stage].replica, replica.holder.worker == id,
            let at = workers.index(of: id)
        else { return nil }
        workers[at: at].holds.removeAll { $0.id == replica.id }
        pipelines[index].stages[stage].replica = nil
        if !planned {
            counters.takeovers += 1
            pipelines[index].recovery?.byReplica += 1
        }
        for sequence in pipelines[index].members {
            guard let member = sequences.index(of: sequence), sequences[at: member][index]?.copies[stage] != nil else {
                continue
            }
            sequences[at: member].change(index) { place in
                place.copies[stage] = nil
                place.keptAt[stage] = id
                // Until the holder says under the new epoch what it has.
                place.watermarks.reset(stage)
            }
        }
        return replica.id
    }

    // MARK: What is at risk

    /// Sequences for which some stage has no copy, and positions that would be run again if, for each sequence, the
    /// stage with the greatest lag died now.
    func atRisk(_ index: Int) -> (sequences: Int, positions: Int) {
        var count = 0
        var positions = 0
        guard pipelines[index].role.isHome else { return (0, 0) }
        for id in pipelines[index].members {
            guard let sequence = sequences[id], let home = sequence.home, !home.isLeaving, !sequence.isProbe else {
                continue
            }
            if home.copies.contains(where: { $0 == nil }) { count += 1 }
            positions += pipelines[index].stages.indices.reduce(0) { max($0, home.lag($1)) }
        }
        return (count, positions)
    }
}
