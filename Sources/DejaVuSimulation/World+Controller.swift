import DejaVuControl
import DejaVuCore

/// The controller's side: its events and what it asks for.
extension World {
    mutating func decide(_ event: ControllerEvent) {
        if tellsStory, !isRoutine(event) { tell("controller hears \(event)") }
        let actions = controller.handle(event, at: now)
        if case .workerJoined(_, let hello) = event { joined.append(hello.incarnation) }
        // Who answers too late has been welcomed anew, and its answer is of no matter.
        if case .message(let id, _, let term, .report(let report)) = event, term == self.term, isAdopting {
            noteReport(report, of: id)
        }
        if case .message(let id, _, _, .released(let sequence, let pipeline)) = event {
            for place in stagePlaces(of: id) where place.pipeline == pipeline {
                holdings[place]?.removeAll { $0.sequence == sequence }
            }
            for replica in replicasHeld[id.rawValue] ?? [] where replica.pipeline == pipeline {
                replicaHoldings[replica.id.rawValue]?.removeAll { $0.sequence == sequence }
            }
        }
        if keepsLog { log.append(RecordedStep(at: now, event: event, actions: actions)) }
        for action in actions { execute(action) }
        controller.checkIntegrity()
        checkAnswered(event)
        checkReadiness()
    }

    /// Wherever that worker may be.
    private func stagePlaces(of id: WorkerID) -> [StagePlace] {
        scenario.configuration.topology.pipelines.enumerated().flatMap { index, shape in
            (0..<shape.stageCount).map { StagePlace(worker: id, pipeline: PipelineID(UInt64(index)), stage: $0) }
        }
    }

    private func isRoutine(_ event: ControllerEvent) -> Bool {
        switch event {
        case .timer, .message(_, _, _, .heartbeat), .submit: true
        default: false
        }
    }

    private mutating func execute(_ action: ControllerAction) {
        switch action {
        case .setTimer(let timer, let at): queue.push(.toController(reign: reign, .timer(timer)), at: max(at, now))
        case .send(let id, let message):
            tell("controller tells \(id): \(message)")
            check(message, to: id)
            deliver(message, to: id)
        case .dismiss(let id, let reason):
            tell("controller dismisses \(id): \(reason)")
            if !stopped, !isExplained(reason) { note("\(id) was dismissed without need: \(reason)") }
            forgetHoldings(of: id)
            dismiss(id)
        case .parted(let id, let reason):
            tell("\(id) has left: \(reason)")
            forgetHoldings(of: id)
            // If only its link was cut it comes back, to be told once more.
            if let owner = owners[id.rawValue], processes[owner.slot].link == id { cutLink(owner.slot) }
        case .admitted(let request): note(clients.admitted(request))
        case .emit(let request, let choice, let token):
            note(clients.emitted(request, choice: choice, token))
            stopStringSeen(request, choice: choice)
        case .finished(let request, let choice, let reason):
            tell("\(request)/\(choice) ends: \(reason.rawValue)")
            let drainEnd = scenario.drainAt.map { $0 + scenario.drainTime } ?? .never
            note(
                clients.finished(
                    request, choice: choice, reason, now: now, drainEnd: drainEnd,
                    workersLost: scenario.faults.isEmpty ? 0 : counters.workersLost))
        case .refused(let request, let refusal):
            tell("\(request) is refused: \(refusal.error)")
            note(clients.refused(request, refusal))
        case .restored(let request): restored(request)
        case .swapping(let pipeline, let isOn, let reason):
            tell("swapping in \(pipeline) is \(isOn ? "on" : "off"): \(reason)")
        case .adopted: adopted()
        case .stopped: stopped = true
        case .deposed(let reason): note("the only controller was deposed: \(reason)")
        }
    }

    /// The server reads the text and may find a stop string; what it says arrives later.
    private mutating func stopStringSeen(_ request: RequestID, choice: Int) {
        guard choice == 0, let index = clients.index(of: request),
            clients.entries[index].client.finishAfter == clients.entries[index].choices[0].served
        else { return }
        queue.push(.toController(reign: reign, .finish(request, choice: 0)), at: now + delay())
    }

    private mutating func deliver(_ message: ControllerMessage, to id: WorkerID) {
        guard let owner = owners[id.rawValue], processes[owner.slot].generation == owner.generation,
            processes[owner.slot].link == id
        else { return }
        let at = max(now + delay(), processes[owner.slot].toWorker)
        processes[owner.slot].toWorker = at
        if case .refused = message, !controller.hasStopped { note("\(id) was refused") }
        queue.push(
            .toWorker(slot: owner.slot, generation: owner.generation, link: id, .message(term, message)), at: at)
    }

    private mutating func forgetHoldings(of id: WorkerID) {
        for place in stagePlaces(of: id) { holdings[place] = nil }
        for replica in replicasHeld.removeValue(forKey: id.rawValue) ?? [] {
            replicaHoldings[replica.id.rawValue] = nil
        }
    }

    private mutating func dismiss(_ id: WorkerID) {
        guard let owner = owners[id.rawValue], processes[owner.slot].generation == owner.generation else { return }
        if scenario.workers[owner.slot].isLocal || processes[owner.slot].hung {
            // A link that it has opened since is lost with it.
            if processes[owner.slot].link == id { end(owner.slot) } else { crash(owner.slot) }
        } else if processes[owner.slot].link == id {
            cutLink(owner.slot)
        }
    }

    mutating func note(_ violation: String?) {
        guard let violation else { return }
        tell("VIOLATION: \(violation)")
        violations.append(violation)
    }
}
