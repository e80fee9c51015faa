import DejaVuCore
import NIOPosix

/// Threads for calls that block: never those of the cooperative pool or of an event loop.
struct IOThreads: Sendable {
    private let pool: NIOThreadPool

    init(count: Int) {
        pool = NIOThreadPool(numberOfThreads: count)
        pool.start()
    }

    /// Runs to its end on one of the threads, also if the task is cancelled.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable () throws(DejaVuError) -> Value
    ) async throws(DejaVuError) -> Value {
        let result: Result<Value, DejaVuError> = await withCheckedContinuation { waiter in
            pool.submit { state in
                guard case .active = state else {
                    waiter.resume(returning: .failure(DejaVuError(.unavailable, "the store is closed")))
                    return
                }
                waiter.resume(returning: Result(catching: body))
            }
        }
        return try result.get()
    }

    /// Runs later; `isActive` is false if the threads have ended.
    func start(_ body: @escaping @Sendable (_ isActive: Bool) -> Void) {
        pool.submit { state in
            if case .active = state { body(true) } else { body(false) }
        }
    }

    func end() async {
        await withCheckedContinuation { waiter in
            pool.shutdownGracefully { _ in waiter.resume() }
        }
    }

    /// For an owner that is gone without having said so.
    func endLater() { pool.shutdownGracefully { _ in } }
}
