import DejaVuControl
import DejaVuCore
import DejaVuKV

/// The invariants that are seen from outside the machines.
extension World {
    /// Every pass follows the rule of work and contains nobody who has ended; cells have one owner at a time.
    mutating func check(_ message: ControllerMessage, to id: WorkerID) {
        switch message {
        case .assign(let place):
            roleBegins(place.replica == nil ? .joiner : .taker, at: id)
            notePlace(place, of: id)
            if answers[place.pipeline.rawValue]?.epoch != place.epoch {
                answers[place.pipeline.rawValue] = EpochAnswers(epoch: place.epoch, stageCount: place.stageCount)
            }
        case .open(let record, let cells, let ticket):
            sequences[record.id.rawValue] = record
            let told = (places[id.rawValue] ?? []).first { $0.layers == ticket.layers }
            let stage = told?.stageIndex ?? -1
            let place = StagePlace(worker: id, pipeline: told?.pipeline ?? PipelineID(.max), stage: stage)
            // It came with the replica.
            let kept = holdings[place]?.contains { $0.sequence == record.id && $0.cells == cells } ?? false
            if kept { return }
            answers[place.pipeline.rawValue]?.opened(record.id, stage: stage)
            for holding in holdings[place] ?? []
            where cells.start < holding.cells.end && holding.cells.start < cells.end {
                note("\(record.id) was given cells of \(holding.sequence), which \(id) has not released")
            }
            holdings[place, default: []].append(Holding(sequence: record.id, cells: cells))
        case .openReplica(let replica, let record, let cells, _):
            for holding in replicaHoldings[replica.rawValue] ?? []
            where cells.start < holding.cells.end && holding.cells.start < cells.end {
                note("\(record.id) was given cells of \(holding.sequence), which \(id) has not released")
            }
            replicaHoldings[replica.rawValue, default: []].append(Holding(sequence: record.id, cells: cells))
            // It has rows already.
            if !record.outputs.isEmpty { roleBegins(.filling, at: id) }
        case .retire(let pipeline, let stage):
            places[id.rawValue]?.removeAll { $0.pipeline == pipeline && $0.stageIndex == stage }
            holdings[StagePlace(worker: id, pipeline: pipeline, stage: stage)] = nil
        case .hold(let assignment):
            checkHold(assignment, at: id)
            roleBegins(.loading, at: id)
        case .replicate: roleBegins(.sourceOfNew, at: id)
        case .run(let pass):
            for entry in pass.entries {
                check(entry, of: pass)
                checkStart(entry, of: pass)
            }
            let sequences = pass.entries.map { $0.sequence.rawValue }.sorted()
            for index in sequences.indices.dropFirst() where sequences[index - 1] == sequences[index] {
                note("\(pass.id) contains a sequence twice")
            }
            flightsMax = max(flightsMax, controller.flightsMost)
        default: break
        }
    }

    private mutating func notePlace(_ place: StageAssignment, of id: WorkerID) {
        let known = places[id.rawValue] ?? []
        for former in known where former.pipeline != place.pipeline {
            holdings[StagePlace(worker: id, pipeline: former.pipeline, stage: former.stageIndex)] = nil
        }
        let former = known.first { $0.pipeline == place.pipeline && $0.stageIndex == place.stageIndex }
        places[id.rawValue] =
            known.filter { $0.pipeline == place.pipeline && $0.stageIndex != place.stageIndex } + [place]
        let stage = StagePlace(worker: id, pipeline: place.pipeline, stage: place.stageIndex)
        if former?.layers != place.layers || former?.cellCount != place.cellCount
            || former?.residentCellCount != place.residentCellCount
        {
            holdings[stage] = nil
        }
        if let replica = place.replica {
            holdings[stage] = replicaHoldings.removeValue(forKey: replica.rawValue)
        }
    }

    private mutating func check(_ entry: PassEntry, of pass: Pass) {
        guard let record = sequences[entry.sequence.rawValue] else {
            note("\(pass.id) contains \(entry.sequence), which nobody was told to open")
            return
        }
        guard let index = clients.index(of: record.request), clients.isPresent(record.request) else { return }
        let choice = clients.entries[index].choices[record.choice]
        if choice.servedEnd != nil { note("\(pass.id) contains \(entry.sequence), which has ended") }
        let known = record.prompt + choice.received.prefix(choice.served)
        if entry.end > known.count || Array(known[entry.first..<entry.end]) != entry.tokens {
            note("\(pass.id): \(entry.sequence) runs tokens that it does not have at \(entry.first)")
        } else if entry.samples != (entry.end == known.count) {
            note("\(pass.id): \(entry.sequence) samples after \(entry.end - 1) of \(known.count)")
        }
    }

    /// A cancelled request, a finished choice and a request past its deadline have ended when the controller has heard
    /// so.
    mutating func checkAnswered(_ event: ControllerEvent) {
        switch event {
        case .cancel(let request):
            guard let index = clients.index(of: request), clients.entries[index].submitted,
                clients.isPresent(request)
            else { return }
            if !clients.entries[index].isServedToItsEnd { note("\(request) goes on after it was cancelled") }
        case .finish(let request, let choice):
            if !clients.isOver(request, choice: choice) { note("\(request)/\(choice) goes on after its stop string") }
        case .timer:
            for entry in clients.entries
            where entry.submitted && !entry.isServedToItsEnd && entry.deadline <= now {
                note("\(entry.client.request.id) goes on after its deadline")
            }
        default: break
        }
    }

    /// A pass of another epoch than the last one that the worker was told never starts.
    mutating func checkCurrent(_ pass: Pass, _ slot: Int) {
        let told = processes[slot].told
        guard told.contains(where: { $0.pipeline == pass.pipeline && $0.epoch == pass.epoch }) else {
            note("process \(slot) starts \(pass.id), which is void")
            return
        }
    }

    /// Whether something was broken on purpose that can be the cause: nobody is declared dead for our own mistakes.
    func isExplained(_ reason: String) -> Bool {
        func planned(_ matches: (Scenario.FaultKind) -> Bool) -> Bool {
            scenario.faults.contains { matches($0.kind) || ($0.followsDeath && matches(.crash)) }
        }
        let stalls = planned { kind in
            switch kind {
            case .hang, .slow, .pause: true
            default: false
            }
        }
        let partings = planned { kind in
            switch kind {
            case .crash, .vanish, .cutPeer, .cutController, .leave, .crashController: true
            default: false
            }
        }
        let poison = scenario.clients.contains { $0.poisonedPosition != nil }
        if reason.hasPrefix("silent") {
            return planned { kind in
                switch kind {
                case .pause, .vanish: true
                default: false
                }
            }
        }
        // A load waits behind a pass that never ends.
        if ["hung", "no answer", "no stage", "no replica"].contains(where: { reason.hasPrefix($0) }) { return stalls }
        if reason.hasPrefix("a pass failed") { return planned { $0 == .failPass } }
        if reason.hasPrefix("the link from") || reason.hasPrefix("the link broke") { return partings }
        if reason.hasPrefix("the process ended") { return partings || poison }
        return false
    }

    /// Ready means that a token crossed all stages recently.
    mutating func checkReadiness() {
        guard eventCount % 16 == 0, controller.isReady(at: now) else { return }
        let window = scenario.configuration.limits.readyWindow
        guard let lastCrossing, now - lastCrossing <= window + .seconds(1) else {
            note("ready, but no token has crossed all stages for longer than \(window)")
            return
        }
    }

    /// What must be true when all is over.
    mutating func checkEnd() {
        guard !stopped else { return }
        for entry in clients.entries where !entry.isOver { note("\(entry.client.request.id) never ended") }
        if scenario.faults.isEmpty { checkCalm() }
        if scenario.faults.allSatisfy({ $0.kind.isHarmless && !$0.followsDeath }), scenario.orphanGrace > .seconds(10),
            scenario.clients.allSatisfy({ $0.poisonedPosition == nil }),
            counters.positionsRunAgain + counters.workersLost > 0
        {
            note("something was computed again, though no worker was lost: \(counters)")
        }
        let status = controller.status(at: now)
        let running = status.pipelines.reduce(0) { $0 + $1.cellsUsed }
        if running != 0 { note("\(running) cells were never given back") }
        for entry in clients.entries where reign == 1 {
            let patient = entry.deadline > now
            for choice in entry.choices where choice.finished == .deadline && patient {
                note("\(entry.client.request.id) ended with its deadline before it")
            }
        }
    }

    /// A cluster with nothing to do goes on to prove that it could.
    mutating func checkIdle() {
        guard controller.status(at: now).pipelines.contains(where: { $0.role.isHome && $0.state == .serving })
        else { return }
        let limits = scenario.configuration.limits
        for _ in 0..<3 {
            run(until: now + limits.probeInterval + .seconds(1))
            let status = controller.status(at: now)
            if !status.ready { note("idle and not ready: \(status.reason ?? "")") }
        }
    }

    /// Without faults nothing is run twice, and only poison costs workers.
    private mutating func checkCalm() {
        let counters = controller.counters
        let poisoned = scenario.clients.filter { $0.poisonedPosition != nil }
        guard let strikesMax = poisoned.map({ $0.request.choiceCount * scenario.configuration.limits.strikesMax }).max()
        else {
            if counters.workersLost + counters.passesVoided + counters.replayRows + counters.messagesStale > 0 {
                note("something was lost, though nothing broke: \(counters)")
            }
            return
        }
        if counters.workersLost > UInt64(strikesMax) { note("poison cost \(counters.workersLost) workers") }
    }
}
