import DejaVuCore
import DejaVuKV
import Synchronization

extension StreamEngine {
    /// Waits until a condition on the state gives a result. It is looked at after everything that happens.
    func wait(
        within time: TimeSpan, _ what: String, until condition: @escaping Condition
    ) async throws(DejaVuError) {
        let due = ContinuousClock.now + .nanoseconds(time.nanoseconds)
        let id = state.withLock { state in
            state.lastWaiter += 1
            return state.lastWaiter
        }
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isCancelled = state.withLock { state in
                    if Task.isCancelled { return true }
                    state.waiters.append(
                        Waiter(
                            id: id, due: due, what: what, time: time, condition: condition, continuation: continuation))
                    setClock(&state)
                    return false
                }
                if isCancelled { continuation.resume(returning: Self.cancelled) }
                doorbell.ring()
            }
        } onCancel: {
            let waiter = state.withLock { state -> Waiter? in
                state.waiters.firstIndex { $0.id == id }.map { state.waiters.remove(at: $0) }
            }
            waiter?.continuation.resume(returning: Self.cancelled)
        }
        try result.get()
    }

    /// Sees to it that a clock rings for the waiter who is due first. One that rings too early does no harm, so that
    /// waits which are soon over need none of their own.
    private func setClock(_ state: inout State) {
        guard let due = state.waiters.map(\.due).min(), due < state.clock?.due ?? due + .nanoseconds(1) else { return }
        state.lastClock += 1
        let number = state.lastClock
        state.clock = (due, number)
        Task { [weak self] in
            try? await Task.sleep(until: due, clock: .continuous)
            self?.clockRang(number)
        }
    }

    private func clockRang(_ number: Int) {
        let late = state.withLock { state -> [Waiter] in
            guard state.clock?.number == number else { return [] }
            state.clock = nil
            let now = ContinuousClock.now
            let late = state.waiters.filter { $0.due <= now }
            state.waiters.removeAll { $0.due <= now }
            setClock(&state)
            return late
        }
        for waiter in late {
            let error = DejaVuError(.deadlineExceeded, "\(waiter.what): waited in vain for \(waiter.time)")
            waiter.continuation.resume(returning: .failure(error))
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
