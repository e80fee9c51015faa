public import DejaVuCore
import Synchronization

/// How a compute thread tells the engine that rows have been committed: after each pass, and after each segment of a
/// prompt chunk.
///
/// `note` writes one entry into memory that was taken beforehand; it never waits and never allocates. If the engine is
/// just taking the notes, or there are too many, the note is counted as lost and the engine asks the stores instead:
/// notes are hints, the stores know the truth. `ring` wakes the engine if it sleeps; call it once after the notes of a
/// pass. Any thread may call both.
public final class Doorbell: Sendable {
    /// Rows of these layers are committed up to the watermark.
    public struct Note: Hashable, Sendable {
        public let sequence: SequenceID
        public let layers: LayerRange
        public let watermark: Int
    }

    /// What has come since the last look.
    struct Notes {
        var notes: [Note] = []
        /// Some were lost: ask the stores.
        var isIncomplete = false
        var lostCount = 0
    }

    private let capacity: Int
    private let notes: Mutex<[Note]>
    private let lost = Atomic<Int>(0)
    private let rung = Atomic<Bool>(false)
    private let sleeping = Atomic<Bool>(false)
    private let sleeper = Mutex<CheckedContinuation<Void, Never>?>(nil)

    init(capacity: Int) {
        self.capacity = capacity
        var notes: [Note] = []
        notes.reserveCapacity(capacity)
        self.notes = Mutex(notes)
    }

    /// Notes that the source has committed rows.
    @inline(__always)
    public func note(_ sequence: SequenceID, layers: LayerRange, watermark: Int) {
        let kept = notes.withLockIfAvailable { notes in
            guard notes.count < capacity else { return false }
            notes.append(Note(sequence: sequence, layers: layers, watermark: watermark))
            return true
        }
        if kept != true { lost.add(1, ordering: .releasing) }
    }

    /// Wakes the engine if it sleeps.
    public func ring() {
        rung.store(true, ordering: .sequentiallyConsistent)
        guard sleeping.load(ordering: .sequentiallyConsistent),
            sleeping.exchange(false, ordering: .sequentiallyConsistent)
        else { return }
        wake()
    }

    private func wake() {
        let continuation = sleeper.withLock { sleeper in
            defer { sleeper = nil }
            return sleeper
        }
        continuation?.resume()
    }

    /// Takes all notes. `spare` is an empty array with room, which becomes the next notebook.
    func take(into spare: inout [Note]) -> Notes {
        rung.store(false, ordering: .sequentiallyConsistent)
        spare.removeAll(keepingCapacity: true)
        if spare.capacity < capacity { spare.reserveCapacity(capacity) }
        notes.withLock { swap(&$0, &spare) }
        let lostCount = lost.exchange(0, ordering: .acquiring)
        return Notes(notes: spare, isIncomplete: lostCount > 0, lostCount: lostCount)
    }

    /// Sleeps until the bell rings or the task is cancelled. One task at a time.
    func sleep() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                sleeper.withLock { sleeper in
                    precondition(sleeper == nil, "one engine listens to a doorbell")
                    sleeper = continuation
                }
                sleeping.store(true, ordering: .sequentiallyConsistent)
                let mustWake = rung.load(ordering: .sequentiallyConsistent) || Task.isCancelled
                if mustWake, sleeping.exchange(false, ordering: .sequentiallyConsistent) { wake() }
            }
        } onCancel: {
            ring()
        }
    }
}
