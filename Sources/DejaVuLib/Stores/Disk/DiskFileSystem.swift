/// The calls that a disk store makes: the real ones, or a test's that fail as disks do.
///
/// All of them block; they are made on the store's own I/O threads alone.
package protocol DiskFileSystem: Sendable {
    /// Makes the directory if it is not there, for this user alone, and keeps other processes' stores out of it as long
    /// as the result lives.
    func claim(_ directory: String) throws(IOFailure) -> any Sendable
    /// Names of the directory's files.
    func list(_ directory: String) throws(IOFailure) -> [String]
    /// A new file for this user alone.
    func create(_ path: String) throws(IOFailure) -> any DiskFile
    func open(_ path: String) throws(IOFailure) -> any DiskFile
    func remove(_ path: String) throws(IOFailure)
    /// Makes names that were created durable.
    func syncDirectory(_ directory: String) throws(IOFailure)
}

/// An open file. May be used by several threads at once.
package protocol DiskFile: AnyObject, Sendable {
    func byteCount() throws(IOFailure) -> Int
    /// - Returns: how many bytes were read; may be fewer than asked for, 0 at the end.
    func read(_ bytes: UnsafeMutableRawBufferPointer, at offset: Int) throws(IOFailure) -> Int
    /// - Returns: how many bytes were written; may be fewer than given.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(IOFailure) -> Int
    /// Returns when all that was written is on the disk. After an error none of it may be.
    func sync() throws(IOFailure)
}

extension DiskFile {
    /// Fills the buffer, or throws.
    func readWhole(_ bytes: UnsafeMutableRawBufferPointer, at offset: Int) throws(IOFailure) {
        var done = 0
        while done < bytes.count {
            let count = try read(UnsafeMutableRawBufferPointer(rebasing: bytes[done...]), at: offset + done)
            guard count > 0 else { throw IOFailure("a file ends at \(offset + done)", 0) }
            done += count
        }
    }

    func writeWhole(_ bytes: [UInt8], at offset: Int) throws(IOFailure) {
        try bytes.withUnsafeBufferPointer { (bytes) throws(IOFailure) in
            try writeWhole(UnsafeRawBufferPointer(bytes), at: offset)
        }
    }

    /// Writes all, or throws.
    func writeWhole(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(IOFailure) {
        var done = 0
        while done < bytes.count {
            let count = try write(UnsafeRawBufferPointer(rebasing: bytes[done...]), at: offset + done)
            guard count > 0 else { throw IOFailure("nothing is written at \(offset + done)", 0) }
            done += count
        }
    }
}
