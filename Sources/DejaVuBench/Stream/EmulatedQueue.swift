import DejaVuCore
import NIOPosix
import Synchronization

/// Something that takes a known time for each thing that it does, one after the other: a copy engine, a link.
///
/// Times are absolute: what is charged begins when all before it has ended, so that a late wake-up costs nothing twice.
final class EmulatedQueue: Sendable {
    /// Shorter waits are put together: a thread cannot sleep so shortly.
    private static let waitMin = TimeSpan.microseconds(150)

    private let busyUntil = Mutex(Instant.zero)
    private let clock = NIOThreadPool(numberOfThreads: 1)

    init() {
        clock.start()
        clock.submit { _ in BenchClock.becomeDevice() }
    }

    deinit { clock.shutdownGracefully { _ in } }

    /// Does something that takes so long.
    func charge(_ time: TimeSpan) {
        busyUntil.withLock { $0 = max($0, BenchClock.now) + time }
    }

    /// Waits if what was charged is well ahead of the clock.
    func pace() async {
        let due = busyUntil.withLock { $0 }
        if due - BenchClock.now > Self.waitMin { await wait(until: due) }
    }

    /// Waits until everything that was charged is done.
    func drain() async {
        let due = busyUntil.withLock { $0 }
        if due > BenchClock.now { await wait(until: due) }
    }

    private func wait(until due: Instant) async {
        await withCheckedContinuation { continuation in
            clock.submit { _ in
                BenchClock.sleep(until: due)
                continuation.resume()
            }
        }
    }
}
