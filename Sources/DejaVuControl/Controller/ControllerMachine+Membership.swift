import DejaVuCore
import DejaVuKV

/// Workers come and go.
extension ControllerMachine {
    mutating func join(_ id: WorkerID, _ hello: WorkerHello) {
        precondition(!workers.contains(id), "\(id) has joined before")
        if let theirs = hello.term, theirs > term, !stopped {
            return depose("the worker \(hello.name) obeys a controller of term \(theirs), later than \(term)")
        }
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
        if !adopt(id, hello) { send(.welcome(id), to: id) }
        // Whoever was told to end and comes back has not heard it.
        if departed.contains(hello.incarnation) { leave(id) }
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
        adoption?.forget(id)
        let left = worker.toldToEnd
        if !left { putOnProbation(worker.hello.name) }
        if let usage = worker.emulation { emulationPast = (emulationPast ?? EmulationUsage()) + usage }
        if left {
            counters.workersLeft += 1
            departed = departed.suffix(63) + [worker.hello.incarnation]
        } else if !stopped {
            counters.workersLost += 1
        }
        actions.append(left ? .parted(id, reason: reason) : .dismiss(id, reason: reason))
        if !worker.isFree {
            strike(worker, pass: pass)
            for seat in worker.seats {
                endFeeds(worker.pipeline, seat.stage)
                pipelines[worker.pipeline].stages[seat.stage].worker = nil
            }
            beginRecovery(worker.pipeline, reason: reason, detect: max(now - worker.lastHeard, .zero))
            breakOff(worker.pipeline)
        }
        for hold in worker.holds { dropReplica(hold.pipeline, hold.stage) }
        forget(id)
        place()
    }

    /// What was in the pass that the lost worker ran is suspect.
    private mutating func strike(_ worker: WorkerState, pass: PassID?) {
        let known = pass.flatMap { id in pipelines[worker.pipeline].flights.first { $0.id == id } }
        guard let flight = pass == nil ? runningFlight(of: worker) ?? worker.suspect : known else { return }
        for entry in flight.entries {
            guard let at = sequences.index(of: entry.sequence), !sequences[at: at].ended else { continue }
            sequences[at: at].strike(entry.first..<(entry.end + (entry.samples ? 1 : 0)))
            if sequences[at: at].strikes >= limits.strikesMax {
                counters.sequencesPoisoned += 1
                end(entry.sequence, .poisoned)
            }
        }
    }

    /// The worker is gone, and with it what it knew of every sequence.
    private mutating func forget(_ id: WorkerID) {
        var quiet: [(sequence: SequenceID, pipeline: Int)] = []
        for at in sequences.indices {
            for place in [sequences[at: at].home, sequences[at: at].guest].compactMap({ $0 }) {
                for stage in place.openAt.indices where place.openAt[stage] == id || place.keptAt[stage] == id {
                    sequences[at: at].forget(place.pipeline, stage)
                }
                guard let due = place.releasesDue.firstIndex(of: id) else { continue }
                sequences[at: at].change(place.pipeline) { _ = $0.releasesDue.remove(at: due) }
                if place.releasesDue.count == 1 { quiet.append((sequences.keys[at], place.pipeline)) }
            }
        }
        for (sequence, pipeline) in quiet { becomeQuiet(sequence, in: pipeline) }
    }

    /// What the worker of a stage knew of its sequences is gone: it was told to make another engine, or has another
    /// stage now. Releases that it was asked for it answers before it says that it is ready for the next epoch.
    mutating func forgetStage(_ index: Int, _ stage: Int) {
        endFeeds(index, stage)
        for sequence in pipelines[index].members {
            if let at = sequences.index(of: sequence) { sequences[at: at].forget(index, stage) }
        }
    }

    /// A worker says that its link to the next stage broke. Rows may be lost, so the epoch ends; if the link fails
    /// again and again, the receiving worker is given up.
    mutating func peerLost(_ peer: WorkerID, reportedBy id: WorkerID) {
        guard let worker = workers[id], !worker.isFree, pipelines[worker.pipeline].phase != .forming else { return }
        let index = worker.pipeline
        let stages = pipelines[index].stages
        guard worker.seats.contains(where: { $0.stage + 1 < stages.count && stages[$0.stage + 1].worker == peer })
        else { return }
        pipelines[index].linkFailures += 1
        if pipelines[index].linkFailures > limits.linkFailuresMax {
            pipelines[index].linkFailures = 0
            lose(peer, reason: "the link from \(id) to it broke again and again")
        } else {
            beginRecovery(index, reason: "the link from \(id) to \(peer) broke", detect: .zero)
            breakOff(index)
            place()
        }
    }
}
