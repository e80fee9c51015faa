package import DejaVuCore
package import DejaVuGGML
import Glibc

/// The directory in which a machine's workers keep the packed weights of one model, so that they exist once: the first
/// that needs a section makes its file, all map it.
///
/// A file is written under another name, whole or not at all, by the one process that holds the lock of that name; a
/// writer that is killed leaves a file that the next one takes over. Packed bytes are the same for every instruction
/// set, so the key is the model and the version of the kernels; files of other versions of the model are removed.
package struct WeightCache {
    package let directory: String
    /// Writes at an offset, as pwrite does: a seam for tests of full disks.
    package var write: @Sendable (Int32, UnsafeRawBufferPointer, Int) -> Int = {
        pwrite($0, $1.baseAddress, $1.count, $2)
    }
    private static let writeBytesMax = 1 << 26

    /// Makes the directory of a model below `root`, and removes what earlier versions left there.
    ///
    /// - Throws: `.unavailable` if there can be no such directory.
    package init(root: String, model: ModelID) throws(DejaVuError) {
        let stem = model.digest.prefix(32) + "-native-"
        directory = "\(root)/\(stem)\(KernelSet.native.version)"
        try Self.makeDirectories(directory)
        for name in Self.names(in: root) where name.hasPrefix(stem) && "\(root)/\(name)" != directory {
            Self.removeSections("\(root)/\(name)")
        }
    }

    static func failure(_ what: String) -> DejaVuError {
        DejaVuError(.unavailable, "\(what): \(String(cString: strerror(errno)))", subject: "weight-cache")
    }

    func path(_ section: PackedSection) -> String { "\(directory)/\(section.fileName)" }

    /// The matrices of a section from its file; nil if there is none.
    ///
    /// - Throws: `.invalidFile` or `.unavailable` if the file cannot be used.
    package func load(_ section: PackedSection) throws(DejaVuError) -> [String: PackedMatrix]? {
        try MappedSection(path(section), section)?.matrices
    }

    /// The right to make a section's file; nil if another has it, for now or until a moment ago.
    ///
    /// - Throws: `.unavailable` if no file can be made.
    package func claim(_ section: PackedSection) throws(DejaVuError) -> Claim? {
        let part = path(section) + ".part"
        let descriptor = open(part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
        guard descriptor >= 0 else { throw Self.failure("cannot make \(part)") }
        let claim = Claim(descriptor: descriptor, path: part)
        _ = try MappedSection.ownFileLength(descriptor, part)
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            if errno == EWOULDBLOCK { return nil }
            throw Self.failure("cannot lock \(part)")
        }
        // The former holder may have given it its final name before we had the lock.
        var ours = stat()
        var named = stat()
        guard fstat(descriptor, &ours) == 0, stat(part, &named) == 0, ours.st_ino == named.st_ino,
            ours.st_dev == named.st_dev
        else { return nil }
        return claim
    }

    /// A section's file while it is made: locked until the object goes.
    package final class Claim {
        fileprivate let descriptor: Int32
        fileprivate let path: String
        fileprivate init(descriptor: Int32, path: String) {
            self.descriptor = descriptor
            self.path = path
        }
        deinit { close(descriptor) }

        /// Ends without a file.
        package func discard() { unlink(path) }
    }

    /// Makes a section's file in place of whatever is there.
    ///
    /// - Parameter pack: packs a matrix into the memory that it is given.
    /// - Throws: `.unavailable` if the disk does not take it; nothing is left behind then.
    package func store(
        _ section: PackedSection, _ claim: Claim,
        pack: (PackedSection.Entry, UnsafeMutableRawBufferPointer) -> Void
    ) throws(DejaVuError) {
        do throws(DejaVuError) {
            guard ftruncate(claim.descriptor, 0) == 0 else { throw Self.failure("cannot empty \(claim.path)") }
            var sums: [UInt64] = []
            for entry in section.entries {
                let memory = UnsafeMutableRawBufferPointer.allocate(
                    byteCount: entry.range.count, alignment: PackedMatrix.alignment)
                defer { memory.deallocate() }
                pack(entry, memory)
                sums.append(checksum(UnsafeRawBufferPointer(memory)))
                try writeAll(UnsafeRawBufferPointer(memory), at: entry.range.lowerBound, claim)
            }
            let head = section.head(checksums: sums)
            let written = head.withUnsafeBytes { bytes in
                Result { () throws(DejaVuError) in try writeAll(bytes, at: 0, claim) }
            }
            try written.get()
            guard fsync(claim.descriptor) == 0 else { throw Self.failure("cannot write \(claim.path)") }
            guard rename(claim.path, path(section)) == 0 else { throw Self.failure("cannot name \(path(section))") }
        } catch {
            claim.discard()
            throw error
        }
    }

    private func writeAll(_ bytes: UnsafeRawBufferPointer, at offset: Int, _ claim: Claim) throws(DejaVuError) {
        var done = 0
        while done < bytes.count {
            let end = min(bytes.count, done + Self.writeBytesMax)
            let count = write(claim.descriptor, UnsafeRawBufferPointer(rebasing: bytes[done..<end]), offset + done)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw Self.failure("cannot write \(claim.path)") }
            done += count
        }
    }
}

extension WeightCache {
    private static func makeDirectories(_ path: String) throws(DejaVuError) {
        guard !path.utf8.contains(0) else {
            throw DejaVuError(.unavailable, "the cache of weights has no usable path", subject: "weight-cache")
        }
        var part = path.hasPrefix("/") ? "" : "."
        for name in path.split(separator: "/") {
            part += "/" + name
            if mkdir(part, 0o700) != 0, errno != EEXIST { throw failure("cannot make \(part)") }
        }
        var status = stat()
        guard stat(path, &status) == 0 else { throw failure("cannot examine \(path)") }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw DejaVuError(.unavailable, "\(path) is no directory", subject: "weight-cache")
        }
    }

    private static func names(in directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) { String(cString: $0) }
            }
            names.append(name)
        }
        return names
    }

    /// Removes a directory of ours, unless there is something else in it. Who has its files mapped keeps them.
    private static func removeSections(_ directory: String) {
        for name in names(in: directory) where name.hasSuffix(".packed") || name.hasSuffix(".packed.part") {
            unlink("\(directory)/\(name)")
        }
        rmdir(directory)
    }
}
