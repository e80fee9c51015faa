import DejaVuCore

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Brings faults upon processes of this machine.
enum FaultInjector {
    /// - Returns: once the fault is over; a killed process is gone at once.
    /// - Throws: `.notFound` if there is no such worker on this machine, `.refused` if it belongs to someone else.
    static func strike(_ process: Int32, with fault: Fault, for seconds: Double) async throws {
        guard process > 1, isWorker(process) else {
            throw DejaVuError(.notFound, "process \(process) is no worker of this machine")
        }
        switch fault {
        case .kill: try send(SIGKILL, to: process)
        case .pause:
            try send(SIGSTOP, to: process)
            // What was taken for dead meanwhile is gone, which is as it should be.
            defer { _ = kill(process, SIGCONT) }
            try await Task.sleep(for: .seconds(seconds))
        case .slow:
            let end = ContinuousClock.now + .seconds(seconds)
            defer { _ = kill(process, SIGCONT) }
            while ContinuousClock.now < end, isWorker(process) {
                try send(SIGSTOP, to: process)
                try await Task.sleep(for: .milliseconds(20))
                _ = kill(process, SIGCONT)
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    private static func send(_ signal: Int32, to process: Int32) throws(DejaVuError) {
        guard kill(process, signal) == 0 || errno == ESRCH else {
            throw DejaVuError(.refused, "cannot signal process \(process): \(String(cString: strerror(errno)))")
        }
    }

    /// Whether the process is a `dejavu worker`, so that nobody else is struck.
    private static func isWorker(_ process: Int32) -> Bool {
        let file = open("/proc/\(process)/cmdline", O_RDONLY)
        guard file >= 0 else { return false }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = max(0, read(file, &bytes, bytes.count))
        return bytes[..<count].split(separator: 0).contains { $0.elementsEqual("worker".utf8) }
    }
}
