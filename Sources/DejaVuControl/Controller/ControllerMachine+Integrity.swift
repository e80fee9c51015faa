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
            let sequence = sequences[at: index]
            precondition(
                pipelines.indices.allSatisfy { pipelines[$0].members.contains(id) == (sequence[$0] != nil) },
                "\(id) has cells or not, but both are said")
            precondition(
                sequence.guest.map { pipelines[$0.pipeline].role == .prompt } ?? true, "\(id) is a guest at home")
            precondition(sequence.guest != nil || sequence.feeds.isEmpty, "\(id) is fed by nobody")
            precondition(
                parked.contains(id) == (sequence.phase == .parked), "\(id) is parked or not, but both are said")
            precondition(sequence.phase != .running || !sequence.ended, "\(id) runs after its end")
            precondition(
                sequence.isProbe || sequence.ended || requests.contains(sequence.record.request), "\(id) is lost")
            precondition(sequence.record.outputs.count <= sequence.record.outputCountMax, "\(id) has too many outputs")
            for place in [sequence.home, sequence.guest].compactMap({ $0 }) { check(place, of: sequence) }
        }
    }

    private func check(_ place: Place, of sequence: SequenceState) {
        let id = sequence.record.id
        let pipeline = pipelines[place.pipeline]
        let flights = pipeline.flights.reduce(0) { count, flight in
            count + (flight.entries.contains { $0.sequence == id } ? 1 : 0)
        }
        precondition(flights == place.inFlight, "\(id) is in \(flights) passes, not \(place.inFlight)")
        if !place.isLeaving, pipeline.phase == .serving {
            precondition(place.openAt == pipeline.stages.map(\.worker), "\(id) is not open in all stages")
        }
    }

    private func checkPipeline(_ index: Int) {
        let pipeline = pipelines[index]
        pipeline.cells.checkIntegrity()
        let runs = pipeline.members.compactMap { sequences[$0]?[index]?.cells }.sorted { $0.start < $1.start }
        precondition(runs == pipeline.cells.used, "the cells in use are not those of the members")
        let running = pipeline.members.reduce(0) { $0 + (sequences[$1]?.phase == .running ? 1 : 0) }
        precondition(running <= limits.sequencesMax + 1, "more sequences than the limit, a probe aside")
        precondition(
            pipeline.flights.count <= pipeline.stages.count + limits.passesExtra + (canSwap(index) ? 1 : 0),
            "more passes in flight than the limit")
        for flight in pipeline.flights where pipeline.phase == .serving {
            let cells = flight.entries.reduce(0) { $0 + (sequences[$1.sequence]?[index]?.cells.count ?? 0) }
            precondition(cells <= pipeline.swap.residentCount, "a pass of more than a device holds")
        }
        for flight in pipeline.flights { precondition(flight.rows <= rowsMax(of: index), "a pass over the budget") }
        for (stage, description) in pipeline.stages.enumerated() {
            guard let worker = description.worker else {
                precondition(pipeline.phase == .forming, "a stage without a worker in a pipeline that runs")
                continue
            }
            precondition(workers[worker]?.runs(index, stage) == true, "\(worker) is not where it is")
        }
    }
}
