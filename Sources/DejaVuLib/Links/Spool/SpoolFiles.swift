package import NIOCore

/// A stream of bytes on its way through files of a directory: who writes it makes a new file now and then, who reads it
/// removes what it has read.
package struct SpoolPath: Sendable {
    /// After so many bytes the next file begins.
    package static let segmentBytes = 8 << 20

    let directory: String
    let name: String

    /// The bytes of one side.
    package init(_ place: SpoolPlace, of side: SpoolPlace.Side) {
        directory = place.directory
        name = side.rawValue
    }

    func segment(_ number: Int) -> String { "\(directory)/\(name)-\(number)" }
}

/// The writing end of a spooled stream. Blocks as long as the file system does.
package struct SpoolWriter {
    private let path: SpoolPath
    private let files: any DiskFileSystem
    private var file: (any DiskFile)?
    private var number = 0
    private var offset = 0
    /// All bytes so far. They can be read once others are told of them.
    package private(set) var written = 0

    package init(_ path: SpoolPath, files: any DiskFileSystem) {
        self.path = path
        self.files = files
    }

    package mutating func append(_ bytes: ByteBuffer) throws(IOFailure) {
        guard bytes.readableBytes > 0 else { return }
        let file = try room()
        let at = offset
        let result = bytes.withUnsafeReadableBytes { bytes in
            Result { () throws(IOFailure) in try file.writeWhole(bytes, at: at) }
        }
        try result.get()
        offset += bytes.readableBytes
        written += bytes.readableBytes
    }

    private mutating func room() throws(IOFailure) -> any DiskFile {
        if let file, offset < SpoolPath.segmentBytes { return file }
        number += 1
        let next = try files.create(path.segment(number))
        (file, offset) = (next, 0)
        return next
    }
}

/// The reading end. Blocks as long as the file system does.
package struct SpoolReader {
    /// At most so much is read at once.
    static let readBytesMax = 256 << 10

    private let path: SpoolPath
    private let files: any DiskFileSystem
    private var file: (any DiskFile)?
    private var number = 0
    private var offset = 0
    /// All bytes so far.
    package private(set) var taken = 0

    package init(_ path: SpoolPath, files: any DiskFileSystem) {
        self.path = path
        self.files = files
    }

    /// The next bytes, at least one.
    ///
    /// - Precondition: so many have been written.
    package mutating func read(_ count: Int, _ allocator: ByteBufferAllocator) throws(IOFailure) -> ByteBuffer {
        var buffer = allocator.buffer(capacity: min(count, Self.readBytesMax))
        while buffer.readableBytes == 0 {
            let file: any DiskFile
            if let open = self.file { file = open } else { file = try next() }
            let at = offset
            let wanted = min(count, Self.readBytesMax)
            var result: Result<Int, IOFailure> = .success(0)
            buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: wanted) { bytes in
                result = Result { () throws(IOFailure) in
                    try file.read(UnsafeMutableRawBufferPointer(rebasing: bytes[..<wanted]), at: at)
                }
                return (try? result.get()) ?? 0
            }
            let read = try result.get()
            offset += read
            // The writer goes on in the next one only when it has written all of this one.
            if read == 0 { self.file = try next() }
        }
        taken += buffer.readableBytes
        return buffer
    }

    /// The file that follows, in place of the one that was read.
    private mutating func next() throws(IOFailure) -> any DiskFile {
        if file != nil { try files.remove(path.segment(number)) }
        number += 1
        let next = try files.open(path.segment(number))
        (file, offset) = (next, 0)
        return next
    }
}
