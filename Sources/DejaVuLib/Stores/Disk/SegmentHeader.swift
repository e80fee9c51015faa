package import DejaVuCore

/// The first bytes of a segment file: whose rows it holds, and the salt that its records begin with.
package struct SegmentHeader: Hashable, Sendable, WireValue {
    package static let byteCount = 64
    package static let wireBytesMin = byteCount
    private static let magic: UInt64 = 0x3147_4553_5556_4A44  // "DJVUSEG1"
    private static let version: UInt32 = 1

    package let number: UInt64
    /// Random. Rows cannot know it, so no row looks like a record.
    package let salt: UInt64
    package let numericClass: NumericClass
    package let rowBytes: Int
    package let layers: LayerRange

    package init(number: UInt64, salt: UInt64, numericClass: NumericClass, rowBytes: Int, layers: LayerRange) {
        self.number = number
        self.salt = salt
        self.numericClass = numericClass
        self.rowBytes = rowBytes
        self.layers = layers
    }

    package func write(to writer: inout ByteWriter) {
        var own = ByteWriter()
        own.write(Self.magic)
        own.write(Self.version)
        own.write(number)
        own.write(salt)
        own.write(numericClass.hash)
        own.write(rowBytes)
        own.write(layers.first)
        own.write(layers.end)
        writer.write(raw: own.bytes)
        writer.write(Checksum.of(own.bytes))
    }

    package init(from reader: inout ByteReader) throws(DejaVuError) {
        let bytes = try reader.readSlice(Self.byteCount - 4)
        guard try reader.read(UInt32.self) == Checksum.of(bytes) else { throw .badRecord("a damaged segment header") }
        var fields = ByteReader(bytes)
        guard try fields.read(UInt64.self) == Self.magic else { throw .badRecord("not a segment") }
        let version = try fields.read(UInt32.self)
        guard version == Self.version else {
            throw DejaVuError(.unsupported, "a segment of version \(version); this is \(Self.version)")
        }
        number = try fields.read()
        salt = try fields.read()
        numericClass = NumericClass(hash: try fields.read())
        rowBytes = try fields.readInt()
        let first = try fields.readInt(max: 1 << 20)
        let end = try fields.readInt(max: 1 << 20)
        guard first < end, rowBytes > 0 else { throw .badRecord("a segment without layers or rows") }
        layers = LayerRange(first, end)
    }
}

extension DejaVuError {
    static func badRecord(_ what: String) -> DejaVuError { DejaVuError(.invalidFile, what) }
}
