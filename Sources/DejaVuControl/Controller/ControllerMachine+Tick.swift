import DejaVuCore
import DejaVuKV

/// What only the passing of time shows: silence, hangs, deadlines.
extension ControllerMachine {
    mutating func armTick() {
        let due = now + limits.tickInterval
        tickDue = due
        actions.append(.setTimer(Self.tick, at: due))
    }

    mutating func tick() {
        guard let due = tickDue, !stopped else { return }
        if now > due { forgive(now - due) }
        armTick()
        judge()
        endAdoptionIfDue()
        wakeRested()
        for id in requests.keys {
            if let state = requests[id], state.request.deadline <= now { endAll(of: id, .deadline) }
        }
        for index in pipelines.indices {
            probeIfIdle(index)
            judgeSwapping(index)
        }
        endAtDrainDeadline()
        if workers.values.contains(where: { $0.leaving || $0.seats.count > 1 }) { movesDue = true }
    }

    /// The tick was late, and so were we in reading what the workers sent: their deadlines move by as much.
    private mutating func forgive(_ late: TimeSpan) {
        for index in workers.indices { workers[at: index].shift(by: late, now: now) }
        for index in pipelines.indices {
            for flight in pipelines[index].flights.indices {
                let since = pipelines[index].flights[flight].since
                pipelines[index].flights[flight].since = min(since + late, now)
            }
        }
    }

    /// Declares dead who is silent, hung or too slow to load.
    private mutating func judge() {
        for id in workers.keys {
            guard let worker = workers[id] else { continue }
            if let reason = verdict(on: worker, id) { lose(id, reason: reason) }
        }
    }

    private func verdict(on worker: WorkerState, _ id: WorkerID) -> String? {
        if now - worker.lastHeard > limits.silenceMax {
            return "silent for \((now - worker.lastHeard).seconds) s"
        }
        if let since = worker.assigningSince, now - since > limits.loadMax, now - worker.loadingAt > limits.loadMax {
            return "no stage after \((now - since).seconds) s of loading"
        }
        if let since = worker.holds.compactMap({ $0.since }).min(), now - since > limits.loadMax,
            now - worker.loadingAt > limits.loadMax
        {
            return "no replica after \((now - since).seconds) s of loading"
        }
        let patience = max(limits.hangMin, worker.computedMax * Int64(limits.hangFactor))
        if worker.releasesDue > 0, worker.assigningSince == nil {
            let waited = min(now - worker.releasesSince, now - worker.progressAt)
            if waited > patience { return "no answer to a release for \(waited.seconds) s" }
        }
        if let flight = runningFlight(of: worker), pipelines[worker.pipeline].phase == .serving {
            let waited = min(now - flight.since, now - worker.progressAt)
            if waited > patience { return "hung in \(flight.id): no progress for \(waited.seconds) s" }
        }
        return nil
    }

    /// The pass that a worker must be running, of those that are with it: the one that came first.
    func runningFlight(of worker: WorkerState) -> PipelineState.Flight? {
        guard !worker.isFree else { return nil }
        var first: PipelineState.Flight?
        for flight in pipelines[worker.pipeline].flights
        where worker.seats.contains(where: { $0.stage == flight.stagesPassed }) {
            if let found = first, found.since <= flight.since { continue }
            first = flight
        }
        return first
    }

    private mutating func wakeRested() {
        var woken = false
        for index in workers.indices {
            guard let until = workers[at: index].restUntil, until <= now else { continue }
            workers[at: index].restUntil = nil
            woken = true
        }
        if woken { place() }
    }
}
