public import DejaVuCore
public import NIOCore

/// Puts values into one growing buffer, little endian.
public struct ByteWriter {
    public private(set) var buffer: ByteBuffer

    public init(into buffer: ByteBuffer = ByteBuffer()) { self.buffer = buffer }

    public var bytes: [UInt8] { [UInt8](buffer.readableBytesView) }

    public mutating func write<Number: FixedWidthInteger>(_ number: Number) {
        buffer.writeInteger(number, endianness: .little)
    }

    /// Positions, counts and sizes: always eight bytes.
    public mutating func write(_ number: Int) { write(Int64(number)) }
    public mutating func write(_ flag: Bool) { write(flag ? 1 as UInt8 : 0) }
    public mutating func write(_ number: Float) { write(number.bitPattern) }

    /// UTF-8 behind its length.
    public mutating func write(_ text: String) {
        let utf8 = text.utf8
        write(UInt32(utf8.count))
        buffer.writeBytes(utf8)
    }

    /// Bytes without a length.
    public mutating func write(raw bytes: some Sequence<UInt8>) { buffer.writeBytes(bytes) }

    /// Bytes behind their length.
    public mutating func write(_ bytes: [UInt8]) {
        write(UInt32(bytes.count))
        buffer.writeBytes(bytes)
    }

    /// Token numbers behind their count.
    public mutating func write(_ tokens: [TokenID]) {
        write(UInt32(tokens.count))
        tokens.withUnsafeBytes { source in
            // Every platform that this is built for is little endian.
            _ = buffer.writeBytes(source)
        }
    }

    public mutating func write(_ value: some WireValue) { value.write(to: &self) }

    /// Values behind their count.
    public mutating func write<Value: WireValue>(_ values: [Value]) {
        write(UInt32(values.count))
        for value in values { value.write(to: &self) }
    }

    /// A flag, then the value if there is one.
    public mutating func write(_ value: (some WireValue)?) {
        write(value != nil)
        if let value { value.write(to: &self) }
    }

    public mutating func write(_ identifier: some Identifier) { write(identifier.rawValue) }
}
