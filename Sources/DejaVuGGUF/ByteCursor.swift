import DejaVuCore

/// Reads little-endian fields one after the other; every read is checked against the end of the file.
struct ByteCursor {
    let buffer: UnsafeRawBufferPointer
    private(set) var offset: Int

    init(_ buffer: UnsafeRawBufferPointer, at offset: Int = 0) {
        precondition(offset >= 0 && offset <= buffer.count, "cursor outside of the file")
        self.buffer = buffer
        self.offset = offset
    }

    var remaining: Int { buffer.count - offset }

    /// Reads one integer. `field` names it in the error.
    mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(
        _ field: @autoclosure () -> String, as type: T.Type = T.self
    ) throws(DejaVuError) -> T {
        let range = try bytes(MemoryLayout<T>.size, field())
        return T(littleEndian: buffer.loadUnaligned(fromByteOffset: range.lowerBound, as: T.self))
    }

    /// Steps over `count` bytes and returns where they lie.
    mutating func bytes(_ count: Int, _ field: @autoclosure () -> String) throws(DejaVuError) -> Range<Int> {
        precondition(count >= 0, "negative length")
        guard count <= remaining else {
            throw .invalidField(field(), at: offset, "needs \(count) bytes, but the file ends after \(remaining)")
        }
        defer { offset += count }
        return offset..<offset + count
    }

    /// Steps over a string, which is a 64-bit length and its bytes, and returns where the bytes lie.
    mutating func string(limit: Int = .max, _ field: @autoclosure () -> String) throws(DejaVuError) -> Range<Int> {
        let start = offset
        let length = try integer(field(), as: UInt64.self)
        guard length <= UInt64(remaining) else {
            throw .invalidField(
                field(), at: start, "has a length of \(length) bytes, but the file ends after \(remaining)")
        }
        guard length <= UInt64(limit) else {
            throw .invalidField(field(), at: start, "has \(length) bytes; at most \(limit) are allowed")
        }
        return try bytes(Int(length), field())
    }

    /// Reads a string that must be UTF-8.
    mutating func text(limit: Int = .max, _ field: @autoclosure () -> String) throws(DejaVuError) -> String {
        let range = try string(limit: limit, field())
        guard let text = String(validating: UnsafeRawBufferPointer(rebasing: buffer[range]), as: UTF8.self) else {
            throw .invalidField(field(), at: range.lowerBound, "is not valid UTF-8")
        }
        return text
    }

    /// Reads a count of things of at least `minimumSize` bytes each, which bounds it by what is left of the file.
    mutating func count(
        ofAtLeast minimumSize: Int, limit: Int = .max, _ field: @autoclosure () -> String
    ) throws(DejaVuError) -> Int {
        let start = offset
        let count = try integer(field(), as: UInt64.self)
        guard count <= UInt64(limit) else {
            throw .invalidField(field(), at: start, "is \(count); at most \(limit) are allowed")
        }
        guard count <= UInt64(remaining / minimumSize) else {
            throw .invalidField(
                field(), at: start, "is \(count), which cannot fit in the \(remaining) bytes that are left")
        }
        return Int(count)
    }
}

extension DejaVuError {
    /// A field of the file breaks the format. `offset` is where the field starts, in bytes from the file's start.
    static func invalidField(_ field: String, at offset: Int, _ problem: String) -> DejaVuError {
        DejaVuError(.invalidFile, "\(field) at offset \(offset) \(problem)", subject: field)
    }
}

/// A name from the file as it may stand in an error: quoted, without control characters, and short.
func quoted(_ name: String) -> String {
    let limit = 64
    var text = "'"
    for scalar in name.unicodeScalars.prefix(limit) {
        text += scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) ? "?" : String(scalar)
    }
    return text + (name.unicodeScalars.count > limit ? "…'" : "'")
}
