import Dispatch
import Synchronization

/// Runs many seeds on several threads. What a seed does depends on nothing else, so the sum is that of one thread.
struct SeedJobs: Sendable {
    let seeds: Range<UInt64>
    let threads: Int
    /// Told how many seeds have ended, on any thread.
    let progress: @Sendable (UInt64) -> Void

    private struct State<Sum> {
        var sum: Sum
        var next: UInt64
        var ended: UInt64 = 0
        var failure: (any Error)?
    }

    /// So few that the threads end at about the same time, and progress is seen.
    private static let batch: UInt64 = 20

    /// - Parameters:
    ///   - enough: whether to begin no more seeds.
    ///   - run: what some of the seeds give. Called on several threads at once.
    func sum<Sum: Sendable>(
        from start: Sum, enough: @escaping @Sendable (Sum) -> Bool,
        run: @escaping @Sendable (Range<UInt64>) throws -> Sum, add: @escaping @Sendable (inout Sum, Sum) -> Void
    ) throws -> Sum {
        let state = Mutex(State(sum: start, next: seeds.lowerBound))
        let take: @Sendable () -> Range<UInt64>? = {
            state.withLock { state in
                guard state.next < seeds.upperBound, state.failure == nil, !enough(state.sum) else { return nil }
                let first = state.next
                state.next = min(first + Self.batch, seeds.upperBound)
                return first..<state.next
            }
        }
        DispatchQueue.concurrentPerform(iterations: threads) { _ in
            while let batch = take() {
                let result = Result { try run(batch) }
                let ended = state.withLock { state in
                    switch result {
                    case .success(let part): add(&state.sum, part)
                    case .failure(let error): state.failure = error
                    }
                    state.ended += UInt64(batch.count)
                    return state.ended
                }
                progress(ended)
            }
        }
        return try state.withLock { state in
            if let failure = state.failure { throw failure }
            return state.sum
        }
    }
}
