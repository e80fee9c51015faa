import DejaVuCore
import Dispatch
import Glibc
import Synchronization

/// Clocks and waits of the streaming benchmark. They block: used on threads of its own.
enum BenchClock {
    /// Since boot.
    static var now: Instant { Instant(nanoseconds: read(CLOCK_MONOTONIC)) }
    /// What all threads of this process have computed.
    static var processTime: TimeSpan { TimeSpan(nanoseconds: read(CLOCK_PROCESS_CPUTIME_ID)) }

    /// Processors that this process may use.
    static var processorCount: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

    /// Sleeps until a point in time, however often it is woken.
    static func sleep(until instant: Instant) {
        var until = timespec(
            tv_sec: Int(instant.nanoseconds / 1_000_000_000), tv_nsec: Int(instant.nanoseconds % 1_000_000_000))
        while clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nil) == EINTR {}
    }

    /// Lets this thread go first when it wakes, where that is allowed: what it stands for is a device, which shares no
    /// processor with anybody.
    static func becomeDevice(_ isDevice: Bool = true) {
        var parameters = sched_param(sched_priority: isDevice ? 1 : 0)
        pthread_setschedparam(pthread_self(), isDevice ? SCHED_FIFO : SCHED_OTHER, &parameters)
    }

    private static func read(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}

/// Brings a result from a task to a thread that waits for it.
private final class Handover<Value: Sendable>: Sendable {
    private let result = Mutex<Result<Value, DejaVuError>?>(nil)
    private let done = DispatchSemaphore(value: 0)

    func give(_ value: Result<Value, DejaVuError>) {
        result.withLock { $0 = value }
        done.signal()
    }

    func take() -> Result<Value, DejaVuError> {
        done.wait()
        guard let value = result.withLock({ $0 }) else { preconditionFailure("a handover brings something") }
        return value
    }
}

/// Runs something asynchronous from a thread that may block, and waits for it.
func blocking<Value: Sendable>(
    _ body: @escaping @Sendable () async throws(DejaVuError) -> Value
) throws(DejaVuError) -> Value {
    let handover = Handover<Value>()
    Task.detached {
        do throws(DejaVuError) { handover.give(.success(try await body())) } catch { handover.give(.failure(error)) }
    }
    return try handover.take().get()
}
