import Glibc

/// The operating system's files.
package struct PosixFileSystem: DiskFileSystem {
    package init() {}

    package func claim(_ directory: String) throws(IOFailure) -> any Sendable {
        if mkdir(directory, 0o700) != 0, errno != EEXIST { throw IOFailure("make \(directory)", errno) }
        // Somebody else's rows are nobody's business, also where the directory was made by hand.
        if chmod(directory, 0o700) != 0 { throw IOFailure("protect \(directory)", errno) }
        let file = try PosixFile("\(directory)/lock", O_RDWR | O_CREAT)
        if flock(file.descriptor, LOCK_EX | LOCK_NB) != 0 {
            throw IOFailure("lock \(directory), which another store may be using", errno)
        }
        return file
    }

    package func list(_ directory: String) throws(IOFailure) -> [String] {
        guard let stream = opendir(directory) else { throw IOFailure("list \(directory)", errno) }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != "..", name != "lock" { names.append(name) }
        }
        return names.sorted()
    }

    package func create(_ path: String) throws(IOFailure) -> any DiskFile {
        try PosixFile(path, O_RDWR | O_CREAT | O_EXCL)
    }

    package func open(_ path: String) throws(IOFailure) -> any DiskFile { try PosixFile(path, O_RDWR) }

    package func remove(_ path: String) throws(IOFailure) {
        if unlink(path) != 0 { throw IOFailure("remove \(path)", errno) }
    }

    package func syncDirectory(_ directory: String) throws(IOFailure) {
        let file = try PosixFile(directory, O_RDONLY | O_DIRECTORY)
        if fsync(file.descriptor) != 0 { throw IOFailure("sync \(directory)", errno) }
    }
}

/// A descriptor, closed when the last user lets go of it: a removed file can be read to the end.
private final class PosixFile: DiskFile {
    let descriptor: Int32

    /// Follows no symbolic link and opens nothing but files and directories: what lies in the directory may be
    /// somebody's trap.
    init(_ path: String, _ flags: Int32) throws(IOFailure) {
        var result: Int32
        repeat {
            result = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
        } while result < 0 && errno == EINTR
        guard result >= 0 else { throw IOFailure("open \(path)", errno) }
        descriptor = result
        var status = stat()
        guard fstat(result, &status) == 0, [S_IFREG, S_IFDIR].contains(status.st_mode & S_IFMT) else {
            throw IOFailure("\(path) is no file", EINVAL)
        }
    }

    deinit { close(descriptor) }

    func byteCount() throws(IOFailure) -> Int {
        var status = stat()
        if fstat(descriptor, &status) != 0 { throw IOFailure("look at a file", errno) }
        return status.st_size
    }

    func read(_ bytes: UnsafeMutableRawBufferPointer, at offset: Int) throws(IOFailure) -> Int {
        while true {
            let count = pread(descriptor, bytes.baseAddress, bytes.count, offset)
            if count >= 0 { return count }
            if errno != EINTR { throw IOFailure("read", errno) }
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(IOFailure) -> Int {
        while true {
            let count = pwrite(descriptor, bytes.baseAddress, bytes.count, offset)
            if count >= 0 { return count }
            if errno != EINTR { throw IOFailure("write", errno) }
        }
    }

    func sync() throws(IOFailure) {
        if fdatasync(descriptor) != 0 { throw IOFailure("fdatasync", errno) }
    }
}
