import DejaVuCore
import DejaVuKV

/// How sequences and requests end, and how their cells come back.
extension ControllerMachine {
    /// The client is told at once; the cells follow when they are quiet. No further pass contains the sequence.
    mutating func end(_ id: SequenceID, _ reason: FinishReason) {
        guard let at = sequences.index(of: id), !sequences[at: at].ended else { return }
        sequences[at: at].ended = true
        sequences[at: at].finish = reason
        if !sequences[at: at].isProbe { tellEnd(of: sequences[at: at].record, reason) }
        switch sequences[at: at].phase {
        case .running: leavePlaces(id)
        case .leaving: break
        case .parked:
            parked.removeAll { $0 == id }
            sequences.remove(id)
            admissionDue = true
        }
    }

    /// The sequence gives up all that it has.
    mutating func leavePlaces(_ id: SequenceID) {
        guard let at = sequences.index(of: id) else { return }
        let places = [sequences[at: at].guest, sequences[at: at].home].compactMap { $0?.pipeline }
        for index in places { sequences[at: at].change(index) { $0.isLeaving = true } }
        for index in places { settle(id, in: index) }
    }

    private mutating func tellEnd(of record: SequenceRecord, _ reason: FinishReason) {
        actions.append(.finished(record.request, choice: record.choice, reason))
        guard let at = requests.index(of: record.request) else {
            preconditionFailure("\(record.id) belongs to no request")
        }
        requests[at: at].ended[record.choice] = true
        if requests[at: at].ended.allSatisfy({ $0 }) { close(record.request) }
    }

    private mutating func close(_ id: RequestID) {
        requests.remove(id)
        counters.requestsEnded += 1
        if let lastEnd {
            endInterval = TimeSpan(nanoseconds: (endInterval.nanoseconds * 7 + (now - lastEnd).nanoseconds) / 8)
        }
        lastEnd = now
    }

    mutating func endAll(of id: RequestID, _ reason: FinishReason) {
        guard let state = requests[id] else { return }
        guard state.choices.isEmpty else {
            for sequence in state.choices { end(sequence, reason) }
            return
        }
        queue.removeAll { $0 == id }
        queueTokens -= state.tokens
        admissionDue = true
        for choice in 0..<state.request.choiceCount { actions.append(.finished(id, choice: choice, reason)) }
        close(id)
    }

    /// The server found a stop string. It can only know of choices that have emitted something; others are none of its
    /// business, and one that has ended has ended.
    mutating func finish(_ id: RequestID, choice: Int) {
        guard let state = requests[id], state.choices.indices.contains(choice) else { return }
        end(state.choices[choice], .stop)
    }

    /// Asks every stage of a pipeline to forget a sequence that leaves it, as soon as no pass contains it: a pass that
    /// was sent never meets a sequence that is gone.
    mutating func settle(_ id: SequenceID, in index: Int) {
        guard let at = sequences.index(of: id), let place = sequences[at: at][index], place.isLeaving,
            place.inFlight == 0, !place.releasesSent
        else { return }
        var due: [WorkerID] = []
        for stage in place.openAt.indices {
            for worker in [place.openAt[stage], place.keptAt[stage], place.copies[stage]?.holder] {
                // Each worker is asked once, also the holder of several stages.
                if let worker, workers.contains(worker), !due.contains(worker) { due.append(worker) }
            }
        }
        sequences[at: at].change(index) { place in
            place.releasesSent = true
            place.releasesDue = due
            for stage in place.openAt.indices {
                place.openAt[stage] = nil
                place.keptAt[stage] = nil
                place.copies[stage] = nil
            }
        }
        for worker in due {
            guard let known = workers.index(of: worker) else { continue }
            keepEnding(of: sequences.values[at], at: worker)
            if workers[at: known].releasesDue == 0 { workers[at: known].releasesSince = now }
            workers[at: known].releasesDue += 1
            send(.release(id, of: pipelines[index].id), to: worker)
        }
        if due.isEmpty { becomeQuiet(id, in: index) }
    }

    mutating func released(_ id: SequenceID, of pipeline: PipelineID, by worker: WorkerID) {
        guard let index = pipelines.firstIndex(where: { $0.id == pipeline }), let at = sequences.index(of: id),
            let due = sequences[at: at][index]?.releasesDue.firstIndex(of: worker),
            let known = workers.index(of: worker)
        else {
            counters.messagesStale += 1
            return
        }
        sequences[at: at].change(index) { _ = $0.releasesDue.remove(at: due) }
        workers[at: known].releasesDue -= 1
        workers[at: known].releasesSince = now
        if sequences[at: at][index]?.releasesDue.isEmpty == true { becomeQuiet(id, in: index) }
    }

    /// All engines of a pipeline are made anew: there are no cells any more that its workers could write to. Each
    /// answers what it was asked before it says that it is ready, and nobody waits for that.
    mutating func forgetReleases(_ index: Int) {
        for id in pipelines[index].members {
            guard let at = sequences.index(of: id), let due = sequences[at: at][index]?.releasesDue, !due.isEmpty
            else { continue }
            for worker in due {
                if let known = workers.index(of: worker) { workers[at: known].releasesDue -= 1 }
            }
            sequences[at: at].change(index) { $0.releasesDue.removeAll() }
            becomeQuiet(id, in: index)
        }
    }

    /// Nobody can touch the cells any more.
    mutating func becomeQuiet(_ id: SequenceID, in index: Int) {
        guard let at = sequences.index(of: id), let place = sequences[at: at][index], place.isLeaving else {
            preconditionFailure("\(id) is quiet but was not leaving")
        }
        pipelines[index].cells.free(place.cells)
        pipelines[index].removeMember(id)
        if pipelines[index].probe == id { pipelines[index].probe = nil }
        admissionDue = true
        guestsDue = true
        // Somebody else may have a turn on the devices now.
        if canSwap(index) { pipelines[index].dirty = true }
        if isClosed(index) { movesDue = true }
        if sequences[at: at].home?.pipeline == index {
            sequences[at: at].home = nil
        } else {
            sequences[at: at].guest = nil
        }
        sequences[at: at].feeds.removeAll()
        if let home = sequences[at: at].home { pipelines[home.pipeline].dirty = true }
        guard sequences[at: at].home == nil, sequences[at: at].guest == nil else { return }
        if sequences[at: at].ended {
            sequences.remove(id)
        } else {
            parked.insert(id, at: parked.firstIndex { $0 > id } ?? parked.count)
        }
    }

    // MARK: The end of the server

    mutating func drain(until deadline: Instant) {
        guard !stopped else { return }
        drainDeadline = min(deadline, drainDeadline ?? .never)
        for id in queue {
            guard let state = requests.remove(id) else { continue }
            queueTokens -= state.tokens
            counters.requestsRefused += 1
            let error = DejaVuError(.unavailable, "the server is stopping")
            actions.append(.refused(id, Refusal(error: error, retryAfter: limits.retryAfterMin)))
        }
        queue.removeAll()
        endAtDrainDeadline()
    }

    mutating func endAtDrainDeadline() {
        guard let drainDeadline, drainDeadline <= now else { return }
        for id in requests.keys { endAll(of: id, .shutdown) }
    }

    /// Stops when the last request has ended.
    mutating func stopIfDrained() {
        guard drainDeadline != nil, !stopped, requests.isEmpty else { return }
        stopped = true
        for worker in workers.keys { send(.shutdown, to: worker) }
        actions.append(.stopped)
    }
}
