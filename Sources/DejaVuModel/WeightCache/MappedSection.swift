import DejaVuCore
import DejaVuGGML
import Glibc

/// A file of the cache, mapped read-only: all processes that map it share its memory. The mapping lives as long as the
/// object, also if the file is replaced or removed meanwhile.
final class MappedSection {
    let section: PackedSection
    private let bytes: UnsafeRawBufferPointer

    /// Maps a file and checks all of it; nil if there is none.
    ///
    /// - Throws: `.invalidFile` if it is not what it must be, `.unavailable` if it cannot be read.
    init?(_ path: String, _ section: PackedSection) throws(DejaVuError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw WeightCache.failure("cannot open \(path)")
        }
        defer { close(descriptor) }
        let length = try Self.ownFileLength(descriptor, path)
        guard length == section.byteCount else {
            throw DejaVuError(.invalidFile, "\(path): has \(length) bytes instead of \(section.byteCount)")
        }
        guard let base = mmap(nil, length, PROT_READ, MAP_SHARED, descriptor, 0), base != MAP_FAILED else {
            throw WeightCache.failure("cannot map \(path)")
        }
        bytes = UnsafeRawBufferPointer(start: base, count: length)
        self.section = section
        _ = madvise(base, length, MADV_WILLNEED)
        do throws(DejaVuError) { try section.check(bytes) } catch {
            throw DejaVuError(.invalidFile, "\(path): \(error.message)")
        }
    }

    deinit { munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count) }

    /// The length of a regular file that is this user's and that nobody else may write.
    static func ownFileLength(_ descriptor: Int32, _ path: String) throws(DejaVuError) -> Int {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw WeightCache.failure("cannot examine \(path)") }
        guard status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid(), status.st_mode & 0o022 == 0 else {
            throw DejaVuError(.invalidFile, "\(path): is not a file that only this user may write")
        }
        return Int(status.st_size)
    }

    /// The matrices in it, by name.
    var matrices: [String: PackedMatrix] {
        var matrices: [String: PackedMatrix] = [:]
        for entry in section.entries {
            matrices[entry.name] = PackedMatrix(
                entry.type, rows: entry.rows, columns: entry.columns,
                packed: UnsafeRawBufferPointer(rebasing: bytes[entry.range]), owner: self)
        }
        return matrices
    }
}
