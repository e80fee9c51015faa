public import DejaVuCore
public import NIOCore

/// Takes values from bytes that a peer sent. Never reads beyond them, and takes memory only for what they can hold.
public struct ByteReader {
    private var buffer: ByteBuffer

    public init(_ buffer: ByteBuffer) { self.buffer = buffer }
    public init(_ bytes: [UInt8]) { buffer = ByteBuffer(bytes: bytes) }

    public var remaining: Int { buffer.readableBytes }

    /// - Throws: if bytes are left over.
    public func finish() throws(DejaVuError) {
        if remaining > 0 { throw .malformed("\(remaining) bytes too many") }
    }

    public mutating func read<Number: FixedWidthInteger>(_ type: Number.Type = Number.self) throws(DejaVuError)
        -> Number
    {
        guard let number = buffer.readInteger(endianness: .little, as: type) else {
            throw .malformed("ends inside a number")
        }
        return number
    }

    /// Positions, counts and sizes: `0 ... max`.
    public mutating func readInt(max: Int = 1 << 48) throws(DejaVuError) -> Int {
        let number = try read(Int64.self)
        guard number >= 0, number <= max else { throw .malformed("\(number) is out of range") }
        return Int(number)
    }

    public mutating func readBool() throws(DejaVuError) -> Bool {
        switch try read(UInt8.self) {
        case 0: return false
        case 1: return true
        case let other: throw .malformed("\(other) is no truth value")
        }
    }

    public mutating func readFloat() throws(DejaVuError) -> Float { Float(bitPattern: try read(UInt32.self)) }

    public mutating func readString() throws(DejaVuError) -> String {
        let bytes = try readSlice(readCount(of: 1))
        guard let text = String(validating: bytes.readableBytesView, as: UTF8.self) else {
            throw .malformed("a text is not UTF-8")
        }
        return text
    }

    /// Exactly that many bytes, not copied.
    public mutating func readSlice(_ count: Int) throws(DejaVuError) -> ByteBuffer {
        guard count >= 0, let slice = buffer.readSlice(length: count) else { throw .malformed("ends inside bytes") }
        return slice
    }

    public mutating func readBytes() throws(DejaVuError) -> [UInt8] {
        [UInt8](try readSlice(readCount(of: 1)).readableBytesView)
    }

    public mutating func readTokens() throws(DejaVuError) -> [TokenID] {
        let count = try readCount(of: MemoryLayout<TokenID>.size)
        guard count > 0 else { return [] }
        let bytes = try readSlice(count * MemoryLayout<TokenID>.size)
        return [TokenID](unsafeUninitializedCapacity: count) { tokens, initialized in
            bytes.withUnsafeReadableBytes { UnsafeMutableRawBufferPointer(tokens).copyMemory(from: $0) }
            initialized = count
        }
    }

    public mutating func readArray<Value: WireValue>(of type: Value.Type = Value.self) throws(DejaVuError) -> [Value] {
        let count = try readCount(of: Value.wireBytesMin)
        var values: [Value] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(try Value(from: &self)) }
        return values
    }

    public mutating func readOptional<Value: WireValue>(_ type: Value.Type = Value.self) throws(DejaVuError) -> Value? {
        try readBool() ? try Value(from: &self) : nil
    }

    public mutating func read<ID: Identifier>(_ type: ID.Type = ID.self) throws(DejaVuError) -> ID {
        ID(rawValue: try read(UInt64.self))
    }

    /// A count of things that take at least `bytes` each, all of which must still be there.
    private mutating func readCount(of bytes: Int) throws(DejaVuError) -> Int {
        let count = Int(try read(UInt32.self))
        guard count <= remaining / Swift.max(bytes, 1) else { throw .malformed("a count of \(count) cannot be true") }
        return count
    }
}
