import Glibc

/// A process, and no other that may have its number later: the number and when it began, as the kernel counts.
package struct ProcessIdentity: Hashable, Sendable {
    package let id: Int32
    package let start: UInt64

    package init(id: Int32, start: UInt64) {
        self.id = id
        self.start = start
    }

    package var isAlive: Bool { start > 0 && Self.start(of: id) == start }

    /// When a process began; nil if there is none, or if it has ended and was not reaped.
    package static func start(of id: Int32) -> UInt64? {
        let descriptor = open("/proc/\(id)/stat", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1024)
        let count = read(descriptor, &bytes, bytes.count)
        // The name may hold anything; behind its last bracket come the state and numbers.
        guard count > 0, let bracket = bytes[..<count].lastIndex(of: UInt8(ascii: ")")) else { return nil }
        let fields = bytes[(bracket + 1)..<count].split(separator: UInt8(ascii: " "))
        guard fields.count > 19, fields[0] != [UInt8(ascii: "Z")][...] else { return nil }
        return UInt64(String(decoding: fields[19], as: UTF8.self))
    }
}
