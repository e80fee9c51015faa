import DejaVuControl
import DejaVuCore

extension Scenario.FaultKind {
    /// Whether nothing that was computed is lost by it.
    var isHarmless: Bool {
        switch self {
        case .leave, .crashController: true
        default: false
        }
    }
}

/// The controller's death, the time without one, and what the next one makes of it.
extension World {
    /// How long a request that nobody comes back to runs on.
    private static let resumeGrace = TimeSpan.seconds(1)
    /// How long a new controller waits for workers.
    private static let adoptionTime = TimeSpan.seconds(2)

    mutating func crashController(for time: TimeSpan) {
        guard hasController, !stopped else { return }
        tell("the controller dies, for \(time)")
        hasController = false
        isAdopting = false
        controllerPausedUntil = now
        pastCounters += controller.counters
        clients.serverDied()
        for slot in processes.indices where processes[slot].alive { sever(slot) }
        queue.push(.startController, at: now + time)
    }

    /// The worker hears of the death; what the controller has sent before comes first, or is lost.
    private mutating func sever(_ slot: Int) {
        guard let link = processes[slot].link else { return }
        var at = now + delay()
        if random.chance(0.5) {
            at = max(at, processes[slot].toWorker)
        } else {
            processes[slot].link = nil
        }
        queue.push(.linkLost(slot: slot, generation: processes[slot].generation, link: link), at: at)
    }

    mutating func linkLost(_ slot: Int, _ generation: UInt64, _ link: WorkerID) {
        guard processes[slot].alive, processes[slot].generation == generation,
            processes[slot].link == link || processes[slot].link == nil
        else { return }
        processes[slot].link = nil
        work(slot, .controllerLost(reason: "the link broke"))
        let wait = TimeSpan.milliseconds(Int64(random.next(in: 1...300)))
        queue.push(.reconnect(slot: slot, generation: generation), at: now + wait)
    }

    mutating func startController() {
        guard !hasController, !stopped else { return }
        reign += 1
        let term = self.term
        tell("a controller begins its reign: \(term)")
        do throws(DejaVuError) {
            let next = try ControllerMachine(configuration: scenario.configuration, term: term)
            controller = next
        } catch { return note("no controller: \(error)") }
        hasController = true
        isAdopting = true
        log.removeAll()
        answers.removeAll()
        places.removeAll()
        holdings.removeAll()
        replicaHoldings.removeAll()
        replicasHeld.removeAll()
        // The list in its state directory; local ones that are gone are seen to be.
        let (processes, workers) = (self.processes, scenario.workers)
        let expected = joined.filter { incarnation in
            processes.contains { process in
                process.incarnation == incarnation && (process.alive || !workers[process.slot].isLocal)
            }
        }
        joined.removeAll()
        decide(.adopt(expecting: expected, until: now + Self.adoptionTime, deadline: now + .seconds(600)))
    }

    mutating func adopted() {
        tell("the controller has taken over what there is")
        isAdopting = false
        for (index, entry) in clients.entries.enumerated()
        where entry.submitted && !entry.isServed && !entry.isOver {
            // It was queued, or what knew it is gone: its client sends it again, unless it wanted no more of it.
            clients.sendAgain(index)
            queue.push(.client(index), at: now + delay())
        }
    }

    mutating func restored(_ request: RestoredRequest) {
        tell("\(request.request.id) is restored with \(request.choices.map { $0.outputs.count }) tokens")
        note(clients.restored(request))
        guard let index = clients.index(of: request.request.id) else { return }
        let entry = clients.entries[index]
        if !clients.isPresent(request.request.id) || entry.isOver || random.chance(0.15) {
            queue.push(.giveUp(request.request.id), at: now + Self.resumeGrace)
        }
        if let after = entry.client.finishAfter, request.choices[0].outputs.count >= after,
            request.choices[0].finish == nil
        {
            queue.push(
                .toController(reign: reign, .finish(request.request.id, choice: 0)), at: now + delay())
        }
    }

    /// What the controller must take for occupied is what the worker has said.
    mutating func noteReport(_ report: WorkerReport, of id: WorkerID) {
        for stage in report.stages {
            places[id.rawValue, default: []].append(stage.assignment)
            let place = StagePlace(
                worker: id, pipeline: stage.assignment.pipeline, stage: stage.assignment.stageIndex)
            holdings[place] = stage.sequences.map { Holding(sequence: $0.sequence, cells: $0.cells) }
        }
        for replica in report.replicas {
            replicasHeld[id.rawValue, default: []].append(replica.assignment)
            replicaHoldings[replica.assignment.id.rawValue] = replica.sequences.map {
                Holding(sequence: $0.sequence, cells: $0.cells)
            }
        }
    }

    /// A record with what its keeper has learned of its text.
    func extended(_ record: SequenceRecord, _ slot: Int, _ keeper: RecordKeeper) -> SequenceRecord {
        let store =
            switch keeper {
            case .stage(let engine): processes[slot].stages.first { $0.id == engine }?.store
            case .replica(let replica): processes[slot].replicas.first { $0.replica == replica }
            }
        let tokens = store?.engine.tokens(of: record.id) ?? []
        var record = record
        if tokens.count > record.knownCount { record.outputs = Array(tokens[record.prompt.count...]) }
        return record
    }
}
