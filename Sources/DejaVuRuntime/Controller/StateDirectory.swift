import CLinux
package import DejaVuCore
import DejaVuLib
import Glibc
import Synchronization

/// The directory that makes a controller the only one of its name: a lock, the number of the last term, the sockets of
/// its machine, and what the next controller needs to find the workers of one that was killed. Nobody else on the
/// machine may look inside.
package final class StateDirectory: Sendable {
    package let path: String
    /// Where sockets live: the directory itself, or a private one elsewhere if its path is too long for a socket.
    package let socketDirectory: String
    private let lock: Mutex<Int32?>
    private let isTemporary: Bool

    /// Makes the directory if need be and takes its lock.
    ///
    /// - Parameter isTemporary: removes the directory in the end, unless it was there before.
    /// - Throws: `.unavailable` if another process has the lock, `.invalidArgument` if the directory cannot be used.
    package init(_ path: String, isTemporary: Bool = false) throws(DejaVuError) {
        let isNew = try Self.makePrivate(path)
        self.isTemporary = isTemporary && isNew
        self.path = path
        let lock = try Self.takeLock(path + "/lock")
        self.lock = Mutex(lock)
        do throws(DejaVuError) {
            socketDirectory = try Self.placeForSockets(path)
        } catch {
            close(lock)
            throw error
        }
        let sockets = socketDirectory
        Self.remove(in: sockets) { $0.hasPrefix("peer-") && Self.isDeadSocket("\(sockets)/\($0)") }
    }

    deinit { release(keeping: !isTemporary) }

    /// Lets the next controller have the directory, or removes it if it is temporary. Nothing may be done with it after
    /// this, by workers neither.
    ///
    /// - Parameter keeping: leave it as it is, even a temporary one, for workers that live on.
    package func release(keeping: Bool = false) {
        lock.withLock { lock in
            guard let descriptor = lock.take() else { return }
            if !keeping { forgetWorkers() }
            if isTemporary && !keeping {
                // Whatever else may be in it is not ours, and keeps the directory.
                Self.remove(in: path) { Self.ownNames.contains($0) || $0.hasPrefix("peer-") && $0.hasSuffix(".sock") }
                rmdir(path)
            }
            close(descriptor)
        }
    }

    private static let ownNames: Set<String> = [
        "lock", "term", "term.new", "controller.sock", "heartbeats.sock", "key", "key.new", "workers", "workers.new",
        "sockets", "sockets.new",
    ]

    private static func failure(_ what: String) -> DejaVuError {
        DejaVuError(.invalidArgument, "\(what): \(String(cString: strerror(errno)))", subject: "state-dir")
    }

    /// - Returns: whether the directory was not there before.
    private static func makePrivate(_ path: String) throws(DejaVuError) -> Bool {
        guard !path.isEmpty, !path.utf8.contains(0) else {
            throw DejaVuError(.invalidArgument, "the state directory needs a path", subject: "state-dir")
        }
        var part = path.hasPrefix("/") ? "" : "."
        var isNew = false
        for name in path.split(separator: "/") {
            part += "/" + name
            isNew = mkdir(part, 0o700) == 0
            if !isNew, errno != EEXIST { throw failure("cannot make the state directory \(part)") }
        }
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw failure("the state directory \(path) is no directory")
        }
        guard status.st_uid == geteuid(), status.st_mode & 0o077 == 0 else {
            throw DejaVuError(
                .invalidArgument, "the state directory \(path) must be yours alone; run: chmod 700 \(path)",
                subject: "state-dir")
        }
        return isNew
    }

    private static func takeLock(_ path: String) throws(DejaVuError) -> Int32 {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure("cannot open \(path)") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let holder = text(of: descriptor).map { " (process \($0))" } ?? ""
            close(descriptor)
            throw DejaVuError(
                .unavailable, "another controller\(holder) holds \(path); choose another --state-dir or stop it",
                subject: "state-dir")
        }
        ftruncate(descriptor, 0)
        let text = Array("\(getpid())\n".utf8)
        _ = text.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
        return descriptor
    }

    /// The first bytes of a file as a decimal number; nil if they are none.
    private static func text(of descriptor: Int32) -> UInt64? {
        var bytes = [UInt8](repeating: 0, count: 32)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        guard count > 0, count < bytes.count, bytes[count - 1] == 10 else { return nil }
        return String(validating: bytes[..<(count - 1)], as: UTF8.self).flatMap { UInt64($0) }
    }

    private static func placeForSockets(_ path: String) throws(DejaVuError) -> String {
        // The longest name in it is that of a peer's socket.
        if path.utf8.count + 40 <= LinkAddress.pathBytesMax { return path }
        if let known = knownPlaceForSockets(path) { return known }
        var pattern = Array("/tmp/dejavu-XXXXXX".utf8CString)
        guard clinux_make_private_directory(&pattern) == 0 else { throw failure("no directory for sockets in /tmp") }
        let place = String(decoding: pattern.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        _ = write(place + "\n", to: path + "/sockets", in: path)
        return place
    }

    /// Takes the next term: it is on the disk before this returns.
    ///
    /// - Throws: `.invalidFile` if the file of the last one is damaged, `.unavailable` if the disk does not take it.
    package func nextTerm() throws(DejaVuError) -> Term {
        let file = path + "/term"
        var last: UInt64 = 0
        let descriptor = open(file, O_RDONLY | O_CLOEXEC)
        if descriptor >= 0 {
            defer { close(descriptor) }
            guard let number = Self.text(of: descriptor), number < .max else {
                throw DejaVuError(
                    .invalidFile, "\(file) does not hold the number of a term; if no worker runs, remove it",
                    subject: "state-dir")
            }
            last = number
        } else if errno != ENOENT {
            throw Self.failure("cannot open \(file)")
        }
        let term = Term(number: last + 1, nonce: UInt64.random(in: .min ... .max))
        guard Self.write("\(term.number)\n", to: file, in: path) else {
            throw DejaVuError(
                .unavailable, "cannot write \(file): \(String(cString: strerror(errno)))", subject: "state-dir")
        }
        return term
    }

    /// Replaces a file, whole or not at all, and durably if asked for.
    static func write(
        _ text: String, to file: String, in directory: String, durably: Bool = true
    ) -> Bool {
        let temporary = file + ".new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return false }
        let bytes = Array(text.utf8)
        let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) } == bytes.count
        let synced = written && (!durably || fsync(descriptor) == 0)
        close(descriptor)
        guard synced, rename(temporary, file) == 0 else { return false }
        guard durably else { return true }
        let parent = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard parent >= 0 else { return false }
        defer { close(parent) }
        return fsync(parent) == 0
    }

    /// Removes the files of a directory whose names a test takes.
    static func remove(in directory: String, where test: (String) -> Bool) {
        guard let stream = opendir(directory) else { return }
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) { String(cString: $0) }
            }
            if test(name) { unlink("\(directory)/\(name)") }
        }
    }

    /// A socket that nobody listens at: left by a process that was killed.
    private static func isDeadSocket(_ path: String) -> Bool {
        guard path.utf8.count <= LinkAddress.pathBytesMax else { return false }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        return result != 0 && errno == ECONNREFUSED
    }
}
