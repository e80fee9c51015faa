import DejaVuCore
import DejaVuKV

/// Which layers the worker has, whom it passes rows on to, and which sequences have cells here.
extension WorkerMachine {
    mutating func assign(_ assignment: StageAssignment) {
        guard id != nil, !stopping else {
            counters.messagesWrong += 1
            return
        }
        dropWaiting()
        stage = assignment
        announced = false
        failed = false
        load(assignment)
        wire(assignment.next)
        announceIfReady()
    }

    /// Keeps the engine if it fits, and with it the open sequences if the pipeline is the same; or takes that of the
    /// replica.
    private mutating func load(_ assignment: StageAssignment) {
        if let replica = assignment.replica, replica != promoting, promote(replica, assignment) { return }
        let fits = engine?.layers == assignment.layers && engine?.cellCount == assignment.cellCount
        if fits, engine?.pipeline == assignment.pipeline {
            dropHolds()
            return
        }
        abandonPromotion()
        dropHolds()
        if fits, engine != nil {
            forgetSequences()
            engine?.pipeline = assignment.pipeline
            return
        }
        // The new engine knows no sequences, so the old one's need not be released one by one.
        dropSequences()
        engine = Engine(
            layers: assignment.layers, cellCount: assignment.cellCount, pipeline: assignment.pipeline,
            loadEpoch: assignment.epoch, ready: false)
        actions.append(.load(assignment))
    }

    private mutating func wire(_ next: PeerAddress?) {
        if let link, let next, link.peer.incarnation == next.incarnation {
            self.link?.peer = next
            return
        }
        if let link { actions.append(.disconnect(link.peer.incarnation)) }
        link = next.map { PeerLink(peer: $0, connected: false) }
        if let next { actions.append(.connect(next)) }
    }

    mutating func loaded(_ pipeline: PipelineID, _ epoch: Epoch) {
        guard let engine, !engine.ready, engine.loadEpoch == epoch, promoting == nil else { return }
        self.engine?.ready = true
        announceIfReady()
    }

    mutating func loadFailed(_ pipeline: PipelineID, _ epoch: Epoch, _ error: DejaVuError) {
        guard let engine, !engine.ready, engine.loadEpoch == epoch, promoting == nil else { return }
        stageFailed(error)
    }

    mutating func stageFailed(_ error: DejaVuError) {
        engine = nil
        guard let assignment = stage else { return }
        stage = nil
        dropWaiting()
        send(.assignFailed(assignment.pipeline, assignment.epoch, error))
    }

    mutating func peerConnected(_ peer: Incarnation) {
        guard let link, link.peer.incarnation == peer else { return }
        self.link?.connected = true
        announceIfReady()
    }

    mutating func peerLost(_ peer: Incarnation) {
        guard let lost = link, lost.peer.incarnation == peer else { return }
        link = nil
        guard let stage, stage.next?.incarnation == peer else { return }
        send(.peerLost(lost.peer.worker))
    }

    mutating func announceIfReady() {
        guard let stage, !announced, let engine, engine.ready else { return }
        guard stage.next == nil || link?.connected == true else { return }
        announced = true
        let marks = sequences.indices.map {
            SequenceMark(sequence: sequences.keys[$0], watermark: sequences[at: $0].watermark)
        }
        send(.assigned(stage.pipeline, stage.epoch, stageIndex: stage.stageIndex, marks))
    }

    mutating func send(_ message: WorkerMessage) {
        actions.append(.send(message))
    }

    // MARK: Sequences

    mutating func open(_ record: SequenceRecord, cells: CellRun, ticket: Ticket) {
        guard let stage, announced else {
            counters.messagesWrong += 1
            return
        }
        precondition(
            cells.start >= 0 && cells.count > 0 && cells.end <= stage.cellCount,
            "\(record.id) was given cells \(cells.start)..<\(cells.end) of \(stage.cellCount)")
        precondition(
            ticket.sequence == record.id && ticket.layers == stage.layers && ticket.writer == incarnation
                && ticket.positionLimit <= cells.count, "the ticket \(ticket.number) does not fit \(record.id)")
        precondition(tickets.insert(ticket), "the ticket \(ticket.number) was used before")
        if let kept = sequences[record.id] {
            precondition(kept.cells == cells, "\(record.id) was given other cells than its replica had")
            actions.append(.adopt(record, ticket))
            return
        }
        sequences.insert(OpenSequence(cells: cells, watermark: 0), for: record.id)
        actions.append(.open(record, cells: cells, ticket))
    }

    mutating func release(_ sequence: SequenceID) {
        if releaseReplica(sequence) { return }
        if sequences.remove(sequence) != nil {
            tickets.revoke(sequence)
            actions.append(.release(sequence))
        }
        // A pass that still runs may write to the cells; the answer waits for its end.
        if running == nil { send(.released(sequence)) } else { releasing.append(sequence) }
    }
}
