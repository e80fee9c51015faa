import DejaVuCore
import DejaVuKV

/// The beginning of a reign: workers that obeyed an earlier controller come, say what they have, and keep it. See
/// docs/recovery.md.
extension ControllerMachine {
    mutating func beginAdoption(expecting expected: [Incarnation], until: Instant, deadline: Instant) {
        precondition(workers.isEmpty && requests.isEmpty && adoption == nil, "adoption comes before everything")
        adoption = Adoption(expected: expected, until: until, deadline: deadline)
        // Nobody else has given numbers in this reign, and those of earlier ones are below: none is used twice, not
        // even one that no living worker remembers.
        let base = (self.term.number - 1) << 40
        sequenceCount = base
        passCount = base
        ticketCount = base
        replicaCount = base
    }

    /// Another controller reigns. Requests end here; what workers have is its own.
    mutating func depose(_ reason: String) {
        guard !stopped else { return }
        stopped = true
        for id in requests.keys { endAll(of: id, .shutdown) }
        actions.append(.deposed(reason: reason))
    }

    /// Takes a worker over that has obeyed somebody before.
    ///
    /// - Returns: false if there is nothing to take over.
    mutating func adopt(_ id: WorkerID, _ hello: WorkerHello) -> Bool {
        guard adoption != nil else { return false }
        adoption?.expected.removeAll { $0 == hello.incarnation }
        guard hello.term != nil else { return false }
        adoption?.silent.append(id)
        send(.adopt(id), to: id)
        return true
    }

    /// - Returns: whether that was all there is to do with the message for now.
    mutating func isForAdoption(_ message: WorkerMessage, from id: WorkerID, _ incarnation: Incarnation) -> Bool {
        switch message {
        case .heartbeat, .leaving: return false
        case .record(let record, let ended): adoption?.note(record, ended: ended)
        case .report(let report): reported(report, by: id)
        case .held, .holdFailed, .replicated:
            // What came before the report is in it.
            guard let known = adoption, known.reports.contains(id) else { return true }
            guard known.later.count < Adoption.laterMax else {
                lose(id, reason: "it says too much before it was told anything")
                return true
            }
            adoption?.later.append(Adoption.Later(worker: id, incarnation: incarnation, message: message))
        default: counters.messagesStale += 1
        }
        return true
    }

    private mutating func reported(_ report: WorkerReport, by id: WorkerID) {
        guard let known = adoption, let place = known.silent.firstIndex(of: id) else {
            counters.messagesStale += 1
            return
        }
        guard report.sequences.allSatisfy({ known.known.contains($0) }) else {
            return lose(id, reason: "it reports a sequence without its record")
        }
        adoption?.silent.remove(at: place)
        adoption?.reports.insert(report, for: id)
        counters.workersAdopted += 1
    }

    mutating func endAdoptionIfComplete() {
        if let adoption, adoption.isComplete { endAdoption() }
    }

    mutating func endAdoptionIfDue() {
        if let adoption, adoption.until <= now { endAdoption() }
    }

    private mutating func endAdoption() {
        guard let ended = adoption, !stopped else { return }
        adoption = nil
        // Who has not answered in time begins anew.
        for id in ended.silent { send(.welcome(id), to: id) }
        rebuild(from: ended)
        actions.append(.adopted)
        for later in ended.later {
            guard let index = workers.index(of: later.worker) else { continue }
            obey(later.message, of: later.worker, at: index)
        }
        admissionDue = true
        place()
        for id in workers.keys { letGo(id) }
    }

    /// Has a worker keep the record of a sequence that it is about to release, if a client may still want it.
    func keepsEnding(_ reason: FinishReason) -> Bool {
        switch reason {
        case .stop, .length, .deadline, .poisoned: limits.endedKept > .zero
        case .cancelled, .shutdown: false
        }
    }

    mutating func keepEnding(of sequence: SequenceState, at worker: WorkerID) {
        guard let reason = sequence.finish, !sequence.isProbe, keepsEnding(reason) else { return }
        send(
            .ended(sequence.record.id, outputs: sequence.record.outputs, reason, keep: limits.endedKept), to: worker)
    }
}
