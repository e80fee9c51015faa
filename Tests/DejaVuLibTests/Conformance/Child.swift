import DejaVuCore
import Glibc
import Synchronization
import Testing

/// A process of `DejaVuTestPeer` that a test may kill. Killed at the latest when it is forgotten.
final class Child: Sendable {
    let process: pid_t
    private let output: Int32
    private let lines = Mutex<(whole: [String], rest: [UInt8])>(([], []))

    /// - Parameter prefix: a command that runs it, such as `ip netns exec NAME`.
    init(_ arguments: [String], prefix: [String] = []) throws {
        let all = prefix + [try Self.path()] + arguments
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw DejaVuError(.resourceExhausted, "no pipe") }
        _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
        _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_addclose(&actions, ends[1])
        var pointers = all.map { strdup($0) } + [nil]
        var process = pid_t()
        let result = posix_spawnp(&process, all[0], &actions, nil, &pointers, environ)
        posix_spawn_file_actions_destroy(&actions)
        for pointer in pointers { free(pointer) }
        close(ends[1])
        guard result == 0 else {
            close(ends[0])
            throw DejaVuError(.notFound, "cannot start \(all[0]): \(String(cString: strerror(result)))")
        }
        self.process = process
        output = ends[0]
    }

    deinit {
        Glibc.kill(process, SIGCONT)
        Glibc.kill(process, SIGKILL)
        var status: Int32 = 0
        waitpid(process, &status, 0)
        close(output)
    }

    private static func path() throws -> String {
        var bytes = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &bytes, bytes.count - 1)
        guard count > 0 else { throw DejaVuError(.notFound, "no path of this program") }
        let own = String(decoding: bytes[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // The tests may run inside a helper of the toolchain: the bundle's folder is in its arguments then.
        for candidate in [own] + CommandLine.arguments {
            guard let slash = candidate.lastIndex(of: "/") else { continue }
            let path = String(candidate[..<slash]) + "/DejaVuTestPeer"
            if access(path, X_OK) == 0 { return path }
        }
        throw DejaVuError(.notFound, "DejaVuTestPeer is not beside the tests; build it first")
    }

    func send(_ signal: Int32) { Glibc.kill(process, signal) }

    /// Stops it by SIGSTOP. Afterwards none of its threads runs: the signal alone takes effect some time later.
    func stop() async throws {
        send(SIGSTOP)
        try await until("the child stands still") {
            var status: Int32 = 0
            return waitpid(self.process, &status, WUNTRACED | WNOHANG) == self.process
        }
    }

    /// What it has said so far, in lines.
    func said() -> [String] {
        lines.withLock { lines in
            var bytes = [UInt8](repeating: 0, count: 65_536)
            while true {
                let count = read(output, &bytes, bytes.count)
                guard count > 0 else { break }
                lines.rest += bytes[..<count]
            }
            while let end = lines.rest.firstIndex(of: 10) {
                lines.whole.append(String(decoding: lines.rest[..<end], as: UTF8.self))
                lines.rest.removeFirst(end + 1)
            }
            return lines.whole
        }
    }

    /// The rest of the first line that begins so.
    func untilSays(_ beginning: String) async throws -> String {
        try await until("the child says '\(beginning)'") { self.said().contains { $0.hasPrefix(beginning) } }
        guard let line = said().first(where: { $0.hasPrefix(beginning) }) else { return "" }
        return String(line.dropFirst(beginning.count))
    }
}
