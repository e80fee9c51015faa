import DejaVuCore
import DejaVuKV

/// Both ends of replication: what a standby holds for others, and what a stage copies to one.
extension WorkerMachine {
    // MARK: The holder

    mutating func hold(_ assignment: ReplicaAssignment) {
        guard id != nil, stage == nil, !stopping, !holds.contains(assignment.id) else {
            counters.messagesWrong += 1
            return
        }
        // An engine that was kept in case that its layers are asked for again: its memory is needed now.
        if engine != nil {
            engine = nil
            actions.append(.unload)
        }
        holds.insert(Hold(assignment: assignment), for: assignment.id)
        actions.append(.loadReplica(assignment))
    }

    mutating func discard(_ id: ReplicaID) {
        guard let hold = holds.remove(id) else { return }
        actions.append(.dropReplica(id))
        // With the engine everything is gone that a frame could be written to.
        for sequence in hold.releasing { releasedOnce(sequence) }
    }

    /// One sequence may be in several replicas, but its release is asked for once and answered once.
    private mutating func releasedOnce(_ sequence: SequenceID) {
        if !holds.values.contains(where: { $0.releasing.contains(sequence) }) { send(.released(sequence)) }
    }

    mutating func dropHolds() {
        for id in holds.keys where id != promoting { discard(id) }
    }

    mutating func replicaLoaded(_ id: ReplicaID) {
        guard let index = holds.index(of: id), !holds[at: index].ready else { return }
        holds[at: index].ready = true
        if promoting != id { send(.held(id)) }
    }

    mutating func replicaLoadFailed(_ id: ReplicaID, _ error: DejaVuError) {
        guard let hold = holds.remove(id), !hold.ready else { return }
        if promoting == id {
            promoting = nil
            for sequence in hold.releasing { releasedOnce(sequence) }
            stageFailed(error)
        } else {
            send(.holdFailed(id, error))
        }
    }

    mutating func openReplica(_ id: ReplicaID, _ record: SequenceRecord, cells: CellRun, ticket: Ticket) {
        guard let index = holds.index(of: id), holds[at: index].ready, promoting != id else {
            counters.messagesWrong += 1
            return
        }
        let place = holds[at: index].assignment
        precondition(
            cells.start >= 0 && cells.count > 0 && cells.end <= place.cellCount,
            "\(record.id) was given cells \(cells.start)..<\(cells.end) of \(place.cellCount)")
        precondition(
            ticket.sequence == record.id && ticket.layers == place.layers && ticket.positionLimit <= cells.count,
            "the ticket \(ticket.number) does not fit \(record.id)")
        holds[at: index].sequences.insert(OpenSequence(cells: cells, watermark: 0), for: record.id)
        actions.append(.openReplica(id, record, cells: cells, ticket))
    }

    mutating func landed(_ id: ReplicaID, _ marks: [SequenceMark]) {
        guard let index = holds.index(of: id), promoting != id else { return }
        var news: [SequenceMark] = []
        for mark in marks {
            guard let at = holds[at: index].sequences.index(of: mark.sequence) else { continue }
            holds[at: index].sequences[at: at].watermark = mark.watermark
            news.append(mark)
        }
        if !news.isEmpty { send(.replicated(id, news)) }
    }

    /// - Returns: whether the sequence is in a replica.
    mutating func releaseReplica(_ sequence: SequenceID) -> Bool {
        var found = false
        for index in holds.indices where holds[at: index].sequences.remove(sequence) != nil {
            holds[at: index].releasing.append(sequence)
            let id = holds.keys[index]
            if promoting != id { actions.append(.releaseReplica(id, sequence)) }
            found = true
        }
        return found
    }

    mutating func replicaReleased(_ id: ReplicaID, _ sequence: SequenceID) {
        guard let index = holds.index(of: id),
            let at = holds[at: index].releasing.firstIndex(of: sequence)
        else { return }
        holds[at: index].releasing.remove(at: at)
        releasedOnce(sequence)
    }

    // MARK: Takeover

    /// The replica becomes the stage, and what else is held is dropped.
    ///
    /// - Returns: false if there is no such replica, or it is another stage's.
    mutating func promote(_ id: ReplicaID, _ assignment: StageAssignment) -> Bool {
        guard let place = holds[id]?.assignment, place.pipeline == assignment.pipeline,
            place.layers == assignment.layers, place.cellCount == assignment.cellCount
        else { return false }
        promoting = id
        dropHolds()
        dropSequences()
        engine = Engine(
            layers: assignment.layers, cellCount: assignment.cellCount, pipeline: assignment.pipeline,
            loadEpoch: assignment.epoch, ready: false)
        actions.append(.promote(id))
        return true
    }

    mutating func promoted(_ id: ReplicaID, _ marks: [SequenceMark]) {
        guard promoting == id, let hold = holds.remove(id) else { return }
        promoting = nil
        engine?.ready = true
        for mark in marks {
            guard let held = hold.sequences[mark.sequence] else { continue }
            sequences.insert(OpenSequence(cells: held.cells, watermark: mark.watermark), for: mark.sequence)
        }
        for sequence in hold.releasing {
            actions.append(.release(sequence))
            releasedOnce(sequence)
        }
        announceIfReady()
    }

    /// Another engine is wanted before the replica has become the stage's.
    mutating func abandonPromotion() {
        guard promoting != nil else { return }
        promoting = nil
        engine = nil
        actions.append(.unload)
    }

    // MARK: The source

    mutating func replicate(_ sequence: SequenceID, _ ticket: Ticket, to holder: PeerAddress) {
        guard stage != nil, tickets.ticket(of: sequence) != nil, ticket.sequence == sequence,
            ticket.writer == incarnation
        else {
            counters.messagesWrong += 1
            return
        }
        if !holders.contains(holder.incarnation) { holders.append(holder.incarnation) }
        actions.append(.replicate(sequence, ticket, to: holder))
    }

    mutating func endReplication(to holder: Incarnation) {
        guard let index = holders.firstIndex(of: holder) else { return }
        holders.remove(at: index)
        actions.append(.endReplication(to: holder))
    }

    func checkReplicas() {
        precondition(holds.isEmpty || stage == nil || promoting != nil, "a stage and a replica on one worker")
        precondition(promoting.map { holds.contains($0) } ?? true, "a replica is taken over that is not held")
        precondition(holders.isEmpty || stage != nil, "rows are copied without a stage")
        for index in holds.indices {
            let hold = holds[at: index]
            precondition(hold.ready || hold.sequences.isEmpty, "sequences are open in a replica without an engine")
            var runs = hold.sequences.values.map(\.cells)
            runs.sort { $0.start < $1.start }
            for place in runs.indices.dropFirst() {
                precondition(runs[place - 1].end <= runs[place].start, "two sequences of a replica share cells")
            }
        }
    }
}
