public import DejaVuCore
import Synchronization

/// A frame on its way. It ends exactly once.
public final class Posting: Sendable {
    private struct State {
        var result: Result<FrameReceipt, DejaVuError>?
        var waiters: [CheckedContinuation<Result<FrameReceipt, DejaVuError>, Never>] = []
        var followers: [@Sendable (Result<FrameReceipt, DejaVuError>) -> Void] = []
        var giveUp: (@Sendable () -> Void)?
        var isCancelled = false
        var rows: Staging?
    }
    private let state: Mutex<State>

    init(rows: Staging? = nil) { state = Mutex(State(rows: rows)) }

    /// How it ended; nil while it is under way.
    public func poll() -> Result<FrameReceipt, DejaVuError>? { state.withLock { $0.result } }

    /// Waits for the end. If the waiting task is cancelled, so is the frame.
    ///
    /// - Throws: what the peer's store or this side has against it; `.deadlineExceeded`; `.cancelled`; `.network` when
    ///   the link ended.
    public func receipt() async throws(DejaVuError) -> FrameReceipt {
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let known = state.withLock { state in
                    if state.result == nil { state.waiters.append(continuation) }
                    return state.result
                }
                if let known { continuation.resume(returning: known) }
            }
        } onCancel: {
            cancel()
        }
        return try result.get()
    }

    /// Calls a body with the end, on the thread that brings it, before those go on who wait for the receipt; at once
    /// if it has ended. The body must not wait.
    public func whenEnded(_ body: @escaping @Sendable (Result<FrameReceipt, DejaVuError>) -> Void) {
        let known = state.withLock { state in
            if state.result == nil { state.followers.append(body) }
            return state.result
        }
        if let known { body(known) }
    }

    /// Gives the frame up, wherever it is; no effect once it has ended.
    public func cancel() {
        let giveUp = state.withLock { state in
            state.isCancelled = true
            return state.giveUp
        }
        giveUp?()
    }

    /// How to cancel it; done at once if that was asked for before.
    func onCancel(_ body: @escaping @Sendable () -> Void) {
        let isCancelled = state.withLock { state in
            guard state.result == nil else { return false }
            state.giveUp = body
            return state.isCancelled
        }
        if isCancelled { body() }
    }

    func finish(_ result: Result<FrameReceipt, DejaVuError>) {
        let (followers, waiters, rows) = state.withLock { state in
            precondition(state.result == nil, "a posting ends once")
            state.result = result
            state.giveUp = nil
            defer { (state.followers, state.waiters, state.rows) = ([], [], nil) }
            return (state.followers, state.waiters, state.rows)
        }
        rows?.release()
        for follower in followers { follower(result) }
        for waiter in waiters { waiter.resume(returning: result) }
    }
}
