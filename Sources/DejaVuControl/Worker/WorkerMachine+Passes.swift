import DejaVuCore
import DejaVuKV

/// The queues in front of the compute thread, and where results go.
extension WorkerMachine {
    mutating func receive(_ pass: Pass, rows: RowsHandle?, stageIndex: Int, term passTerm: Term) {
        guard passTerm == term, let index = seat(stageIndex), seats[index].announced, seats[index].isCurrent(pass),
            (stageIndex == 0) == (rows == nil), !stopping, !seats[index].failed
        else {
            counters.messagesStale += 1
            if let rows { actions.append(.drop(rows)) }
            return
        }
        arrivalCount += 1
        let work = Work(pass: pass, rows: rows, arrival: arrivalCount)
        guard seats[index].waiting.count < Self.waitingMax else {
            fail(work, index, DejaVuError(.resourceExhausted, "too many passes wait at one stage"))
            return
        }
        seats[index].waiting.append(work)
        if seats[index].stage.swaps {
            actions.append(.announce(seats[index].engine.id, pass.id, pass.entries.map(\.sequence)))
        }
    }

    /// Known before its rows come: what it needs can be brought in meanwhile.
    mutating func announced(
        _ pass: PassID, _ sequences: [SequenceID], _ pipeline: PipelineID, _ epoch: Epoch, stageIndex: Int
    ) {
        guard let index = seat(stageIndex), seats[index].announced, seats[index].stage.swaps,
            seats[index].stage.pipeline == pipeline, seats[index].stage.epoch == epoch, !stopping
        else { return }
        actions.append(.announce(seats[index].engine.id, pass, sequences))
    }

    mutating func dropWaiting(_ index: Int) {
        for work in seats[index].waiting {
            counters.passesVoided += 1
            if let rows = work.rows { actions.append(.drop(rows)) }
        }
        seats[index].waiting.removeAll()
    }

    /// Starts the pass that waits longest of those at a stage's head whose sequences are all open, if the compute
    /// thread is free.
    mutating func startNext() {
        while running == nil, !stopping, let index = nextSeat() {
            let work = seats[index].waiting.removeFirst()
            if let error = reasonNotToRun(work.pass, seats[index]) {
                fail(work, index, error)
                continue
            }
            running = Running(pass: work.pass, engine: seats[index].engine.id)
            actions.append(.compute(seats[index].engine.id, work.pass, work.rows))
        }
    }

    private func nextSeat() -> Int? {
        var best: Int?
        for index in seats.indices {
            guard !seats[index].failed, let work = seats[index].waiting.first,
                work.pass.entries.allSatisfy({ seats[index].tickets.ticket(of: $0.sequence) != nil })
            else { continue }
            if let found = best, seats[found].waiting[0].arrival < work.arrival { continue }
            best = index
        }
        return best
    }

    /// Every entry needs an open ticket up to its end, and no hole below its start.
    private func reasonNotToRun(_ pass: Pass, _ seat: Seat) -> DejaVuError? {
        for entry in pass.entries {
            guard let sequence = seat.sequences[entry.sequence], let ticket = seat.tickets.ticket(of: entry.sequence)
            else {
                return DejaVuError(.internalError, "\(entry.sequence) is not open")
            }
            if entry.first < 0 || entry.tokens.isEmpty || entry.end > ticket.positionLimit {
                return DejaVuError(
                    .invalidArgument,
                    "\(entry.sequence) has leave for \(ticket.positionLimit) positions,"
                        + " not for \(entry.first)..<\(entry.end)"
                )
            }
            if entry.first > sequence.watermark {
                return DejaVuError(
                    .invalidArgument,
                    "\(entry.sequence) is committed up to \(sequence.watermark), the pass begins at \(entry.first)")
            }
        }
        return nil
    }

    private mutating func fail(_ work: Work, _ index: Int, _ error: DejaVuError) {
        counters.passesFailed += 1
        counters.messagesWrong += 1
        if let rows = work.rows { actions.append(.drop(rows)) }
        giveUp(work.pass, index, error)
    }

    /// Nothing may build on a pass that failed: the stage runs no other in this epoch.
    private mutating func giveUp(_ pass: Pass, _ index: Int, _ error: DejaVuError) {
        seats[index].failed = true
        dropWaiting(index)
        send(.passFailed(pass.id, pass.pipeline, pass.epoch, error))
    }

    mutating func computed(_ id: PassID, _ output: ComputeOutput, computed: TimeSpan, idleBefore: TimeSpan) {
        guard let run = running, run.pass.id == id else {
            preconditionFailure("\(id) has ended, but does not run")
        }
        running = nil
        counters.passesRun += 1
        let index = seat(of: run.engine)
        if let index, run.commits {
            // Committed KV is valid in every epoch, as long as the sequence keeps its cells.
            for entry in run.pass.entries {
                guard let at = seats[index].sequences.index(of: entry.sequence) else { continue }
                let watermark = seats[index].sequences[at: at].watermark
                seats[index].sequences[at: at].watermark = max(watermark, entry.end)
            }
        }
        deliver(run.pass, from: run.isAwaited ? index : nil, output, computed: computed, idleBefore: idleBefore)
        finishReleases()
    }

    private mutating func deliver(
        _ pass: Pass, from index: Int?, _ output: ComputeOutput, computed: TimeSpan, idleBefore: TimeSpan
    ) {
        guard let index, seats[index].isCurrent(pass), let term else {
            counters.passesVoided += 1
            if case .hidden(let rows) = output { actions.append(.drop(rows)) }
            return
        }
        let stage = seats[index].stage
        switch output {
        case .hidden(let rows):
            if let next = stage.next?.incarnation, isConnected(to: next) {
                if next == incarnation {
                    receive(pass, rows: rows, stageIndex: stage.stageIndex + 1, term: term)
                } else {
                    actions.append(.forward(to: next, term, pass, stageIndex: stage.stageIndex + 1, rows))
                }
            } else {
                actions.append(.drop(rows))
            }
        case .sampled(let tokens):
            send(.sampled(pass.id, pass.pipeline, pass.epoch, tokens))
        }
        send(
            .passed(
                PassTiming(
                    pass: pass.id, pipeline: pass.pipeline, epoch: pass.epoch, stageIndex: stage.stageIndex,
                    computed: computed, idleBefore: idleBefore)))
    }

    mutating func computeFailed(_ id: PassID, _ error: DejaVuError) {
        guard let run = running, run.pass.id == id else {
            preconditionFailure("\(id) has failed, but does not run")
        }
        running = nil
        counters.passesFailed += 1
        if run.isAwaited, let index = seat(of: run.engine), seats[index].isCurrent(run.pass) {
            giveUp(run.pass, index, error)
        }
        finishReleases()
    }

    private mutating func finishReleases() {
        for sequence in releases.keys {
            guard let index = releases.index(of: sequence) else { continue }
            releases[at: index].waitsForPass = false
            answerRelease(sequence)
        }
        if stopping { exit(code: 0, "the controller said so") }
    }
}
