import DejaVuCore

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// A file read from front to back. Its calls block: use it on a thread that may.
final class BlockingFile {
    private let descriptor: Int32
    private let path: String

    init(path: String) throws {
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        self.path = path
        guard descriptor >= 0 else {
            throw DejaVuError(.notFound, "cannot open \(path): \(String(cString: strerror(errno)))", subject: path)
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// The next bytes, at most so many; nil at the end.
    func read(byteCount: Int) throws -> [UInt8]? {
        var failure: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
            var result: Int
            repeat { result = systemRead(descriptor, buffer.baseAddress, byteCount) } while result < 0 && errno == EINTR
            if result < 0 { failure = errno }
            count = max(0, result)
        }
        guard failure == 0 else {
            throw DejaVuError(.invalidFile, "cannot read \(path): \(String(cString: strerror(failure)))", subject: path)
        }
        return bytes.isEmpty ? nil : bytes
    }

    /// The beginning of a small file such as those of /proc as text; nil if there is none.
    static func text(path: String, byteCountMax: Int = 1 << 16) -> String? {
        guard let file = try? BlockingFile(path: path) else { return nil }
        var bytes: [UInt8] = []
        while bytes.count < byteCountMax, let piece = try? file.read(byteCount: 4096) { bytes += piece }
        return String(decoding: bytes.prefix(byteCountMax), as: UTF8.self)
    }
}

private func systemRead(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    read(descriptor, buffer, count)
}
