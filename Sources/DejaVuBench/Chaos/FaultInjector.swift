import DejaVuCore

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Brings faults upon processes of this machine and their links.
enum FaultInjector {
    /// How long a worker that hands its stages over may take to end.
    private static let drainSecondsMax = 60.0

    /// - Parameters:
    ///   - link: the one to strike, if the fault is of a link.
    ///   - directory: where workers take orders for their links.
    /// - Returns: once the fault is over; a killed process is gone at once.
    /// - Throws: `.notFound` if there is no such worker on this machine, `.refused` if it belongs to someone else,
    ///   `.cancelled`.
    static func strike(
        _ process: Int32, with planned: PlannedFault, link: FaultLink?, directory: String?
    ) async throws(DejaVuError) {
        guard process > 1, isWorker(process) else {
            throw DejaVuError(.notFound, "process \(process) is no worker of this machine")
        }
        switch planned.fault {
        case .kill: try send(SIGKILL, to: process)
        case .pause:
            try send(SIGSTOP, to: process)
            // What was taken for dead meanwhile is gone, which is as it should be.
            defer { _ = kill(process, SIGCONT) }
            try await sleep(planned.seconds)
        case .slow:
            let end = ContinuousClock.now + .seconds(planned.seconds)
            defer { _ = kill(process, SIGCONT) }
            while ContinuousClock.now < end, isWorker(process) {
                try send(SIGSTOP, to: process)
                try await sleep(0.02)
                _ = kill(process, SIGCONT)
                try await sleep(0.02)
            }
        case .drain:
            try send(SIGTERM, to: process)
            let end = ContinuousClock.now + .seconds(drainSecondsMax)
            while ContinuousClock.now < end, isWorker(process) { try await sleep(0.002) }
        case .cut, .silence, .corrupt:
            guard let link, let directory else {
                throw DejaVuError(.unsupported, "the links of process \(process) cannot be struck")
            }
            try order(
                "\(planned.fault.rawValue) \(link.rawValue) \(planned.seconds)", at: "\(directory)/\(process).sock")
            if planned.fault != .corrupt { try await sleep(planned.seconds) }
        case .poison: throw DejaVuError(.unsupported, "poison is a request, not a worker's fault")
        }
    }

    private static func sleep(_ seconds: Double) async throws(DejaVuError) {
        do { try await Task.sleep(for: .seconds(seconds)) } catch { throw DejaVuError(.cancelled, "stopped") }
    }

    private static func send(_ signal: Int32, to process: Int32) throws(DejaVuError) {
        guard kill(process, signal) == 0 || errno == ESRCH else {
            throw DejaVuError(.refused, "cannot signal process \(process): \(String(cString: strerror(errno)))")
        }
    }

    /// Tells a worker which of its links to strike. Does not wait for it.
    private static func order(_ words: String, at path: String) throws(DejaVuError) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let fits = withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            guard path.utf8.count < bytes.count else { return false }
            bytes.copyBytes(from: path.utf8)
            return true
        }
        guard fits else { throw DejaVuError(.invalidArgument, "the path \(path) is too long for a socket") }
        let ear = datagramSocket()
        guard ear >= 0 else { throw DejaVuError(.resourceExhausted, "no socket: \(String(cString: strerror(errno)))") }
        defer { close(ear) }
        let bytes = [UInt8](words.utf8)
        let sent = withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(ear, bytes, bytes.count, 0, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard sent == bytes.count else {
            throw DejaVuError(.notFound, "nobody takes orders at \(path): \(String(cString: strerror(errno)))")
        }
    }

    private static func datagramSocket() -> Int32 {
        #if canImport(Glibc)
            socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        #else
            socket(AF_UNIX, Int32(SOCK_DGRAM), 0)
        #endif
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
