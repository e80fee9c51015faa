import DejaVuCore
import DejaVuKV

/// Workers come and go.
extension ControllerMachine {
    mutating func join(_ id: WorkerID, _ hello: WorkerHello) {
        precondition(!workers.contains(id), "\(id) has joined before")
        if let error = reasonToRefuse(hello) {
            counters.workersRefused += 1
            send(.refused(error), to: id)
            actions.append(.dismiss(id, reason: error.message))
            return
        }
        // The same process over a new link: what went over the old one may be lost, so it begins anew.
        if let former = workers.indices.first(where: { workers[at: $0].hello.incarnation == hello.incarnation }) {
            lose(workers.keys[former], reason: "the worker has joined again")
        }
        if numericClass == nil { numericClass = hello.numericClass }
        counters.workersJoined += 1
        workers.insert(WorkerState(hello: hello, now: now), for: id)
        send(.welcome(id), to: id)
        place()
    }

    private func reasonToRefuse(_ hello: WorkerHello) -> DejaVuError? {
        if stopped { return DejaVuError(.unavailable, "the controller has stopped") }
        if hello.model != configuration.model {
            return DejaVuError(
                .mismatch,
                "the controller serves model \(configuration.model), the worker \(hello.name) has \(hello.model)",
                subject: "model")
        }
        if hello.layerCount != configuration.layerCount {
            return DejaVuError(
                .mismatch,
                "the controller's model has \(configuration.layerCount) layers, that of the worker \(hello.name) has"
                    + " \(hello.layerCount)", subject: "layerCount")
        }
        if let numericClass, hello.numericClass != numericClass {
            return DejaVuError(
                .mismatch,
                "the cluster computes in numeric class \(numericClass), the worker \(hello.name) in"
                    + " \(hello.numericClass)",
                subject: "numericClass")
        }
        if hello.kvBytesPerPositionAndLayer < 1 || hello.kvBytesMax < 0 {
            return DejaVuError(.invalidArgument, "the worker \(hello.name) states a KV memory that cannot be")
        }
        if let theirs = hello.term, theirs > term {
            return DejaVuError(
                .refused, "the worker \(hello.name) obeys a controller of term \(theirs), later than \(term)",
                subject: "term")
        }
        if workers.count >= limits.workersMax {
            return DejaVuError(
                .resourceExhausted, "there are \(limits.workersMax) workers already", subject: "workersMax")
        }
        return nil
    }

    /// The worker is dead, whatever the cause. Its process is ended, its stage is free, what it held is gone.
    ///
    /// - Parameter pass: the pass that is known to have failed there; else the one that it must have been running.
    mutating func lose(_ id: WorkerID, reason: String, pass: PassID? = nil) {
        guard let worker = workers.remove(id) else { return }
        if let usage = worker.emulation { emulationPast = (emulationPast ?? EmulationUsage()) + usage }
        if !stopped { counters.workersLost += 1 }
        actions.append(.dismiss(id, reason: reason))
        if let lost = worker.place {
            strike(pipeline: lost.pipeline, stage: lost.stage, pass: pass)
            pipelines[lost.pipeline].stages[lost.stage].worker = nil
            beginRecovery(lost.pipeline, reason: reason, detect: max(now - worker.lastHeard, .zero))
            breakOff(lost.pipeline)
        }
        for hold in worker.holds { dropReplica(hold.pipeline, hold.stage) }
        forgetHoldings(of: id)
        place()
    }

    /// What was in the pass that the lost worker ran is suspect.
    private mutating func strike(pipeline index: Int, stage: Int, pass: PassID?) {
        let flight = pipelines[index].flights.first { flight in
            pass.map { flight.id == $0 } ?? (flight.stagesPassed == stage)
        }
        guard let flight else { return }
        for entry in flight.entries {
            guard let at = sequences.index(of: entry.sequence), !sequences[at: at].ended else { continue }
            sequences[at: at].strike(entry.first..<(entry.end + (entry.samples ? 1 : 0)))
            if sequences[at: at].strikes >= limits.strikesMax {
                counters.sequencesPoisoned += 1
                end(entry.sequence, .poisoned)
            }
        }
    }

    /// The worker's memory of every sequence is gone: it died, or it was told to make another engine.
    mutating func forgetHoldings(of id: WorkerID) {
        var quiet: [SequenceID] = []
        for index in sequences.indices {
            for stage in sequences[at: index].openAt.indices
            where sequences[at: index].openAt[stage] == id || sequences[at: index].keptAt[stage] == id {
                sequences[at: index].openAt[stage] = nil
                sequences[at: index].keptAt[stage] = nil
                sequences[at: index].watermarks.reset(stage)
            }
            if let due = sequences[at: index].releasesDue.firstIndex(of: id) {
                sequences[at: index].releasesDue.remove(at: due)
                if sequences[at: index].releasesDue.isEmpty { quiet.append(sequences.keys[index]) }
            }
        }
        if let index = workers.index(of: id) { workers[at: index].releasesDue = 0 }
        for sequence in quiet { becomeQuiet(sequence) }
    }

    /// A worker says that its link to the next stage broke. Rows may be lost, so the epoch ends; if the link fails
    /// again and again, the receiving worker is given up.
    mutating func peerLost(_ peer: WorkerID, reportedBy id: WorkerID) {
        guard let place = workers[id]?.place, pipelines[place.pipeline].phase != .forming,
            place.stage + 1 < pipelines[place.pipeline].stages.count,
            pipelines[place.pipeline].stages[place.stage + 1].worker == peer
        else { return }
        pipelines[place.pipeline].linkFailures += 1
        if pipelines[place.pipeline].linkFailures > limits.linkFailuresMax {
            pipelines[place.pipeline].linkFailures = 0
            lose(peer, reason: "the link from \(id) to it broke again and again")
        } else {
            beginRecovery(place.pipeline, reason: "the link from \(id) to \(peer) broke", detect: .zero)
            breakOff(place.pipeline)
            self.place()
        }
    }
}
