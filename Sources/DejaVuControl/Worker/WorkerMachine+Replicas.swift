package import DejaVuCore
import DejaVuKV

/// Both ends of replication: what a standby holds for others, and what a stage copies to one.
extension WorkerMachine {
    // MARK: The holder

    mutating func hold(_ assignment: ReplicaAssignment) {
        let runs = seats.contains {
            $0.stage.pipeline == assignment.pipeline && $0.stage.stageIndex == assignment.stageIndex
        }
        guard id != nil, !runs, !stopping, !holds.contains(assignment.id) else {
            counters.messagesWrong += 1
            return
        }
        // Engines that were kept in case that their layers are asked for again: their memory is needed now.
        for spare in spares { actions.append(.unload(spare.id)) }
        spares.removeAll()
        holds.insert(Hold(assignment: assignment), for: assignment.id)
        actions.append(.loadReplica(assignment))
    }

    mutating func discard(_ id: ReplicaID) {
        guard !isPromoting(id), holds.remove(id) != nil else { return }
        actions.append(.dropReplica(id))
        forgetReleases(in: id)
    }

    mutating func dropHolds() {
        for id in holds.keys { discard(id) }
    }

    /// What it has, or is about to have.
    package var heldReplicas: [ReplicaID] { holds.keys }

    /// Whether it wants that engine: what was unloaded while it loaded may be heard of later.
    package func knows(_ engine: EngineID) -> Bool {
        seats.contains { $0.engine.id == engine } || spares.contains { $0.id == engine }
    }

    func isPromoting(_ id: ReplicaID) -> Bool { seats.contains { $0.promoting == id } }

    mutating func replicaLoaded(_ id: ReplicaID) {
        guard let index = holds.index(of: id), !holds[at: index].ready else { return }
        holds[at: index].ready = true
        if !isPromoting(id) { send(.held(id)) }
    }

    mutating func replicaLoadFailed(_ id: ReplicaID, _ error: DejaVuError) {
        guard let hold = holds.remove(id), !hold.ready else { return }
        forgetReleases(in: id)
        if let index = seats.firstIndex(where: { $0.promoting == id }) {
            seats[index].promoting = nil
            stageFailed(index, error)
        } else {
            send(.holdFailed(id, error))
        }
    }

    mutating func openReplica(_ id: ReplicaID, _ record: SequenceRecord, cells: CellRun, ticket: Ticket) {
        guard let index = holds.index(of: id), holds[at: index].ready, !isPromoting(id) else {
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
        var open = OpenSequence(cells: cells, watermark: 0)
        open.ticket = ticket
        holds[at: index].sequences.insert(open, for: record.id)
        note(record)
        actions.append(.openReplica(id, record, cells: cells, ticket))
    }

    mutating func landed(_ id: ReplicaID, _ marks: [SequenceMark]) {
        guard let index = holds.index(of: id), !isPromoting(id) else { return }
        var news: [SequenceMark] = []
        for mark in marks {
            guard let at = holds[at: index].sequences.index(of: mark.sequence) else { continue }
            holds[at: index].sequences[at: at].watermark = mark.watermark
            news.append(mark)
        }
        if !news.isEmpty { send(.replicated(id, news)) }
    }

    mutating func replicaReleased(_ id: ReplicaID, _ sequence: SequenceID) {
        for key in releases.keys where key.sequence == sequence {
            guard let index = releases.index(of: key), let at = releases[at: index].replicas.firstIndex(of: id) else {
                continue
            }
            releases[at: index].replicas.remove(at: at)
            answerRelease(key)
        }
    }

    /// The replica is the stage's engine now.
    mutating func promoted(_ id: ReplicaID, _ marks: [SequenceMark]) {
        guard let index = seats.firstIndex(where: { $0.promoting == id }), let hold = holds.remove(id) else { return }
        seats[index].promoting = nil
        seats[index].origin = id
        seats[index].engine.ready = true
        for mark in marks {
            guard let held = hold.sequences[mark.sequence] else { continue }
            seats[index].sequences.insert(
                OpenSequence(cells: held.cells, watermark: mark.watermark, isForeign: true), for: mark.sequence)
        }
        announceIfReady()
    }

    // MARK: The source

    mutating func replicate(_ sequence: SequenceID, _ ticket: Ticket, to target: StoreAddress) {
        guard let index = seats.firstIndex(where: { $0.stage.layers.contains(ticket.layers) }),
            seats[index].tickets.ticket(of: sequence) != nil, ticket.sequence == sequence,
            ticket.writer == incarnation, let open = seats[index].sequences.index(of: sequence)
        else {
            counters.messagesWrong += 1
            return
        }
        // A controller that has taken this worker over may not know what was asked before.
        let copy = Copy(target: target, ticket: ticket.number)
        guard !seats[index].sequences[at: open].copies.contains(copy) else { return }
        seats[index].sequences[at: open].copies.append(copy)
        if !seats[index].targets.contains(target) { seats[index].targets.append(target) }
        actions.append(.replicate(seats[index].engine.id, sequence, ticket, to: target))
    }

    mutating func endReplication(stageIndex: Int, to target: StoreAddress) {
        guard let seat = seat(stageIndex), let index = seats[seat].targets.firstIndex(of: target) else { return }
        seats[seat].targets.remove(at: index)
        for open in seats[seat].sequences.indices {
            seats[seat].sequences[at: open].copies.removeAll { $0.target == target }
        }
        actions.append(.endReplication(seats[seat].engine.id, to: target))
    }

    // MARK: The token stage

    mutating func share(_ sequence: SequenceID, _ ticket: Ticket) {
        guard let index = seats.firstIndex(where: { $0.stage.layers.contains(ticket.layers) }),
            let own = seats[index].tickets.ticket(of: sequence), ticket.sequence == sequence,
            ticket.positionLimit <= own.positionLimit, let at = seats[index].sequences.index(of: sequence)
        else {
            counters.messagesWrong += 1
            return
        }
        seats[index].sequences[at: at].isForeign = true
        let stage = seats[index].stage
        actions.append(.share(seats[index].engine.id, ticket, pipeline: stage.pipeline, stage.layers))
    }

    mutating func shared(_ engine: EngineID, _ sequence: SequenceID, ticket: UInt64, watermark: Int) {
        guard let index = seat(of: engine), let at = seats[index].sequences.index(of: sequence) else { return }
        raise(index, at, to: watermark)
        send(.shared(sequence, ticket: ticket, watermark: watermark))
    }

    mutating func landed(_ engine: EngineID, _ marks: [SequenceMark]) {
        guard let index = seat(of: engine) else { return }
        var news: [SequenceMark] = []
        for mark in marks {
            guard let at = seats[index].sequences.index(of: mark.sequence) else { continue }
            raise(index, at, to: mark.watermark)
            news.append(mark)
        }
        guard !news.isEmpty else { return }
        send(.landed(seats[index].stage.pipeline, stageIndex: seats[index].stage.stageIndex, news))
    }

    private mutating func raise(_ seat: Int, _ at: Int, to watermark: Int) {
        let known = seats[seat].sequences[at: at].watermark
        seats[seat].sequences[at: at].watermark = max(known, watermark)
    }
}
