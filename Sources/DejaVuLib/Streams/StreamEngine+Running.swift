import DejaVuCore
import DejaVuKV
import NIOCore
import Synchronization

extension StreamEngine {
    /// Does the work until the task is cancelled; then nothing of it is under way any more. Once at a time.
    public func run() async {
        state.withLock { state in
            precondition(!state.isRunning, "an engine runs once at a time")
            state.isRunning = true
        }
        await withDiscardingTaskGroup { group in
            var spare: [Doorbell.Note] = []
            while !Task.isCancelled {
                let look = state.withLock { state in
                    state.lookCount += 1
                    return state.lookCount
                }
                let notes = doorbell.take(into: &spare)
                absorb(notes)
                if notes.isIncomplete { await askSource() }
                setAlarms { due in
                    group.addTask {
                        try? await Task.sleep(until: due, clock: .continuous)
                        self.doorbell.ring()
                    }
                }
                let batch = takeBatch(look)
                if batch.isEmpty {
                    state.withLock { $0.idleCount = look }
                    wake()
                    await doorbell.sleep()
                    continue
                }
                for reading in readings(of: batch) {
                    switch await prepare(reading) {
                    case .answered: break
                    case .waits(let rest): group.addTask { await rest() }
                    case .queued:
                        for destination in unservedLanes() { group.addTask { await self.serve(destination) } }
                    }
                }
                wake()
            }
            state.withLock { $0.isEnding = true }
            group.cancelAll()
        }
        // Cancelled like the tasks; each ends by its own receipt.
        for posting in state.withLock({ Array($0.postings.values) }) { _ = try? await posting.receipt() }
        state.withLock { state in
            for destination in Array(state.lanes.keys) { drop(from: destination, &state) { _ in true } }
            state.isEnding = false
            state.isRunning = false
        }
    }

    /// Takes in what the doorbell was told.
    private func absorb(_ notes: Doorbell.Notes) {
        if notes.lostCount > 0 { streamer.counts.withLock { $0.doorbellsOverflowed += notes.lostCount } }
        guard !notes.notes.isEmpty else { return }
        state.withLock { state in
            for note in notes.notes {
                // Beyond the limit of sequences a sequence is not streamed; it is counted by the caller's admission.
                _ = raise(note.sequence, note.layers, to: note.watermark, &state)
            }
        }
    }

    func raise(
        _ sequence: SequenceID, _ layers: LayerRange, to mark: Int, _ state: inout State
    ) -> Result<Void, DejaVuError> {
        guard let layers = layers.intersection(source.layers) else { return .success(()) }
        do throws(DejaVuError) {
            if options.layerByLayer {
                return .success(try state.book.sourceRaised(sequence, layers: layers, to: mark))
            }
            var marks = state.marks[sequence] ?? LayerMarks(layers: source.layers)
            marks.raise(layers, to: mark)
            state.marks[sequence] = marks
            let least = marks.least(over: source.layers)
            return .success(try state.book.sourceRaised(sequence, layers: source.layers, to: least))
        } catch { return .failure(error) }
    }

    /// Notes were lost: what the source holds is asked of itself.
    private func askSource() async {
        for sequence in state.withLock({ $0.book.sequences }) {
            if let mark = try? await source.watermark(of: sequence, layers: source.layers) {
                state.withLock { _ = raise(sequence, source.layers, to: mark, &$0) }
            }
        }
    }

    /// Sets a clock for those that are to be tried again, and lets those go on whose time has come.
    private func setAlarms(_ set: (ContinuousClock.Instant) -> Void) {
        let dues = state.withLock { state -> [ContinuousClock.Instant] in
            guard !state.alarms.isEmpty else { return [] }
            let now = ContinuousClock.now
            var dues: [ContinuousClock.Instant] = []
            state.alarms.removeAll { alarm in
                guard alarm.due <= now else { return false }
                state.book.resume(alarm.destination, alarm.sequence)
                return true
            }
            for index in state.alarms.indices where !state.alarms[index].isSet {
                state.alarms[index].isSet = true
                dues.append(state.alarms[index].due)
            }
            return dues
        }
        for due in dues { set(due) }
    }

    /// The notes of a look are taken in: what is to be sent now.
    private func takeBatch(_ look: Int) -> [Dispatch] {
        state.withLock { state in
            state.absorbedCount = look
            var batch: [Dispatch] = []
            while batch.count < 256, let dispatch = state.book.next() { batch.append(dispatch) }
            return batch
        }
    }

    private func unservedLanes() -> [StoreID] {
        state.withLock { state in
            var ids: [StoreID] = []
            for id in Array(state.lanes.keys) {
                guard let lane = state.lanes[id], !lane.isServed, !lane.queue.isEmpty else { continue }
                state.lanes[id]?.isServed = true
                ids.append(id)
            }
            return ids
        }
    }

    /// Takes frames off a lane and off the book, since nobody will send them.
    func drop(from destination: StoreID, _ state: inout State, where isDropped: (Parcel) -> Bool) {
        guard let queue = state.lanes[destination]?.queue, !queue.isEmpty else { return }
        state.lanes[destination]?.queue = queue.filter { !isDropped($0) }
        for parcel in queue where isDropped(parcel) { state.book.giveBack(parcel.dispatch.flight) }
    }
}
