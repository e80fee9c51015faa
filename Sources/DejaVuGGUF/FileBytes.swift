package import DejaVuCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The bytes of a model file: mapped read-only from a file, or held in memory.
///
/// The bytes live as long as the object. A mapped file must not be shortened by anyone while it is open: reading a page
/// that lies behind the new end kills the process with SIGBUS, which no check of ours can prevent. The length is the
/// file's length when it was opened; bytes that are appended later are not seen.
package final class FileBytes: @unchecked Sendable {
    // Unchecked: the pointer is set once, the memory behind it is never written, and it is released in deinit only.
    package let buffer: UnsafeRawBufferPointer
    private let isMapped: Bool

    /// Maps a regular file. An empty file has an empty buffer.
    package init(path: String) throws(DejaVuError) {
        // Without O_NONBLOCK opening a FIFO would wait for a writer.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            let code: DejaVuError.Code = errno == ENOENT ? .notFound : .unavailable
            throw DejaVuError(code, "cannot open \(path): \(Self.reason(errno))", subject: "path")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw DejaVuError(.unavailable, "cannot examine \(path): \(Self.reason(errno))", subject: "path")
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw DejaVuError(.invalidFile, "\(path) is not a regular file", subject: "path")
        }
        let length = Int(status.st_size)
        guard length > 0 else {
            buffer = UnsafeRawBufferPointer(start: nil, count: 0)
            isMapped = false
            return
        }
        guard let base = mmap(nil, length, PROT_READ, MAP_SHARED, descriptor, 0), base != MAP_FAILED else {
            throw DejaVuError(.unavailable, "cannot map \(path): \(Self.reason(errno))", subject: "path")
        }
        buffer = UnsafeRawBufferPointer(start: base, count: length)
        isMapped = true
    }

    /// Keeps a copy of the bytes, aligned to 4096 as a mapping would be.
    package init(copying bytes: [UInt8]) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 4096)
        memory.copyBytes(from: bytes)
        buffer = UnsafeRawBufferPointer(memory)
        isMapped = false
    }

    deinit {
        guard let base = buffer.baseAddress else { return }
        if isMapped {
            munmap(UnsafeMutableRawPointer(mutating: base), buffer.count)
        } else {
            UnsafeMutableRawBufferPointer(mutating: buffer).deallocate()
        }
    }

    /// What we tell the kernel about our use of a range.
    package enum Advice { case willNeed, dontNeed }

    /// A hint about the pages of a range; its failure has no effect on what is read.
    package func advise(_ advice: Advice, _ range: Range<Int>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= buffer.count, "advice outside of the file")
        guard isMapped, let base = buffer.baseAddress, !range.isEmpty else { return }
        let pageSize = Int(sysconf(Int32(_SC_PAGESIZE)))
        // "Don't need" leaves out pages that the range shares with its neighbours.
        let start: Int
        let end: Int
        switch advice {
        case .willNeed:
            start = range.lowerBound / pageSize * pageSize
            end = range.upperBound
        case .dontNeed:
            start = (range.lowerBound + pageSize - 1) / pageSize * pageSize
            end = range.upperBound / pageSize * pageSize
        }
        guard start < end else { return }
        let address = UnsafeMutableRawPointer(mutating: base + start)
        _ = madvise(address, end - start, advice == .willNeed ? MADV_WILLNEED : MADV_DONTNEED)
    }

    private static func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
}
