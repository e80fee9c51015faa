package import DejaVuCore
package import DejaVuLib
import Glibc

/// What a controller leaves for the next one, should it be killed: whom to wait for, and how they know it.
extension StateDirectory {
    /// A worker that had a link to the controller.
    package struct KnownWorker: Hashable, Sendable {
        package let incarnation: Incarnation
        /// nil for one that another machine, or another hand, has started.
        package let process: ProcessIdentity?
        package let name: String

        package init(incarnation: Incarnation, process: ProcessIdentity?, name: String) {
            self.incarnation = incarnation
            self.process = process
            self.name = name
        }
    }

    private static let bytesMax = 1 << 20

    /// The workers of the last controller, if it was killed.
    package func knownWorkers() -> [KnownWorker] {
        guard let text = Self.contents(of: path + "/workers") else { return [] }
        return text.split(separator: "\n").compactMap { line in
            let parts = line.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false)
            guard parts.count == 4, let incarnation = UInt64(parts[0]), let id = Int32(parts[1]),
                let start = UInt64(parts[2])
            else { return nil }
            return KnownWorker(
                incarnation: Incarnation(incarnation), process: id > 0 ? ProcessIdentity(id: id, start: start) : nil,
                name: String(parts[3]))
        }
    }

    /// Notes who is there. What is lost with the machine is of no use after it either.
    package func note(_ workers: [KnownWorker]) {
        let lines = workers.map { worker in
            let name = worker.name.replacing("\n", with: " ")
            return "\(worker.incarnation.rawValue) \(worker.process?.id ?? 0) \(worker.process?.start ?? 0) \(name)\n"
        }
        _ = Self.write(lines.joined(), to: path + "/workers", in: path, durably: false)
    }

    /// The key that only workers of this directory's controllers know: theirs if some may live, else a new one.
    ///
    /// - Throws: `.unavailable` if it cannot be kept.
    package func localKey() throws(DejaVuError) -> ClusterKey {
        let file = path + "/key"
        if let text = Self.contents(of: file), let bytes = Self.bytes(fromHexadecimal: text.prefix { $0 != "\n" }),
            let key = try? ClusterKey(bytes: bytes)
        {
            return key
        }
        let key = ClusterKey.random()
        let text = key.bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        guard Self.write(text + "\n", to: file, in: path) else {
            throw DejaVuError(
                .unavailable, "cannot write \(file): \(String(cString: strerror(errno)))", subject: "state-dir")
        }
        return key
    }

    /// All workers have ended.
    func forgetWorkers() {
        for name in ["key", "workers", "sockets"] { unlink("\(path)/\(name)") }
        if socketDirectory != path { rmdir(socketDirectory) }
    }

    /// Where the sockets of the last controller were, if it was killed.
    static func knownPlaceForSockets(_ path: String) -> String? {
        guard let text = contents(of: path + "/sockets"), text.hasSuffix("\n") else { return nil }
        let place = String(text.dropLast())
        var status = stat()
        guard lstat(place, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(),
            status.st_mode & 0o077 == 0
        else { return nil }
        return place
    }

    private static func bytes(fromHexadecimal text: Substring) -> [UInt8]? {
        let digits = text.compactMap(\.hexDigitValue)
        guard digits.count == text.count, digits.count % 2 == 0 else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    private static func contents(of file: String) -> String? {
        let descriptor = open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: bytesMax)
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0 else { return nil }
        return String(validating: bytes[..<count], as: UTF8.self)
    }
}
