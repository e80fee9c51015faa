import Synchronization

/// Where the events of one HTTP request wait for the task that answers it.
///
/// Any thread delivers; one task receives, always all that is there, so that a task that was held up catches up with
/// one wake-up and one write. The number of events is bounded by what the request may generate.
package final class GenerationMailbox: Sendable {
    /// An event and when it was delivered.
    package struct Delivery: Sendable {
        package let event: GenerationEvent
        package let at: ContinuousClock.Instant
    }

    private struct State {
        var deliveries: [Delivery] = []
        var waiter: CheckedContinuation<Void, Never>?
        var wasTapped = false
        var isClosed = false
    }

    private let state = Mutex(State())

    package init() {}

    package func deliver(_ event: GenerationEvent) {
        let delivery = Delivery(event: event, at: .now)
        wake { state in
            if !state.isClosed { state.deliveries.append(delivery) }
        }
    }

    /// Makes `receive` return even though nothing has happened: it is time to look at the clock.
    package func tap() {
        wake { $0.wasTapped = true }
    }

    /// Nobody reads any more: what comes from now on is dropped.
    package func close() {
        wake { state in
            state.isClosed = true
            state.deliveries.removeAll()
        }
    }

    private func wake(_ change: (inout State) -> Void) {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            change(&state)
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }

    /// Waits until there are events, the mailbox was tapped or closed, or the task is cancelled.
    ///
    /// - Parameter buffer: replaced by the events, possibly none; handing the same array in again saves its memory.
    /// - Returns: false once the mailbox is closed.
    package func receive(into buffer: inout [Delivery]) async -> Bool {
        buffer.removeAll(keepingCapacity: true)
        if !hasNews {
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let isReady = state.withLock { state -> Bool in
                        precondition(state.waiter == nil, "a mailbox has one reader")
                        if state.isClosed || state.wasTapped || !state.deliveries.isEmpty { return true }
                        state.waiter = continuation
                        return false
                    }
                    if isReady { continuation.resume() }
                }
            } onCancel: {
                close()
            }
        }
        return state.withLock { state in
            state.wasTapped = false
            swap(&state.deliveries, &buffer)
            return !state.isClosed
        }
    }

    private var hasNews: Bool {
        state.withLock { $0.isClosed || $0.wasTapped || !$0.deliveries.isEmpty }
    }
}
