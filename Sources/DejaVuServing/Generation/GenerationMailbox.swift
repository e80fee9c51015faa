import Synchronization

/// Where the events of one HTTP request wait for the tasks that answer it.
///
/// Any thread delivers. Whoever reads takes all that is there, so that a task that was held up catches up with one
/// wake-up and one write. The number of events is bounded by what the request may generate.
package final class GenerationMailbox: Sendable {
    /// An event and when it was delivered.
    package struct Delivery: Sendable {
        package let event: GenerationEvent
        package let at: ContinuousClock.Instant
    }

    /// Why `wait` returned.
    enum Wake: Sendable {
        case news
        /// Nothing has happened; it is time to look at the clock.
        case tapped
        /// The waiting task was cancelled.
        case cancelled
    }

    private struct State {
        var deliveries: [Delivery] = []
        var version: UInt64 = 0
        var waiters: [UInt64: CheckedContinuation<Wake, Never>] = [:]
        var cancelled: Set<UInt64> = []
        var nextWaiter: UInt64 = 0
        var isClosed = false
        var unattended: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())

    package init() {}

    package func deliver(_ event: GenerationEvent) {
        let delivery = Delivery(event: event, at: .now)
        let (waiters, unattended) = state.withLock { state in
            guard !state.isClosed else { return ([CheckedContinuation<Wake, Never>](), nil as (@Sendable () -> Void)?) }
            state.deliveries.append(delivery)
            return (Self.news(&state), state.unattended)
        }
        for waiter in waiters { waiter.resume(returning: .news) }
        unattended?()
    }

    /// Wakes everyone who waits although nothing has happened.
    func tap() {
        let waiters = state.withLock { state in
            defer { state.waiters.removeAll() }
            return Array(state.waiters.values)
        }
        for waiter in waiters { waiter.resume(returning: .tapped) }
    }

    /// Tells the readers to look again, for something has changed besides deliveries.
    func announce() {
        let waiters = state.withLock { Self.news(&$0) }
        for waiter in waiters { waiter.resume(returning: .news) }
    }

    /// What comes from now on is dropped.
    func close() {
        state.withLock { state in
            state.isClosed = true
            state.deliveries.removeAll()
            state.unattended = nil
        }
        announce()
    }

    /// Who is told of deliveries while no task reads; nil for nobody.
    func setUnattended(_ body: (@Sendable () -> Void)?) {
        state.withLock { if !$0.isClosed { $0.unattended = body } }
    }

    private static func news(_ state: inout State) -> [CheckedContinuation<Wake, Never>] {
        state.version += 1
        defer { state.waiters.removeAll(keepingCapacity: true) }
        return Array(state.waiters.values)
    }

    /// Grows with every delivery and announcement.
    var version: UInt64 { state.withLock { $0.version } }

    /// Takes all deliveries out.
    ///
    /// - Parameter buffer: replaced; handing the same array in again saves its memory.
    func drain(into buffer: inout [Delivery]) {
        buffer.removeAll(keepingCapacity: true)
        state.withLock { swap(&$0.deliveries, &buffer) }
    }

    /// Waits until the version is another than that one, the mailbox is tapped, or the task is cancelled.
    func wait(after version: UInt64) async -> Wake {
        let number = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        // A cancellation may come when it is too late for it to be noticed.
        defer { _ = state.withLock { $0.cancelled.remove(number) } }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let ready = state.withLock { state -> Wake? in
                    if state.cancelled.remove(number) != nil { return .cancelled }
                    if state.version != version { return .news }
                    state.waiters[number] = continuation
                    return nil
                }
                if let ready { continuation.resume(returning: ready) }
            }
        } onCancel: {
            let waiter = state.withLock { state in
                let waiter = state.waiters.removeValue(forKey: number)
                // It may come to wait only now.
                if waiter == nil { state.cancelled.insert(number) }
                return waiter
            }
            waiter?.resume(returning: .cancelled)
        }
    }
}
