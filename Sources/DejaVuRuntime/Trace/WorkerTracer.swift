package import DejaVuControl
package import DejaVuCore
import Synchronization

/// Writes down what a worker does while a controller wants to know. Off, it costs the compute thread one load for each
/// pass, and an entry for each sequence.
package final class WorkerTracer: Sendable {
    fileprivate struct Place: Hashable {
        let engine: EngineID
        let sequence: SequenceID
    }

    /// A sequence of a stage.
    fileprivate struct Open {
        /// Positions at and above this are not run here: a guest leaves when its prompt has been.
        let positionLimit: Int
        /// Whether it is this worker's turn: no prompt stage feeds it, and there is something left to run.
        var isDue: Bool
    }

    fileprivate struct State {
        var records: [TraceRecord] = []
        var dropped = 0
        var open: [Place: Open] = [:]
        /// How many are due. Without any, waiting is no bubble.
        var dueCount = 0
        /// Since when the thread waits although some are due.
        var waitingSince = Instant.zero
    }

    /// Between two batches, which travel with heartbeats: far more than a worker can do in 100 ms.
    fileprivate static let recordsMax = 1 << 14
    /// What lies between two passes anyway.
    private static let bubbleMin = TimeSpan.microseconds(10)

    private let isOn = Atomic<Bool>(false)
    private let state = Mutex(State())

    package init() {}

    /// A controller asks when a worker joins, which may have stages and sequences of the controller before.
    package func turnOn() {
        state.withLock { state in
            (state.records, state.dropped, state.waitingSince) = ([], 0, MonotonicClock.now)
        }
        isOn.store(true, ordering: .releasing)
    }

    package func turnOff() { isOn.store(false, ordering: .releasing) }

    /// Everything since the last call; nil if there is nothing.
    package func take(at now: Instant) -> TraceBatch? {
        guard isOn.load(ordering: .acquiring) else { return nil }
        return state.withLock { state in
            guard !state.records.isEmpty || state.dropped > 0 else { return nil }
            defer { (state.records, state.dropped) = ([], 0) }
            return TraceBatch(sentAt: now, dropped: state.dropped, records: state.records)
        }
    }

    // MARK: On the compute thread

    /// - Parameter positionLimit: how many positions are to be run here at most.
    package func opened(_ sequence: SequenceID, in engine: EngineID, positionLimit: Int) {
        let now = MonotonicClock.now
        state.withLock { state in
            let place = Place(engine: engine, sequence: sequence)
            state.setDue(place, false, at: now)
            state.open[place] = Open(positionLimit: positionLimit, isDue: false)
            state.setDue(place, true, at: now)
        }
    }

    /// Another pipeline computes for this one until the sequence is in a pass here.
    package func fed(_ sequence: SequenceID, in engine: EngineID) {
        state.withLock { $0.setDue(Place(engine: engine, sequence: sequence), false, at: MonotonicClock.now) }
    }

    package func released(_ sequence: SequenceID, in engine: EngineID) {
        state.withLock { $0.close(Place(engine: engine, sequence: sequence)) }
    }

    package func unloaded(_ engine: EngineID) {
        state.withLock { state in
            for place in state.open.keys where place.engine == engine { state.close(place) }
        }
    }

    package func ran(_ pass: Pass, in engine: EngineID, stageIndex: Int, from start: Instant, to end: Instant) {
        guard isOn.load(ordering: .acquiring) else { return }
        state.withLock { state in
            if state.dueCount > 0, start - state.waitingSince >= Self.bubbleMin {
                state.add(.bubble(start: state.waitingSince, span: start - state.waitingSince))
            }
            state.waitingSince = end
            for entry in pass.entries {
                let place = Place(engine: engine, sequence: entry.sequence)
                guard let limit = state.open[place]?.positionLimit else { continue }
                state.setDue(place, entry.end < limit, at: end)
            }
            let steps = pass.entries.reduce(0) { $0 + ($1.tokens.count == 1 && $1.samples ? 1 : 0) }
            state.add(
                .pass(
                    TracedPass(
                        pass: pass.id, pipeline: pass.pipeline, epoch: pass.epoch, stageIndex: stageIndex,
                        start: start, span: end - start, rows: pass.rowCount, steps: steps,
                        chunks: pass.entries.count - steps)))
        }
    }

    // MARK: On any thread

    package func landed(_ transfer: TracedTransfer, at now: Instant) {
        guard isOn.load(ordering: .acquiring) else { return }
        state.withLock { state in
            var transfer = transfer
            transfer.span = now - transfer.start
            state.add(.transfer(transfer))
        }
    }
}

extension WorkerTracer.State {
    fileprivate mutating func add(_ record: TraceRecord) {
        if records.count < WorkerTracer.recordsMax { records.append(record) } else { dropped += 1 }
    }

    /// Unknown places are ignored.
    fileprivate mutating func setDue(_ place: WorkerTracer.Place, _ isDue: Bool, at now: Instant) {
        guard let open = open[place], open.isDue != isDue else { return }
        self.open[place]?.isDue = isDue
        if isDue, dueCount == 0 { waitingSince = now }
        dueCount += isDue ? 1 : -1
    }

    fileprivate mutating func close(_ place: WorkerTracer.Place) {
        guard let closed = open.removeValue(forKey: place) else { return }
        if closed.isDue { dueCount -= 1 }
    }
}
