import DejaVuControl
import DejaVuCore
import DejaVuKV

/// What a standby does with the replicas that it holds, and how one becomes the stage.
extension World {
    /// Everything but loading and computing takes no time.
    mutating func doAtOnce(_ job: SimulatedProcess.Job, _ slot: Int) {
        switch job {
        case .open(let engine, let record, let cells, let ticket): open(slot, engine, record, cells, ticket)
        case .share(let engine, let ticket, let pipeline): share(slot, engine, ticket, pipeline)
        case .release(let engine, let sequence): release(slot, engine, sequence)
        case .releaseLanded(let engine, let sequence): releaseLanded(slot, engine, sequence)
        case .adopt(let engine, let record, let ticket): adopt(slot, engine, record, ticket)
        case .load, .loadReplica:
            processes[slot].loads.append(job)
            if processes[slot].loads.count == 1 { beginLoad(slot) }
        case .unload(let engine):
            unload(slot, engine)
            for (replica, other) in processes[slot].promotions where other == engine {
                forgetLoads(slot) { $0.loadedReplica == replica }
            }
            processes[slot].promotions = processes[slot].promotions.filter { $0.value != engine }
            forgetLoads(slot) { if case .load(engine, _) = $0 { true } else { false } }
        case .dropReplica(let id):
            processes[slot].replicas.removeAll { $0.replica == id }
            forgetLoads(slot) { $0.loadedReplica == id }
        case .openReplica(let id, let record, let cells, let ticket): openReplica(slot, id, record, cells, ticket)
        case .releaseReplica(let id, let sequence): releaseReplica(slot, id, sequence)
        case .promote(let id, let engine): promote(slot, id, engine)
        case .made: made(slot)
        case .compute: preconditionFailure("a job that takes time was done at once")
        }
    }

    // MARK: Loading

    private mutating func beginLoad(_ slot: Int) {
        guard processes[slot].alive, !processes[slot].loads.isEmpty else { return }
        processes[slot].isLoading = true
        queue.push(
            .loadDone(slot: slot, generation: processes[slot].generation), at: now + scenario.workers[slot].loadTime)
    }

    private mutating func forgetLoads(_ slot: Int, _ isUnwanted: (SimulatedProcess.Job) -> Bool) {
        let loads = processes[slot].loads
        if let first = loads.first, isUnwanted(first) { processes[slot].isLoadInVain = true }
        processes[slot].loads = loads.prefix(1) + loads.dropFirst().filter { !isUnwanted($0) }
    }

    /// The compute thread takes it when it has time.
    mutating func loadDone(_ slot: Int, _ generation: UInt64) {
        guard processes[slot].alive, processes[slot].generation == generation else { return }
        processes[slot].isLoading = false
        add(slot, .made)
    }

    private mutating func made(_ slot: Int) {
        let load = processes[slot].loads.removeFirst()
        processes[slot].loading += 1
        let isWanted = !processes[slot].isLoadInVain
        processes[slot].isLoadInVain = false
        switch load {
        case .load(let engine, let assignment) where isWanted: finishLoad(slot, engine, assignment)
        case .loadReplica(let assignment) where isWanted:
            finishReplicaLoad(slot, assignment)
            if let engine = processes[slot].promotions.removeValue(forKey: assignment.id) {
                promote(slot, assignment.id, engine)
            }
        default: break
        }
        beginLoad(slot)
    }

    private mutating func finishReplicaLoad(_ slot: Int, _ assignment: ReplicaAssignment) {
        if processes[slot].failsLoadNext {
            processes[slot].failsLoadNext = false
            processes[slot].failedReplicas.append(assignment.id)
            let error = DejaVuError(.invalidFile, "the weights cannot be read")
            return work(slot, .replicaLoadFailed(assignment.id, error))
        }
        processes[slot].replicas.append(
            SimulatedStore(
                engine: engine(
                    slot, assignment.layers, cellCount: assignment.cellCount,
                    residentCount: assignment.residentCellCount), pipeline: assignment.pipeline,
                replica: assignment.id))
        checkMemory(slot)
        work(slot, .replicaLoaded(assignment.id))
    }

    private mutating func openReplica(
        _ slot: Int, _ id: ReplicaID, _ record: SequenceRecord, _ cells: CellRun, _ ticket: Ticket
    ) {
        guard let index = processes[slot].replicas.firstIndex(where: { $0.replica == id }) else {
            return note("process \(slot) was told to open \(record.id) in \(id), which it has not")
        }
        note(processes[slot].replicas[index].engine.open(record, cells: cells))
        do throws(DejaVuError) {
            try processes[slot].replicas[index].ledger.open(ticket, tokens: record.prompt + record.outputs)
        } catch {
            note("the ledger of \(id) refuses \(record.id): \(error)")
        }
        work(slot, .landed(id, [SequenceMark(sequence: record.id, watermark: 0)]))
    }

    private mutating func releaseReplica(_ slot: Int, _ id: ReplicaID, _ sequence: SequenceID) {
        guard let index = processes[slot].replicas.firstIndex(where: { $0.replica == id }),
            let ticket = processes[slot].replicas[index].ledger.ticket(of: sequence),
            let settled = processes[slot].replicas[index].ledger.release(sequence)
        else { return note("process \(slot) was told to release \(sequence) in \(id), which it has not") }
        processes[slot].replicas[index].engine.release(sequence)
        processes[slot].replicas[index].releasing.append((ticket.number, .replicaReleased(id, sequence)))
        settle(settled, slot, .replica(index))
    }

    private mutating func open(
        _ slot: Int, _ engine: EngineID, _ record: SequenceRecord, _ cells: CellRun, _ ticket: Ticket
    ) {
        guard let stage = processes[slot].stage(engine) else {
            return note("process \(slot) was told to open \(record.id) in an engine that it has not")
        }
        note(processes[slot].stages[stage].store.engine.open(record, cells: cells))
        do throws(DejaVuError) {
            try processes[slot].stages[stage].store.ledger.open(ticket, tokens: record.prompt + record.outputs)
        } catch {
            note("the ledger of process \(slot) refuses \(record.id): \(error)")
        }
    }

    /// The stage's own sequence.
    private mutating func release(_ slot: Int, _ engine: EngineID, _ sequence: SequenceID) {
        guard let stage = processes[slot].stage(engine) else { return }
        processes[slot].stages[stage].store.engine.release(sequence)
        _ = processes[slot].stages[stage].store.ledger.release(sequence)
        processes[slot].stages[stage].book.sourceReleased(sequence)
    }

    private mutating func releaseLanded(_ slot: Int, _ engine: EngineID, _ sequence: SequenceID) {
        guard let stage = processes[slot].stage(engine) else { return work(slot, .landedReleased(engine, sequence)) }
        guard let ticket = processes[slot].stages[stage].store.ledger.ticket(of: sequence),
            let settled = processes[slot].stages[stage].store.ledger.release(sequence)
        else { return note("process \(slot) was told to release \(sequence), which has not landed there") }
        processes[slot].stages[stage].store.engine.release(sequence)
        processes[slot].stages[stage].book.sourceReleased(sequence)
        processes[slot].stages[stage].store.releasing.append((ticket.number, .landedReleased(engine, sequence)))
        settle(settled, slot, .stage(stage))
    }

    private mutating func unload(_ slot: Int, _ engine: EngineID) {
        guard let stage = processes[slot].stage(engine) else { return }
        for link in processes[slot].stages.remove(at: stage).bulk { quieten(link, from: slot) }
    }

    private mutating func promote(_ slot: Int, _ id: ReplicaID, _ engine: EngineID) {
        // It was told before it could say so.
        if processes[slot].failedReplicas.contains(id) { return }
        guard let index = processes[slot].replicas.firstIndex(where: { $0.replica == id }) else {
            guard processes[slot].loads.contains(where: { $0.loadedReplica == id }) else {
                return note("process \(slot) was told to take over with \(id), which it has not")
            }
            processes[slot].promotions[id] = engine
            return
        }
        var store = processes[slot].replicas.remove(at: index)
        store.replica = nil
        let marks = store.engine.openSequences.map {
            SequenceMark(sequence: $0, watermark: store.engine.watermark(of: $0))
        }
        processes[slot].stages.append(.init(id: engine, store: store))
        work(slot, .promoted(id, marks))
    }

    private mutating func adopt(_ slot: Int, _ engine: EngineID, _ record: SequenceRecord, _ ticket: Ticket) {
        guard let stage = processes[slot].stage(engine) else {
            return note("process \(slot) was told to adopt \(record.id) in an engine that it has not")
        }
        note(processes[slot].stages[stage].store.engine.adopt(record))
        do throws(DejaVuError) {
            settle(try processes[slot].stages[stage].store.ledger.renew(ticket), slot, .stage(stage))
            giveUpLandings(of: record.id, processes[slot].stages[stage].store.layers, slot, .stage(stage))
            let told = try processes[slot].stages[stage].store.ledger.tell(
                record.prompt + record.outputs, at: 0, of: record.id)
            settle(told, slot, .stage(stage))
            forgetParts(slot, stage, record.id)
        } catch {
            note("the ledger of process \(slot) refuses the new ticket of \(record.id): \(error)")
        }
    }

    /// What only some layers of the stage have.
    private mutating func forgetParts(_ slot: Int, _ stage: Int, _ sequence: SequenceID) {
        var ledger = processes[slot].stages[stage].store.ledger
        let least = ledger.watermark(of: sequence, layers: ledger.layers)
        let (_, settled) = ledger.lower(sequence, layers: ledger.layers, to: least)
        processes[slot].stages[stage].store.ledger = ledger
        settle(settled, slot, .stage(stage))
    }

    // MARK: What prompt stages bring

    private mutating func share(_ slot: Int, _ id: EngineID, _ ticket: Ticket, _ pipeline: PipelineID) {
        guard let stage = processes[slot].stage(id) else {
            return note("process \(slot) was told to share an engine that it has not")
        }
        processes[slot].stages[stage].store.pipeline = pipeline
        endShares(of: ticket.sequence, ticket.layers, slot, stage)
        do throws(DejaVuError) {
            try processes[slot].stages[stage].store.ledger.share(ticket)
        } catch {
            return note("the ledger of process \(slot) refuses a share of \(ticket.sequence): \(error)")
        }
        let store = processes[slot].stages[stage].store
        let watermark = store.ledger.watermark(of: ticket.sequence, layers: store.layers)
        work(slot, .shared(id, ticket.sequence, ticket: ticket.number, watermark: watermark))
    }

    /// The stage's own pass is about to write: nobody else does any more.
    mutating func passBegins(_ pass: Pass, _ slot: Int, _ id: EngineID) {
        guard let stage = processes[slot].stage(id) else { return }
        let layers = processes[slot].stages[stage].store.layers
        for entry in pass.entries { endShares(of: entry.sequence, layers, slot, stage) }
    }

    private mutating func endShares(of sequence: SequenceID, _ layers: LayerRange, _ slot: Int, _ stage: Int) {
        guard !processes[slot].stages[stage].store.ledger.shares(of: sequence).isEmpty else { return }
        settle(
            processes[slot].stages[stage].store.ledger.withdrawShares(of: sequence, layers: layers), slot, .stage(stage)
        )
        giveUpLandings(of: sequence, layers, slot, .stage(stage))
    }

    /// What lands there under a dead ticket writes nothing any more.
    private mutating func giveUpLandings(
        of sequence: SequenceID, _ layers: LayerRange, _ slot: Int, _ place: SimulatedProcess.StorePlace
    ) {
        for landing in processes[slot][place].landings {
            let span = landing.frame.header.span
            guard span.sequence == sequence, span.layers.intersection(layers) != nil else { continue }
            processes[slot][place].landings.removeAll { $0.arrival.id == landing.arrival.id }
            settle(processes[slot][place].ledger.abandon(landing.arrival.id), slot, place)
            answer(.refused, to: landing.frame.flight, landing.from, landing.fromGeneration, landing.serial)
        }
    }

    /// A pass of the stage's own has run.
    mutating func passCommitted(_ pass: Pass, _ slot: Int, _ stage: Int) {
        let layers = processes[slot].stages[stage].store.layers
        for entry in pass.entries {
            let span = Span(sequence: entry.sequence, layers: layers, positions: entry.first..<entry.end)
            switch processes[slot].stages[stage].store.ledger.admitLocal(span, tokens: entry.tokens) {
            case .land(let arrival):
                let (_, settled) = processes[slot].stages[stage].store.ledger.finish(
                    arrival.id, intact: true, at: now)
                settle(settled, slot, .stage(stage))
            case .known: break
            case .gap, .refused: note("the ledger of process \(slot) has no place for rows of \(pass.id)")
            }
        }
    }

    /// Tells what one call of a ledger has settled besides what was asked.
    mutating func settle(_ settled: Settlement, _ slot: Int, _ place: SimulatedProcess.StorePlace) {
        for ended in settled.ended { landingEnded(ended.arrival, ended.completion, slot, place) }
        for number in settled.quiet {
            guard let index = processes[slot][place].releasing.firstIndex(where: { $0.ticket == number }) else {
                continue
            }
            work(slot, processes[slot][place].releasing.remove(at: index).answer)
        }
    }
}
