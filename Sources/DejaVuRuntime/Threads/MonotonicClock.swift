package import DejaVuCore
import Glibc
package import NIOCore

/// The clock of all our processes: the kernel's monotonic one, which event loops use, too.
package enum MonotonicClock {
    package static var now: Instant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
}

extension NIODeadline {
    package init(_ instant: Instant) { self = .uptimeNanoseconds(UInt64(max(instant.nanoseconds, 0))) }
}
