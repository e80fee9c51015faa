import DejaVuCore
import DejaVuKV

/// The queue in front of the compute thread, and where results go.
extension WorkerMachine {
    mutating func receive(_ pass: Pass, rows: RowsHandle?, term passTerm: Term) {
        guard passTerm == term, let stage, announced, isCurrent(pass), (stage.stageIndex == 0) == (rows == nil),
            !stopping, !failed
        else {
            counters.messagesStale += 1
            if let rows { actions.append(.drop(rows)) }
            return
        }
        guard waiting.count < Self.waitingMax else {
            fail(Work(pass: pass, rows: rows), DejaVuError(.resourceExhausted, "too many passes wait at one stage"))
            return
        }
        waiting.append(Work(pass: pass, rows: rows))
    }

    private func isCurrent(_ pass: Pass) -> Bool {
        guard let stage else { return false }
        return pass.pipeline == stage.pipeline && pass.epoch == stage.epoch
    }

    /// Starts the pass at the head if the compute thread is free and all its sequences are open.
    mutating func startNext() {
        while running == nil, !stopping, !failed, let work = waiting.first {
            guard work.pass.entries.allSatisfy({ tickets.ticket(of: $0.sequence) != nil }) else { return }
            waiting.removeFirst()
            if let error = reasonNotToRun(work.pass) {
                fail(work, error)
                return
            }
            running = Running(pass: work.pass, commits: true)
            actions.append(.compute(work.pass, work.rows))
        }
    }

    /// Every entry needs an open ticket up to its end, and no hole below its start.
    private func reasonNotToRun(_ pass: Pass) -> DejaVuError? {
        for entry in pass.entries {
            guard let sequence = sequences[entry.sequence], let ticket = tickets.ticket(of: entry.sequence) else {
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

    private mutating func fail(_ work: Work, _ error: DejaVuError) {
        counters.passesFailed += 1
        counters.messagesWrong += 1
        if let rows = work.rows { actions.append(.drop(rows)) }
        giveUp(work.pass, error)
    }

    /// Nothing may build on a pass that failed: the stage runs no other in this epoch.
    private mutating func giveUp(_ pass: Pass, _ error: DejaVuError) {
        failed = true
        dropWaiting()
        send(.passFailed(pass.id, pass.pipeline, pass.epoch, error))
    }

    mutating func computed(_ id: PassID, _ output: ComputeOutput, computed: TimeSpan, idleBefore: TimeSpan) {
        guard let run = running, run.pass.id == id else {
            preconditionFailure("\(id) has ended, but does not run")
        }
        let pass = run.pass
        running = nil
        counters.passesRun += 1
        // Committed KV is valid in every epoch, as long as the sequence keeps its cells.
        for entry in pass.entries where run.commits {
            guard let index = sequences.index(of: entry.sequence) else { continue }
            sequences[at: index].watermark = max(sequences[at: index].watermark, entry.end)
        }
        deliver(pass, output, computed: computed, idleBefore: idleBefore)
        finishReleases()
    }

    private mutating func deliver(_ pass: Pass, _ output: ComputeOutput, computed: TimeSpan, idleBefore: TimeSpan) {
        guard let stage, isCurrent(pass), let term else {
            counters.passesVoided += 1
            if case .hidden(let rows) = output { actions.append(.drop(rows)) }
            return
        }
        switch output {
        case .hidden(let rows):
            if let link, link.connected, stage.next?.incarnation == link.peer.incarnation {
                actions.append(.forward(to: link.peer.incarnation, term, pass, rows))
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
        guard let pass = running?.pass, pass.id == id else {
            preconditionFailure("\(id) has failed, but does not run")
        }
        running = nil
        counters.passesFailed += 1
        if isCurrent(pass) { giveUp(pass, error) }
        finishReleases()
    }

    private mutating func finishReleases() {
        for sequence in releasing { send(.released(sequence)) }
        releasing.removeAll()
        if stopping { exit(code: 0, "the controller said so") }
    }

    /// How many handles the machine has been given and has not yet given back.
    package var rowsHeld: Int { waiting.reduce(0) { $0 + ($1.rows == nil ? 0 : 1) } }

    /// Proves what the machine promises about itself.
    package func checkIntegrity() {
        tickets.checkIntegrity()
        precondition(tickets.count <= sequences.count, "a ticket of a sequence that is not open")
        precondition(sequences.isEmpty || engine?.ready == true, "sequences are open without an engine")
        checkReplicas()
        precondition(waiting.isEmpty || stage != nil, "passes wait without a stage")
        precondition(releasing.isEmpty || running != nil, "a release waits for no pass")
        precondition(waiting.count <= Self.waitingMax, "the queue is longer than its limit")
        for work in waiting { precondition(isCurrent(work.pass), "a void pass waits") }
        var runs: [CellRun] = []
        for index in sequences.indices {
            let sequence = sequences[at: index]
            precondition(sequence.watermark <= sequence.cells.count, "a watermark above the cells")
            runs.append(sequence.cells)
        }
        runs.sort { $0.start < $1.start }
        for index in runs.indices.dropFirst() {
            precondition(runs[index - 1].end <= runs[index].start, "two open sequences share cells")
        }
    }
}
