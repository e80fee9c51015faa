package import DejaVuCore
import DejaVuKV

extension WorkerMachine {
    /// How many handles the machine has been given and has not yet given back.
    package var rowsHeld: Int {
        seats.reduce(0) { $1.waiting.reduce($0) { $0 + ($1.rows == nil ? 0 : 1) } }
    }

    /// The sequences of its first stage.
    package var openSequences: [SequenceID] { seats.first?.sequences.keys ?? [] }

    /// Proves what the machine promises about itself.
    package func checkIntegrity() {
        for index in seats.indices {
            check(seats[index])
            precondition(
                index == 0 || seats[index - 1].stage.stageIndex < seats[index].stage.stageIndex, "seats out of order")
            precondition(seats[index].stage.pipeline == seats[0].stage.pipeline, "stages of two pipelines")
        }
        checkReplicas()
        for release in releases.values {
            precondition(
                (release.waitsForPass && running != nil) || !release.replicas.isEmpty || !release.engines.isEmpty,
                "a release waits for nothing")
            precondition(
                release.engines.allSatisfy { seat(of: $0) != nil }, "a release waits for an engine that is gone")
        }
    }

    private func check(_ seat: Seat) {
        seat.tickets.checkIntegrity()
        precondition(seat.tickets.count <= seat.sequences.count, "a ticket of a sequence that is not open")
        precondition(seat.sequences.isEmpty || seat.engine.ready, "sequences are open without an engine")
        precondition(seat.waiting.count <= Self.waitingMax, "the queue is longer than its limit")
        precondition(seat.promoting.map { holds.contains($0) } ?? true, "a replica is taken over that is not held")
        for work in seat.waiting { precondition(seat.isCurrent(work.pass), "a void pass waits") }
        for index in seat.sequences.indices {
            let sequence = seat.sequences[at: index]
            precondition(sequence.watermark <= sequence.cells.count, "a watermark above the cells")
        }
        precondition(areApart(seat.sequences), "two open sequences share cells")
    }

    private func checkReplicas() {
        for index in holds.indices {
            let hold = holds[at: index]
            precondition(hold.ready || hold.sequences.isEmpty, "sequences are open in a replica without an engine")
            precondition(areApart(hold.sequences), "two sequences of a replica share cells")
            let place = hold.assignment
            guard !isPromoting(holds.keys[index]) else { continue }
            precondition(
                !seats.contains {
                    $0.stage.pipeline == place.pipeline && $0.stage.stageIndex == place.stageIndex
                }, "a stage and its replica on one worker")
        }
    }

    private func areApart(_ sequences: SortedMap<SequenceID, OpenSequence>) -> Bool {
        let runs = sequences.values.map(\.cells).sorted { $0.start < $1.start }
        return runs.indices.dropFirst().allSatisfy { runs[$0 - 1].end <= runs[$0].start }
    }
}
