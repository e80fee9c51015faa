import DejaVuCore
import DejaVuKV

/// A store that keeps its books under one lock: what such stores have in common.
protocol BookedStore: KVStore {
    associatedtype Place: Sendable
    typealias Books = StoreBooks<Place>

    /// Runs under the lock, puts freed places back, and then tells those who wait. Never blocks for long.
    func withBooks<Value: Sendable>(
        _ body: (inout Books, inout Books.Followup) throws(DejaVuError) -> Value
    ) throws(DejaVuError) -> Value
}

extension BookedStore {
    /// Ends an arrival whose bytes are all written, and waits for the frames before it.
    func finish(_ id: ArrivalID, intact: Bool) async throws(DejaVuError) -> Int {
        if let early = try finishNow(id, intact: intact) { return early }
        return try await finished(id)
    }

    /// The same without waiting.
    ///
    /// - Returns: nil if it waits for the frames before it: then `finished`.
    func finishNow(_ id: ArrivalID, intact: Bool) throws(DejaVuError) -> Int? {
        let now = MonotonicTime.now
        let outcome = try withBooks { (books, followup) throws(DejaVuError) in
            books.finish(id, intact: intact, at: now, &followup)
        }
        return try outcome?.get()
    }

    /// The end of an arrival that waits for the frames before it.
    func finished(_ id: ArrivalID) async throws(DejaVuError) -> Int {
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { waiter in
                settled { books, followup in books.awaitOutcome(id, waiter, &followup) }
            }
        } onCancel: {
            abandon(id)
        }
        return try outcome.get()
    }

    func abandon(_ id: ArrivalID) {
        settled { books, followup in books.abandon(id, &followup) }
    }

    /// Revokes the ticket, and waits until the place is free.
    func releaseBooked(_ sequence: SequenceID) async {
        var isInUse = false
        settled { books, followup in isInUse = books.release(sequence, &followup) }
        guard isInUse else { return }
        await withCheckedContinuation { waiter in
            settled { books, followup in books.awaitRelease(of: sequence, waiter, &followup) }
        }
    }

    func bookedWatermark(of sequence: SequenceID, layers: LayerRange) -> Int {
        var watermark = 0
        settled { books, _ in watermark = books.ledger.watermark(of: sequence, layers: layers) }
        return watermark
    }

    func unpin(_ tenancy: Int) {
        settled { books, followup in books.unpin(tenancy, &followup) }
    }

    /// `withBooks` for what cannot fail.
    func settled(_ body: (inout Books, inout Books.Followup) -> Void) {
        do {
            try withBooks { (books, followup) throws(DejaVuError) in body(&books, &followup) }
        } catch {
            preconditionFailure("\(name): \(error)")
        }
    }
}
