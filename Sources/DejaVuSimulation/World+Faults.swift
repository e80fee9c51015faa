import DejaVuControl
import DejaVuCore

/// What breaks.
extension World {
    /// Strikes now if somebody has the role; else as soon as somebody gets it.
    mutating func aim(_ index: Int) {
        let fault = scenario.faults[index]
        guard let target = fault.target else { return strike(fault, fault.worker) }
        let status = controller.status(at: now)
        if let slot = processes.indices.first(where: { processes[$0].alive && role(of: $0, in: status) == target }) {
            queue.push(.aimed(index, slot: slot), at: now + fault.wait)
        } else if fault.isPatient, target.comesUnheard {
            if now - fault.at < .seconds(10) { queue.push(.fault(index), at: now + .milliseconds(25)) }
        } else {
            aiming.append(index)
        }
    }

    /// A worker is told something that gives it, or another, a role that it has not for long.
    mutating func roleBegins(_ role: Role, at id: WorkerID) {
        guard !aiming.isEmpty, let slot = owners[id.rawValue]?.slot,
            let at = aiming.firstIndex(where: { scenario.faults[$0].target == role })
        else { return }
        let index = aiming.remove(at: at)
        var wait = scenario.faults[index].wait
        // Taking over takes two ways over a link, and no more; to get the rows that were there before takes four.
        let ways: Int64? = role == .taker ? 2 : role == .filling ? 4 : nil
        if let ways { wait = TimeSpan(nanoseconds: wait.nanoseconds % (ways * scenario.latency.nanoseconds + 1)) }
        queue.push(.aimed(index, slot: slot), at: now + wait)
    }

    mutating func strikeAimed(_ index: Int, _ slot: Int) {
        guard scenario.faults[index].followsDeath, let other = stageOfOtherPipeline(than: slot) else {
            return strike(scenario.faults[index], slot)
        }
        crash(other)
        queue.push(.afterDeath(index, slot: slot), at: now + scenario.latency + scenario.jitter)
    }

    /// A process with a stage of a pipeline of which this one has nothing.
    private func stageOfOtherPipeline(than slot: Int) -> Int? {
        let replicas = controller.status(at: now).workers.first { $0.id == processes[slot].link }?.replicas ?? []
        let own = Set(processes[slot].told.map(\.pipeline) + replicas.map(\.pipeline))
        return processes.indices.first { index in
            processes[index].alive && processes[index].told.contains { !own.contains($0.pipeline) }
        }
    }

    mutating func strike(_ fault: Scenario.Fault, _ slot: Int) {
        if case .crashController(let time) = fault.kind {
            if hasController { count(fault.kind, slot) }
            return crashController(for: time)
        }
        if case .pauseController(let time) = fault.kind {
            tell("controller stands still for \(time)")
            controllerPausedUntil = max(controllerPausedUntil, now + time)
            return
        }
        guard processes[slot].alive else { return }
        tell("fault at process \(slot): \(fault.kind)")
        count(fault.kind, slot)
        switch fault.kind {
        case .crash: crash(slot)
        case .vanish: end(slot, quietly: true)
        case .pause(let time): processes[slot].pausedUntil = max(processes[slot].pausedUntil, now + time)
        case .hang: processes[slot].hangsNext = true
        case .slow(let factor, let time):
            processes[slot].slowFactor = factor
            processes[slot].slowUntil = now + time
        case .cutPeer:
            for link in processes[slot].outgoing { cutPeer(slot, link.incarnation) }
        case .cutBulk:
            for link in processes[slot].stages.flatMap(\.bulk) { cutBulk(slot, link.serial) }
        case .corruptFrame: processes[slot].corruptsNext = true
        case .slowBulk(let delay, let time):
            processes[slot].bulkDelay = delay
            processes[slot].bulkSlowUntil = now + time
        case .cutController:
            guard let id = processes[slot].link else { return }
            cutLink(slot)
            let at = max(now + delay(), processes[slot].toController)
            processes[slot].toController = at
            queue.push(.toController(reign: reign, .workerLost(id, reason: "the link broke")), at: at)
        case .failPass: processes[slot].failsPassNext = true
        case .failLoad: processes[slot].failsLoadNext = true
        case .leave: work(slot, .leave)
        case .staleOrder: staleOrder(slot)
        case .pauseController, .crashController: break
        }
    }

    private mutating func count(_ kind: Scenario.FaultKind, _ slot: Int) {
        let status = controller.status(at: now)
        coverage.count(kind, role(of: slot, in: status), Self.phase(of: status))
    }

    /// From a controller that does not know that its reign is over.
    private mutating func staleOrder(_ slot: Int) {
        let past = Term(number: reign - 1, nonce: 3)
        if let sequence = processes[slot].machine.openSequences.first {
            work(slot, .message(past, .release(sequence, of: PipelineID(0))))
        } else {
            work(slot, .message(past, .welcome(WorkerID(.max))))
        }
    }

    /// The process ends, and its link with it.
    mutating func crash(_ slot: Int) {
        let id = processes[slot].link
        let at = max(now + delay(), processes[slot].toController)
        end(slot)
        if let id { queue.push(.toController(reign: reign, .workerLost(id, reason: "the process ended")), at: at) }
    }

    /// - Parameter quietly: nobody is told, as when a machine loses its network.
    mutating func end(_ slot: Int, quietly: Bool = false) {
        guard processes[slot].alive else { return }
        let incarnation = processes[slot].incarnation
        processes[slot].alive = false
        processes[slot].generation += 1
        processes[slot].link = nil
        processes[slot].outgoing.removeAll()
        tell("process \(slot) ends")
        if let delay = scenario.workers[slot].restartDelay { queue.push(.start(slot: slot), at: now + delay) }
        linksEnd(slot, incarnation, quietly: quietly)
        guard !quietly else { return }
        for other in processes.indices { cutPeer(other, incarnation) }
    }

    /// The worker loses its link to the controller, and tries again after a while.
    mutating func cutLink(_ slot: Int) {
        processes[slot].link = nil
        let generation = processes[slot].generation
        queue.push(
            .toWorker(slot: slot, generation: generation, link: nil, .controllerLost(reason: "the link broke")),
            at: now + delay())
        queue.push(.reconnect(slot: slot, generation: generation), at: now + .seconds(1))
    }

    private mutating func cutPeer(_ slot: Int, _ peer: Incarnation) {
        guard let index = processes[slot].outgoing.firstIndex(where: { $0.incarnation == peer && $0.connected }) else {
            return
        }
        let outgoing = processes[slot].outgoing.remove(at: index)
        queue.push(
            .toWorker(
                slot: slot, generation: processes[slot].generation, link: nil,
                .peerLost(outgoing.incarnation, reason: "the link broke")), at: now + delay())
    }
}
