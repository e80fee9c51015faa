public import DejaVuCore
public import DejaVuKV
import Synchronization

/// A standing order that an engine carries out. It goes on when this handle is forgotten; `cancel` ends it.
public struct StreamSubscription: Sendable {
    public let order: Subscription
    let engine: StreamEngine

    public var id: SubscriptionID { order.id }

    /// How far the destination is behind, whether or not it can be sent anything now.
    public var backlog: Backlog { engine.state.withLock { $0.book.backlog(of: order.id) } }

    /// How many leading positions of a sequence the destination has acknowledged; nil if it is not streamed.
    public func acknowledged(_ sequence: SequenceID) -> Int? {
        engine.state.withLock { $0.book.acknowledged(order.id, sequence) }
    }

    /// Sends nothing more until `resume`; what is on its way arrives.
    public func pause() { engine.setPaused(order.id, true) }

    public func resume() { engine.setPaused(order.id, false) }

    /// Ends the order. What is on its way may still arrive; nothing more is sent.
    public func cancel() { engine.unsubscribe(order.id) }

    /// What the destination commits from now on. A reader that is slow misses older steps, never the newest.
    public var progress: AsyncStream<StreamProgress> { engine.progress(of: order.id) }

    /// Waits until the destination has all that the source has, what the doorbell was told before the call included.
    ///
    /// - Throws: `.deadlineExceeded`, `.cancelled`; `.notFound` if the order has ended.
    public func caughtUp(within time: TimeSpan) async throws(DejaVuError) {
        // A look that has begun may have taken the notes before the last ones came.
        let look = engine.state.withLock { $0.lookCount }
        try await engine.wait(within: time, "the destination of \(order.id) lags behind") { state in
            guard state.book.subscriptions.contains(where: { $0.id == order.id }) else {
                return .failure(DejaVuError(.notFound, "\(order.id) has ended"))
            }
            guard state.absorbedCount > look else { return nil }
            return state.book.backlog(of: order.id).isEmpty ? .success(()) : nil
        }
    }
}
