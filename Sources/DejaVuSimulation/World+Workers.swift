import DejaVuControl
import DejaVuCore
import DejaVuKV

/// The workers' side: processes, links, compute threads.
extension World {
    mutating func start(_ slot: Int) {
        guard !processes[slot].alive, !stopped else { return }
        if scenario.workers[slot].isLocal, !hasController || isAdopting {
            // Who starts local workers is gone, or looks who is there first.
            return queue.push(.start(slot: slot), at: now + .milliseconds(100))
        }
        incarnationCount += 1
        let incarnation = Incarnation(incarnationCount)
        processes[slot].begin(incarnation: incarnation, orphanGrace: scenario.orphanGrace, at: now)
        tell("process \(slot) starts as \(incarnation)")
        queue.push(
            .heartbeat(slot: slot, generation: processes[slot].generation), at: now + .milliseconds(100))
        connect(slot)
    }

    /// The slot of the process that lives as this incarnation.
    func living(_ incarnation: Incarnation) -> Int? {
        processes.indices.first { processes[$0].alive && processes[$0].incarnation == incarnation }
    }

    /// A new link to the controller, under a new id.
    mutating func connect(_ slot: Int) {
        guard processes[slot].link == nil, !stopped else { return }
        guard hasController else {
            return queue.push(
                .reconnect(slot: slot, generation: processes[slot].generation), at: now + .milliseconds(150))
        }
        workerCount += 1
        let id = WorkerID(workerCount)
        let generation = processes[slot].generation
        processes[slot].link = id
        owners[id.rawValue] = (slot, generation)
        let plan = scenario.workers[slot]
        let hello = WorkerHello(
            incarnation: processes[slot].incarnation, term: processes[slot].machine.term,
            model: scenario.configuration.model, peerAddress: "sim:\(slot)",
            bulkAddress: "bulk:\(slot)",
            layerCount: scenario.configuration.layerCount,
            kvBytesPerPositionAndLayer: Scenario.kvBytesPerPositionAndLayer, kvBytesMax: plan.kvBytesMax,
            deviceBytesMax: plan.deviceBytesMax, replicaBytesMax: plan.replicaBytesMax,
            numericClass: NumericClass(hash: 1), processID: Int32(slot + 1),
            name: "worker-\(slot)")
        work(slot, .controllerConnected(term))
        toController(slot, .workerJoined(id, hello))
    }

    /// Sequences whose rows have been brought to a device, as far as its process lives.
    package var fetchCount: Int {
        processes.reduce(0) { sum, process in
            process.stages.reduce(sum) { $0 + ($1.store.engine.device?.usage.fetches ?? 0) }
        }
    }

    private mutating func toController(_ slot: Int, _ event: ControllerEvent) {
        let at = max(now + delay(), processes[slot].toController)
        processes[slot].toController = at
        queue.push(.toController(reign: reign, event), at: at)
    }

    mutating func beat(_ slot: Int, _ generation: UInt64) {
        guard processes[slot].alive, processes[slot].generation == generation else { return }
        queue.push(.heartbeat(slot: slot, generation: generation), at: now + .milliseconds(100))
        checkReplicas(slot)
        if processes[slot].jobRunning, !processes[slot].hung { processes[slot].progress += 1 }
        if processes[slot].isLoading { processes[slot].loading += 1 }
        let swap = processes[slot].stages.compactMap { $0.store.engine.device?.usage }
        send(
            slot,
            .heartbeat(
                WorkerHeartbeat(
                    progress: processes[slot].progress, loading: processes[slot].loading,
                    busy: processes[slot].jobRunning,
                    swap: swap.isEmpty ? nil : swap.reduce(SwapUsage(), +))))
    }

    mutating func send(_ slot: Int, _ message: WorkerMessage) {
        switch message {
        case .assigned(let pipeline, let epoch, let stage, let marks):
            noteAnswer(slot, pipeline, epoch, stage: stage, marks)
        case .landed(let pipeline, let stage, let marks): noteLanded(slot, pipeline, stage: stage, marks)
        case .shared(let sequence, _, let watermark):
            let told = processes[slot].told
            guard let place = told.first else { break }
            answers[place.pipeline.rawValue]?.fed.insert(sequence.rawValue)
            // The message does not say which of several stages it is, and those that have less cannot be meant.
            let mark = SequenceMark(sequence: sequence, watermark: watermark)
            for place in told where told.count == 1 || held(of: sequence, slot, place) >= watermark {
                noteLanded(slot, place.pipeline, stage: place.stageIndex, [mark])
            }
        default: break
        }
        guard let id = processes[slot].link, let term = processes[slot].machine.term else { return }
        toController(slot, .message(id, processes[slot].incarnation, term, message))
    }

    mutating func work(_ slot: Int, _ event: WorkerEvent) {
        if case .message(_, .assign(let place)) = event {
            processes[slot].told.removeAll { $0.pipeline != place.pipeline || $0.stageIndex == place.stageIndex }
            processes[slot].told.append(place)
        }
        let actions = processes[slot].machine.handle(event, at: now)
        for action in actions { execute(slot, action) }
        processes[slot].machine.checkIntegrity()
        if processes[slot].rows.count != processes[slot].machine.rowsHeld {
            note("process \(slot) holds rows that nobody wants, or lacks some")
        }
        if processes[slot].machine.counters.messagesWrong > 0 {
            note("process \(slot) was sent what a controller without faults never sends")
        }
    }

    private mutating func execute(_ slot: Int, _ action: WorkerAction) {
        let generation = processes[slot].generation
        switch action {
        case .send(let message): send(slot, message)
        case .sendRecord(let record, let keeper): send(slot, .record(extended(record, slot, keeper), ended: nil))
        case .rejectController: note("process \(slot) rejects the only controller there is")
        case .load(let engine, let assignment): add(slot, .load(engine, assignment))
        case .open(let engine, let record, let cells, let ticket): add(slot, .open(engine, record, cells, ticket))
        case .share(let engine, let ticket, let pipeline, _): add(slot, .share(engine, ticket, pipeline))
        case .adopt(let engine, let record, let ticket): add(slot, .adopt(engine, record, ticket))
        case .unload(let engine): add(slot, .unload(engine))
        case .loadReplica(let assignment): add(slot, .loadReplica(assignment))
        case .dropReplica(let id): add(slot, .dropReplica(id))
        case .openReplica(let id, let record, let cells, let ticket):
            add(slot, .openReplica(id, record, cells, ticket))
        case .releaseReplica(let id, let sequence): add(slot, .releaseReplica(id, sequence))
        case .promote(let id, let engine): add(slot, .promote(id, engine))
        case .replicate(let engine, let sequence, let ticket, let target):
            replicate(slot, engine, sequence, ticket, to: target)
        case .endReplication(let engine, let target): endReplication(slot, engine, to: target)
        case .release(let engine, let sequence): add(slot, .release(engine, sequence))
        case .releaseLanded(let engine, let sequence): add(slot, .releaseLanded(engine, sequence))
        case .compute(let engine, let pass, let handle):
            checkCurrent(pass, slot)
            add(slot, .compute(engine, pass, handle.map { take($0, slot) }))
        case .connect(let peer):
            linkCount += 1
            processes[slot].outgoing.append(
                .init(incarnation: peer.incarnation, serial: linkCount, connected: false))
            queue.push(.connected(slot: slot, generation: generation, serial: linkCount), at: now + delay())
        case .disconnect(let peer): processes[slot].outgoing.removeAll { $0.incarnation == peer }
        case .forward(let to, let term, let pass, let stage, let handle):
            let rows = take(handle, slot)
            guard let outgoing = processes[slot].outgoing.first(where: { $0.incarnation == to }), outgoing.connected,
                let target = living(to)
            else { return }
            let at = max(now + delay(), processes[slot].toPeer)
            processes[slot].toPeer = at
            queue.push(
                .rows(
                    slot: target, generation: processes[target].generation, from: slot, serial: outgoing.serial,
                    HiddenRows(term: term, pass: pass, stageIndex: stage, rows: rows)), at: at)
        case .drop(let handle): _ = take(handle, slot)
        case .announce(let engine, let pass, let sequences):
            if let stage = processes[slot].stage(engine) {
                processes[slot].stages[stage].store.engine.announce(pass, sequences)
            }
        case .setTimer(let timer, let at):
            queue.push(.toWorker(slot: slot, generation: generation, link: nil, .timer(timer)), at: max(at, now))
        case .exit(_, let reason):
            tell("process \(slot) exits: \(reason)")
            crash(slot)
        }
    }

    /// Every handle is used exactly once.
    private mutating func take(_ handle: RowsHandle, _ slot: Int) -> [UInt64] {
        guard let rows = processes[slot].rows.removeValue(forKey: handle.rawValue) else {
            note("process \(slot) used rows twice")
            return []
        }
        return rows
    }

    mutating func peerAnswers(_ slot: Int, _ generation: UInt64, _ serial: UInt64) {
        guard processes[slot].alive, processes[slot].generation == generation,
            let index = processes[slot].outgoing.firstIndex(where: { $0.serial == serial })
        else { return }
        let outgoing = processes[slot].outgoing[index]
        if living(outgoing.incarnation) != nil {
            processes[slot].outgoing[index].connected = true
            work(slot, .peerConnected(outgoing.incarnation))
        } else {
            processes[slot].outgoing.remove(at: index)
            work(slot, .peerLost(outgoing.incarnation, reason: "nobody answers"))
        }
    }

    mutating func deliver(_ hidden: HiddenRows, to slot: Int, _ generation: UInt64, from: Int, _ serial: UInt64) {
        guard processes[slot].alive, processes[slot].generation == generation else { return }
        // What a broken link had not yet delivered is lost.
        guard processes[from].outgoing.contains(where: { $0.serial == serial }) || !processes[from].alive else {
            return
        }
        let handle = processes[slot].store(hidden.rows)
        work(
            slot,
            .hidden(
                from: processes[from].incarnation, hidden.term, hidden.pass, stageIndex: hidden.stageIndex, handle))
    }

    // MARK: The compute thread

    mutating func add(_ slot: Int, _ job: SimulatedProcess.Job) {
        processes[slot].jobs.append(job)
        if !processes[slot].jobRunning { startJob(slot) }
    }

    /// Opening and releasing take no time; computing does. Engines are loaded beside it.
    private mutating func startJob(_ slot: Int) {
        while let job = processes[slot].jobs.first {
            let plan = scenario.workers[slot]
            var cost: TimeSpan
            switch job {
            case .compute(let engine, let pass, _):
                passBegins(pass, slot, engine)
                cost = plan.passCost + plan.rowCost * Int64(pass.rowCount)
                if now < processes[slot].slowUntil { cost = cost * Int64(processes[slot].slowFactor) }
                if isPoisoned(pass) {
                    tell("\(pass.id) is poison for process \(slot)")
                    processes[slot].jobRunning = true
                    crash(slot)
                    return
                }
                processes[slot].hung = processes[slot].hangsNext
            default:
                processes[slot].jobs.removeFirst()
                doAtOnce(job, slot)
                continue
            }
            processes[slot].jobRunning = true
            processes[slot].jobStarted = now
            guard !processes[slot].hung else { return }
            queue.push(.jobDone(slot: slot, generation: processes[slot].generation), at: now + cost)
            return
        }
    }

    private func isPoisoned(_ pass: Pass) -> Bool {
        pass.entries.contains { entry in
            guard let record = sequences[entry.sequence.rawValue], let index = clients.index(of: record.request),
                let position = clients.entries[index].client.poisonedPosition
            else { return false }
            return (entry.first..<entry.end).contains(position)
        }
    }

    mutating func finishJob(_ slot: Int, _ generation: UInt64) {
        guard processes[slot].alive, processes[slot].generation == generation else { return }
        let job = processes[slot].jobs.removeFirst()
        let idle = processes[slot].jobStarted - processes[slot].jobEnded
        let taken = now - processes[slot].jobStarted
        processes[slot].jobRunning = false
        processes[slot].jobEnded = now
        processes[slot].progress += 1
        switch job {
        case .compute(let engine, let pass, let rows): finishPass(slot, engine, pass, rows, taken: taken, idle: idle)
        default: preconditionFailure("a job that takes no time was waited for")
        }
        if processes[slot].alive, !processes[slot].jobRunning { startJob(slot) }
    }

    mutating func finishLoad(_ slot: Int, _ id: EngineID, _ assignment: StageAssignment) {
        if processes[slot].failsLoadNext {
            processes[slot].failsLoadNext = false
            let error = DejaVuError(.invalidFile, "the weights cannot be read")
            work(slot, .loadFailed(id, error))
            return
        }
        processes[slot].stages.append(
            .init(
                id: id,
                store: SimulatedStore(
                    engine: engine(
                        slot, assignment.layers, cellCount: assignment.cellCount,
                        residentCount: assignment.residentCellCount),
                    pipeline: assignment.pipeline, replica: nil)))
        checkMemory(slot)
        work(slot, .loaded(id))
    }

    func engine(_ slot: Int, _ layers: LayerRange, cellCount: Int, residentCount: Int) -> EmulatedStage {
        EmulatedStage(
            layers: layers, layerCount: scenario.configuration.layerCount,
            vocabularyCount: scenario.configuration.vocabularyCount, cellCount: cellCount,
            device: residentCount == cellCount || !scenario.workers[slot].swaps
                ? nil
                : SimulatedDevice(
                    layerCount: layers.count, cellCount: residentCount,
                    secondsPerRow: scenario.workers[slot].fetchCost.seconds * Double(layers.count)))
    }

    private mutating func finishPass(
        _ slot: Int, _ id: EngineID, _ pass: Pass, _ rows: [UInt64]?, taken: TimeSpan, idle: TimeSpan
    ) {
        if processes[slot].failsPassNext {
            processes[slot].failsPassNext = false
            work(slot, .computeFailed(pass.id, DejaVuError(.internalError, "the logits are not finite")))
            return
        }
        guard let stage = processes[slot].stage(id) else {
            note("process \(slot) runs \(pass.id) without an engine")
            return
        }
        let result = processes[slot].stages[stage].store.engine.run(pass, hidden: rows)
        note(result.violation)
        rowsCommitted(slot, stage, pass)
        switch result.output {
        case .hidden(let values):
            let handle = processes[slot].store(values)
            work(slot, .computed(pass.id, .hidden(handle), computed: taken, idleBefore: idle))
        case .sampled(let tokens):
            lastCrossing = now
            work(slot, .computed(pass.id, .sampled(tokens), computed: taken, idleBefore: idle))
        case nil: break
        }
    }
}
