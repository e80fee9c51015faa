import DejaVuControl
import DejaVuCore

/// What breaks.
extension World {
    mutating func strike(_ fault: Scenario.Fault) {
        let slot = fault.worker
        if case .pauseController(let time) = fault.kind {
            tell("controller stands still for \(time)")
            controllerPausedUntil = max(controllerPausedUntil, now + time)
            return
        }
        guard processes[slot].alive else { return }
        tell("fault at process \(slot): \(fault.kind)")
        switch fault.kind {
        case .crash: crash(slot)
        case .vanish: end(slot, quietly: true)
        case .pause(let time): processes[slot].pausedUntil = max(processes[slot].pausedUntil, now + time)
        case .hang: processes[slot].hangsNext = true
        case .slow(let factor, let time):
            processes[slot].slowFactor = factor
            processes[slot].slowUntil = now + time
        case .cutPeer: cutPeer(slot)
        case .cutController:
            guard let id = processes[slot].link else { return }
            cutLink(slot)
            let at = max(now + delay(), processes[slot].toController)
            processes[slot].toController = at
            queue.push(.toController(.workerLost(id, reason: "the link broke")), at: at)
        case .failPass: processes[slot].failsPassNext = true
        case .failLoad: processes[slot].failsLoadNext = true
        case .pauseController: break
        }
    }

    /// The process ends, and its link with it.
    mutating func crash(_ slot: Int) {
        let id = processes[slot].link
        let at = max(now + delay(), processes[slot].toController)
        end(slot)
        if let id { queue.push(.toController(.workerLost(id, reason: "the process ended")), at: at) }
    }

    /// - Parameter quietly: nobody is told, as when a machine loses its network.
    mutating func end(_ slot: Int, quietly: Bool = false) {
        guard processes[slot].alive else { return }
        let incarnation = processes[slot].incarnation
        processes[slot].alive = false
        processes[slot].generation += 1
        processes[slot].link = nil
        processes[slot].outgoing = nil
        tell("process \(slot) ends")
        if let delay = scenario.workers[slot].restartDelay { queue.push(.start(slot: slot), at: now + delay) }
        guard !quietly else { return }
        for other in processes.indices where processes[other].outgoing?.incarnation == incarnation {
            cutPeer(other)
        }
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

    private mutating func cutPeer(_ slot: Int) {
        guard let outgoing = processes[slot].outgoing, outgoing.connected else { return }
        processes[slot].outgoing = nil
        queue.push(
            .toWorker(
                slot: slot, generation: processes[slot].generation, link: nil,
                .peerLost(outgoing.incarnation, reason: "the link broke")), at: now + delay())
    }
}
