import DejaVuCore
import DejaVuKV

extension ControllerMachine {
    /// Proves what the machine promises about itself: every cell has one owner, every list agrees with every other,
    /// every limit holds. For tests and simulation; costs time in proportion to everything.
    package func checkIntegrity() {
        checkQueue()
        checkSequences()
        for index in pipelines.indices { checkPipeline(index) }
        for index in workers.indices {
            let worker = workers[at: index]
            for seat in worker.seats {
                precondition(
                    pipelines[worker.pipeline].stages[seat.stage].worker == workers.keys[index],
                    "\(workers.keys[index]) is placed where another is")
            }
            for hold in worker.holds {
                precondition(
                    !worker.runs(hold.pipeline, hold.stage), "\(workers.keys[index]) holds the replica of its own stage"
                )
                precondition(
                    pipelines[hold.pipeline].stages[hold.stage].replica?.id == hold.id, "\(hold.id) is nobody's")
            }
        }
    }

    /// Whether nothing runs and nothing waits; what has ended is quiet.
    package var isAtRest: Bool { requests.isEmpty && sequences.isEmpty }

    private func checkQueue() {
        precondition(queue.count <= limits.queueRequestsMax, "the queue is longer than its limit")
        var tokens = 0
        for id in queue {
            guard let state = requests[id] else { preconditionFailure("\(id) is queued but not known") }
            precondition(state.choices.isEmpty, "\(id) is queued and runs")
            tokens += state.tokens
        }
        precondition(tokens == queueTokens && tokens <= limits.queueTokensMax, "the queue's tokens are miscounted")
        for index in requests.indices where requests[at: index].choices.isEmpty {
            precondition(queue.contains(requests.keys[index]), "\(requests.keys[index]) neither waits nor runs")
        }
    }

    private func checkSequences() {
        for index in sequences.indices {
            let id = sequences.keys[index]
            for pipeline in pipelines.indices {
                precondition(
                    pipelines[pipeline].members.contains(id) == isPlaced(index, in: pipeline),
                    "\(id) has cells or not, but both are said")
            }
            let phase = sequences[at: index].phase
            let ended = sequences[at: index].ended
            let guest = sequences[at: index].guest?.pipeline
            precondition(guest.map { pipelines[$0].role == .prompt } ?? true, "\(id) is a guest at home")
            precondition(guest != nil || sequences[at: index].feeds.isEmpty, "\(id) is fed by nobody")
            precondition(parked.contains(id) == (phase == .parked), "\(id) is parked or not, but both are said")
            precondition(phase != .running || !ended, "\(id) runs after its end")
            precondition(
                sequences[at: index].isProbe || ended || requests.contains(sequences[at: index].record.request),
                "\(id) is lost")
            precondition(
                sequences[at: index].record.outputs.count <= sequences[at: index].record.outputCountMax,
                "\(id) has too many outputs")
            if sequences[at: index].home != nil { checkPlace(id, sequences[at: index].home) }
            if guest != nil { checkPlace(id, sequences[at: index].guest) }
        }
    }

    private func isPlaced(_ index: Int, in pipeline: Int) -> Bool {
        sequences[at: index].home?.pipeline == pipeline || sequences[at: index].guest?.pipeline == pipeline
    }

    private func checkPlace(_ id: SequenceID, _ place: Place?) {
        guard let place else { return }
        let index = place.pipeline
        var flights = 0
        for flight in pipelines[index].flights where flight.entries.contains(where: { $0.sequence == id }) {
            flights += 1
        }
        precondition(flights == place.inFlight, "\(id) is in \(flights) passes, not \(place.inFlight)")
        guard !place.isLeaving, pipelines[index].phase == .serving else { return }
        for stage in place.openAt.indices {
            precondition(
                place.openAt[stage] == pipelines[index].stages[stage].worker, "\(id) is not open in all stages")
        }
    }

    private func checkPipeline(_ index: Int) {
        pipelines[index].cells.checkIntegrity()
        var runs: [CellRun] = []
        var running = 0
        for id in pipelines[index].members {
            if let cells = cells(of: id, in: index) { runs.append(cells) }
            if let at = sequences.index(of: id), sequences[at: at].phase == .running { running += 1 }
        }
        runs.sort { $0.start < $1.start }
        precondition(runs == pipelines[index].cells.used, "the cells in use are not those of the members")
        precondition(running <= limits.sequencesMax + 1, "more sequences than the limit, a probe aside")
        precondition(
            pipelines[index].flights.count
                <= pipelines[index].stages.count + limits.passesExtra + (canSwap(index) ? 1 : 0),
            "more passes in flight than the limit")
        for flight in pipelines[index].flights {
            precondition(flight.rows <= rowsMax(of: index), "a pass over the budget")
            guard pipelines[index].phase == .serving else { continue }
            let count = flight.entries.reduce(0) { $0 + (cells(of: $1.sequence, in: index)?.count ?? 0) }
            precondition(count <= pipelines[index].swap.residentCount, "a pass of more than a device holds")
        }
        for stage in pipelines[index].stages.indices {
            guard let worker = pipelines[index].stages[stage].worker else {
                precondition(pipelines[index].phase == .forming, "a stage without a worker in a pipeline that runs")
                continue
            }
            let runs = workers.index(of: worker).map { workers[at: $0].runs(index, stage) }
            precondition(runs == true, "\(worker) is not where it is")
        }
    }

    private func cells(of id: SequenceID, in pipeline: Int) -> CellRun? {
        guard let at = sequences.index(of: id) else { return nil }
        if sequences[at: at].home?.pipeline == pipeline { return sequences[at: at].home?.cells }
        return sequences[at: at].guest?.pipeline == pipeline ? sequences[at: at].guest?.cells : nil
    }
}
