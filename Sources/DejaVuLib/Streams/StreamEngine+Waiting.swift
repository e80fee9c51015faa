import DejaVuCore
import DejaVuKV
import Synchronization

extension StreamEngine {
    /// Waits until a condition on the state gives a result. It is looked at after everything that happens.
    func wait(
        within time: TimeSpan, _ what: String, until condition: @escaping Condition
    ) async throws(DejaVuError) {
        try await withDeadline(time, what) { () throws(DejaVuError) in
            let id = self.state.withLock { state in
                state.lastWaiter += 1
                return state.lastWaiter
            }
            let result = await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let isCancelled = self.state.withLock { state in
                        if Task.isCancelled { return true }
                        state.waiters.append(
                            Waiter(id: id, condition: condition, continuation: continuation))
                        return false
                    }
                    if isCancelled { continuation.resume(returning: Self.cancelled) }
                    self.doorbell.ring()
                }
            } onCancel: {
                let waiter = self.state.withLock { state -> Waiter? in
                    state.waiters.firstIndex { $0.id == id }.map { state.waiters.remove(at: $0) }
                }
                waiter?.continuation.resume(returning: Self.cancelled)
            }
            try result.get()
        }
    }

    private static var cancelled: Result<Void, DejaVuError> {
        .failure(DejaVuError(.cancelled, "the wait was cancelled"))
    }

    /// Lets those go on whose condition holds.
    func wake() {
        let due = state.withLock { state -> [(Waiter, Result<Void, DejaVuError>)] in
            guard !state.waiters.isEmpty else { return [] }
            var due: [(Waiter, Result<Void, DejaVuError>)] = []
            var left: [Waiter] = []
            for waiter in state.waiters {
                if let result = waiter.condition(state) { due.append((waiter, result)) } else { left.append(waiter) }
            }
            state.waiters = left
            return due
        }
        for (waiter, result) in due { waiter.continuation.resume(returning: result) }
    }
}
