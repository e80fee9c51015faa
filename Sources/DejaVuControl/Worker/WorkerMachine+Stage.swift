import DejaVuCore
import DejaVuKV

/// Which layers the worker has, whom it passes rows on to, and which sequences have cells here.
extension WorkerMachine {
    mutating func assign(_ assignment: StageAssignment) {
        guard id != nil, !stopping else {
            counters.messagesWrong += 1
            return
        }
        while let other = seats.firstIndex(where: { $0.stage.pipeline != assignment.pipeline }) {
            if let engine = leave(other) { spares.append(engine) }
        }
        let index = sit(assignment)
        for spare in spares { actions.append(.unload(spare.id)) }
        spares.removeAll()
        dropWaiting(index)
        seats[index].stage = assignment
        seats[index].announced = false
        seats[index].failed = false
        seats[index].stays = true
        wire()
        if let next = assignment.next { connect(to: next) }
        announceIfReady()
    }

    /// Keeps the engine if it fits, and with it the open sequences; or takes that of the replica, one of before the
    /// last welcome, or a new one.
    private mutating func sit(_ assignment: StageAssignment) -> Int {
        if let index = seat(assignment.stageIndex) {
            let seat = seats[index]
            let fits = seat.engine.fits(assignment)
            let takesOver = assignment.replica.map { holds.contains($0) && $0 != seat.promoting } ?? false
            if fits, !takesOver { return index }
            drop(index)
        }
        let engine: Engine
        var promoting: ReplicaID?
        if let replica = assignment.replica, let hold = holds[replica]?.assignment, !isPromoting(replica),
            hold.pipeline == assignment.pipeline, hold.layers == assignment.layers,
            hold.cellCount == assignment.cellCount, hold.residentCellCount == assignment.residentCellCount
        {
            engine = Engine(id: newEngine(), assignment)
            promoting = replica
            actions.append(.promote(replica, engine.id))
        } else if let spare = spares.firstIndex(where: {
            $0.fits(assignment)
        }) {
            engine = spares.remove(at: spare)
        } else {
            engine = Engine(id: newEngine(), assignment)
            // The memory of what is not wanted any more comes first: both may not fit.
            for spare in spares { actions.append(.unload(spare.id)) }
            spares.removeAll()
            actions.append(.load(engine.id, assignment))
        }
        let index = seats.firstIndex { $0.stage.stageIndex > assignment.stageIndex } ?? seats.count
        seats.insert(Seat(stage: assignment, engine: engine, promoting: promoting), at: index)
        return index
    }

    /// Gives a stage up, engine and all.
    private mutating func drop(_ index: Int) {
        dropWaiting(index)
        let seat = seats.remove(at: index)
        for target in seat.targets { actions.append(.endReplication(seat.engine.id, to: target)) }
        if let replica = seat.promoting {
            // It was told to become an engine that nobody wants now.
            holds.remove(replica)
            forgetReleases(in: replica)
        }
        actions.append(.unload(seat.engine.id))
        forgetReleases(of: seat)
    }

    /// Gives a stage up, with all that was open there. Its engine knows no sequences any more.
    ///
    /// - Returns: the engine, if there is one, for another use or to be dropped. There is none if frames may still be
    ///   written to its cells: nobody else must get them.
    mutating func leave(_ index: Int) -> Engine? {
        guard seats[index].promoting == nil, !mayBeWritten(seats[index]) else {
            drop(index)
            return nil
        }
        dropWaiting(index)
        let seat = seats.remove(at: index)
        if running?.engine == seat.engine.id { running?.commits = false }
        for target in seat.targets { actions.append(.endReplication(seat.engine.id, to: target)) }
        for sequence in seat.sequences.keys { actions.append(.release(seat.engine.id, sequence)) }
        return seat.engine
    }

    private func mayBeWritten(_ seat: Seat) -> Bool {
        seat.sequences.values.contains { $0.isForeign }
            || releases.values.contains {
                $0.engines.contains(seat.engine.id) || (seat.origin.map($0.replicas.contains) ?? false)
            }
    }

    mutating func retire(_ pipeline: PipelineID, stageIndex: Int) {
        guard let index = seat(stageIndex), seats[index].stage.pipeline == pipeline else { return }
        drop(index)
        wire()
    }

    /// Closes the links to workers of which no stage of its own is followed.
    private mutating func wire() {
        let wanted = seats.compactMap(\.stage.next?.incarnation)
        links.removeAll { link in
            guard !wanted.contains(link.peer.incarnation) else { return false }
            actions.append(.disconnect(link.peer.incarnation))
            return true
        }
    }

    private mutating func connect(to peer: PeerAddress) {
        guard peer.incarnation != incarnation else { return }
        if let index = links.firstIndex(where: { $0.peer.incarnation == peer.incarnation }) {
            links[index].peer = peer
        } else {
            links.append(PeerLink(peer: peer, connected: false))
            actions.append(.connect(peer))
        }
    }

    func isConnected(to peer: Incarnation) -> Bool {
        peer == incarnation || links.contains { $0.peer.incarnation == peer && $0.connected }
    }

    mutating func loaded(_ engine: EngineID) {
        if let index = spares.firstIndex(where: { $0.id == engine }) {
            spares[index].ready = true
        } else if let index = seat(of: engine), seats[index].promoting == nil {
            seats[index].engine.ready = true
            announceIfReady()
        }
    }

    mutating func loadFailed(_ engine: EngineID, _ error: DejaVuError) {
        spares.removeAll { $0.id == engine }
        guard let index = seat(of: engine), !seats[index].engine.ready, seats[index].promoting == nil else { return }
        stageFailed(index, error)
    }

    mutating func stageFailed(_ index: Int, _ error: DejaVuError) {
        dropWaiting(index)
        let stage = seats.remove(at: index).stage
        wire()
        send(.assignFailed(stage.pipeline, stage.epoch, stageIndex: stage.stageIndex, error))
    }

    mutating func peerConnected(_ peer: Incarnation) {
        guard let index = links.firstIndex(where: { $0.peer.incarnation == peer }) else { return }
        links[index].connected = true
        announceIfReady()
    }

    mutating func peerLost(_ peer: Incarnation) {
        guard let index = links.firstIndex(where: { $0.peer.incarnation == peer }) else { return }
        send(.peerLost(links.remove(at: index).peer.worker))
    }

    mutating func announceIfReady() {
        for index in seats.indices
        where !seats[index].announced && seats[index].engine.ready && seats[index].stays {
            let seat = seats[index]
            if let next = seat.stage.next, !isConnected(to: next.incarnation) { continue }
            seats[index].announced = true
            let marks = seat.sequences.indices.map {
                SequenceMark(sequence: seat.sequences.keys[$0], watermark: seat.sequences[at: $0].watermark)
            }
            send(.assigned(seat.stage.pipeline, seat.stage.epoch, stageIndex: seat.stage.stageIndex, marks))
        }
    }

    mutating func send(_ message: WorkerMessage) {
        actions.append(.send(message))
    }

    // MARK: Sequences

    mutating func open(_ record: SequenceRecord, cells: CellRun, ticket: Ticket) {
        guard let index = seats.firstIndex(where: { $0.stage.layers == ticket.layers }), seats[index].announced else {
            counters.messagesWrong += 1
            return
        }
        let seat = seats[index]
        precondition(
            cells.start >= 0 && cells.count > 0 && cells.end <= seat.stage.cellCount,
            "\(record.id) was given cells \(cells.start)..<\(cells.end) of \(seat.stage.cellCount)")
        precondition(
            ticket.sequence == record.id && ticket.writer == incarnation && ticket.positionLimit <= cells.count,
            "the ticket \(ticket.number) does not fit \(record.id)")
        precondition(seats[index].tickets.insert(ticket), "the ticket \(ticket.number) was used before")
        note(record)
        if let kept = seat.sequences[record.id] {
            precondition(kept.cells == cells, "\(record.id) was given other cells than its replica had")
            actions.append(.adopt(seat.engine.id, record, ticket))
            return
        }
        seats[index].sequences.insert(OpenSequence(cells: cells, watermark: 0), for: record.id)
        actions.append(.open(seat.engine.id, record, cells: cells, ticket))
    }

    mutating func release(_ sequence: SequenceID, of pipeline: PipelineID) {
        let key = ReleaseKey(sequence: sequence, pipeline: pipeline)
        guard !releases.contains(key) else {
            counters.messagesWrong += 1
            return
        }
        // A pass that still runs may write to the cells; the answer waits for its end.
        var release = Release(waitsForPass: running != nil)
        for index in seats.indices where seats[index].stage.pipeline == pipeline {
            guard let open = seats[index].sequences.remove(sequence) else { continue }
            seats[index].tickets.revoke(sequence)
            let engine = seats[index].engine.id
            if open.isForeign { release.engines.append(engine) }
            actions.append(open.isForeign ? .releaseLanded(engine, sequence) : .release(engine, sequence))
        }
        for index in holds.indices
        where holds[at: index].assignment.pipeline == pipeline && holds[at: index].sequences.remove(sequence) != nil {
            let id = holds.keys[index]
            if let seat = seats.first(where: { $0.promoting == id }) {
                release.engines.append(seat.engine.id)
                actions.append(.releaseLanded(seat.engine.id, sequence))
            } else {
                release.replicas.append(id)
                actions.append(.releaseReplica(id, sequence))
            }
        }
        if keeper(of: sequence) == nil { records.remove(sequence) }
        releases.insert(release, for: key)
        answerRelease(key)
    }

    mutating func answerRelease(_ key: ReleaseKey) {
        guard let release = releases[key], !release.waitsForPass, release.replicas.isEmpty, release.engines.isEmpty
        else { return }
        releases.remove(key)
        send(.released(key.sequence, of: key.pipeline))
        reportIfQuiet()
    }

    /// With a replica's engine everything is gone that a frame could be written to.
    mutating func forgetReleases(in replica: ReplicaID) {
        for key in releases.keys { replicaReleased(replica, key.sequence) }
    }

    /// The same for a stage's engine.
    private mutating func forgetReleases(of seat: Seat) {
        for key in releases.keys { landedReleased(seat.engine.id, key.sequence) }
        if let replica = seat.origin { forgetReleases(in: replica) }
    }

    mutating func landedReleased(_ engine: EngineID, _ sequence: SequenceID) {
        for key in releases.keys where key.sequence == sequence {
            guard let index = releases.index(of: key), let at = releases[at: index].engines.firstIndex(of: engine)
            else { continue }
            releases[at: index].engines.remove(at: at)
            answerRelease(key)
        }
    }
}
