import CLinux
package import DejaVuCore
import Glibc
import Synchronization

/// How a child ended.
package enum ChildEnd: Hashable, Sendable, CustomStringConvertible {
    case exited(code: Int32)
    case signalled(Int32)
    /// Only its parent learns how.
    case unknown

    package var description: String {
        switch self {
        case .exited(let code): "exited with code \(code)"
        case .signalled(let signal): "killed by signal \(signal)"
        case .unknown: "ended"
        }
    }
}

/// A child process, held by a descriptor that names it and no other, whatever becomes of its number. Always reaped. Or
/// one that a process before this one has started, which ends under somebody else's eyes.
package final class ChildProcess: Sendable {
    package let id: Int32
    private let descriptor: Int32

    private init(id: Int32, descriptor: Int32) {
        self.id = id
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// One spawn at a time: see `clinux_spawn`.
    private static let spawning = Mutex(())

    /// Starts a program. It ignores SIGINT and has the caller's standard streams.
    ///
    /// - Parameters:
    ///   - arguments: the first is the name that the program sees as its own.
    ///   - inherited: a descriptor that the child has as 3.
    ///   - ended: called once, on a thread of its own, when the child has ended and was reaped.
    /// - Throws: `.unavailable` with the system's reason.
    package static func spawn(
        _ path: String, arguments: [String], environment: [String], inherited: Int32,
        ended: @escaping @Sendable (ChildProcess, ChildEnd) -> Void
    ) throws(DejaVuError) -> ChildProcess {
        var id: Int32 = 0
        let result = withCStrings(arguments) { arguments in
            withCStrings(environment) { environment in
                spawning.withLock { _ in clinux_spawn(path, arguments, environment, inherited, &id) }
            }
        }
        guard result >= 0 else {
            throw DejaVuError(.unavailable, "cannot start \(path): \(String(cString: strerror(-result)))")
        }
        let child = ChildProcess(id: id, descriptor: result)
        do throws(DejaVuError) {
            try OSThread.start("reaper", stackBytes: 256 << 10) { ended(child, child.reap()) }
        } catch {
            child.signal(SIGKILL)
            _ = child.reap()
            throw error
        }
        return child
    }

    /// Watches a process that is no child of this one.
    ///
    /// - Returns: nil if there is no such process any more, or it cannot be watched.
    package static func watch(
        _ process: ProcessIdentity, ended: @escaping @Sendable (ChildProcess, ChildEnd) -> Void
    ) -> ChildProcess? {
        let descriptor = clinux_pidfd_open(process.id)
        guard descriptor >= 0 else { return nil }
        let child = ChildProcess(id: process.id, descriptor: descriptor)
        // Looked at behind the descriptor: what has this number and began then is what the descriptor names.
        guard process.isAlive else { return nil }
        do throws(DejaVuError) {
            try OSThread.start("watcher", stackBytes: 256 << 10) {
                _ = clinux_pidfd_wait(child.descriptor)
                ended(child, .unknown)
            }
        } catch { return nil }
        return child
    }

    /// Does nothing if the child has ended.
    package func signal(_ signal: Int32) { clinux_pidfd_signal(descriptor, signal) }

    private func reap() -> ChildEnd {
        var signalled: Int32 = 0
        var status: Int32 = 0
        let result = clinux_pidfd_reap(descriptor, &signalled, &status)
        precondition(result == 0, "child \(id) was reaped by somebody else: \(result)")
        return signalled == 0 ? .exited(code: status) : .signalled(status)
    }

    private static func withCStrings<Result>(
        _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) -> Result {
        var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
        pointers.append(nil)
        defer { for pointer in pointers { free(pointer) } }
        return body(pointers)
    }
}
