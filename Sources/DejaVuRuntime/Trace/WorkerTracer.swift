package import DejaVuControl
package import DejaVuCore
package import DejaVuKV
import Synchronization

/// Writes down what a worker does while a controller wants to know. Off, it costs the compute thread one load for each
/// pass.
package final class WorkerTracer: Sendable {
    fileprivate struct Place: Hashable {
        let engine: EngineID
        let sequence: SequenceID
    }

    fileprivate struct State {
        var records: [TraceRecord] = []
        var dropped = 0
        /// The sequences of all stages, without which waiting is no bubble.
        var open: Set<Place> = []
        /// Since when the thread waits although some are open.
        var waitingSince: Instant?
    }

    /// Between two batches, which travel with heartbeats: far more than a worker can do in 100 ms.
    fileprivate static let recordsMax = 1 << 14
    /// What lies between two passes anyway.
    private static let bubbleMin = TimeSpan.microseconds(10)

    private let isOn = Atomic<Bool>(false)
    private let state = Mutex(State())

    package init() {}

    /// Begins with nothing: a controller asks when a worker joins, before it has a stage.
    package func turnOn() {
        state.withLock { $0 = State() }
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

    package func opened(_ sequence: SequenceID, in engine: EngineID) {
        change { state, now in
            if state.open.isEmpty { state.waitingSince = now }
            state.open.insert(Place(engine: engine, sequence: sequence))
        }
    }

    package func released(_ sequence: SequenceID, in engine: EngineID) {
        change { state, _ in state.open.remove(Place(engine: engine, sequence: sequence)) }
    }

    package func unloaded(_ engine: EngineID) {
        change { state, _ in state.open = state.open.filter { $0.engine != engine } }
    }

    package func ran(_ pass: Pass, stageIndex: Int, from start: Instant, to end: Instant) {
        change { state, _ in
            if let since = state.waitingSince, !state.open.isEmpty, start - since >= Self.bubbleMin {
                state.add(.bubble(start: since, span: start - since))
            }
            state.waitingSince = end
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

    package func landed(_ header: FrameHeader, from start: Instant, to end: Instant) {
        change { state, _ in
            state.add(
                .transfer(
                    TracedTransfer(
                        sequence: header.span.sequence, layers: header.span.layers, positions: header.span.positions,
                        bytes: header.payloadBytes, writer: header.writer, start: start,
                        span: end - start)))
        }
    }

    private func change(_ body: (inout State, Instant) -> Void) {
        guard isOn.load(ordering: .acquiring) else { return }
        state.withLock { body(&$0, MonotonicClock.now) }
    }
}

extension WorkerTracer.State {
    fileprivate mutating func add(_ record: TraceRecord) {
        if records.count < WorkerTracer.recordsMax { records.append(record) } else { dropped += 1 }
    }
}
