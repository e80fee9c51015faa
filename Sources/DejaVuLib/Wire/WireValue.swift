public import DejaVuCore

/// A value with one binary form: little endian, no padding, no versions of its own (peers of another protocol version
/// are refused in the handshake).
///
/// Decoding what `write` wrote gives an equal value; decoding anything else throws. Neither crashes.
public protocol WireValue {
    /// The fewest bytes that any value takes: it bounds how many can follow before memory for them is taken.
    static var wireBytesMin: Int { get }
    func write(to writer: inout ByteWriter)
    init(from reader: inout ByteReader) throws(DejaVuError)
}

extension WireValue {
    /// The value's bytes and nothing else.
    public func encoded() -> [UInt8] {
        var writer = ByteWriter()
        write(to: &writer)
        return writer.bytes
    }

    /// The value that fills these bytes exactly.
    public static func decoded(from bytes: [UInt8]) throws(DejaVuError) -> Self {
        var reader = ByteReader(bytes)
        let value = try Self(from: &reader)
        try reader.finish()
        return value
    }
}

extension DejaVuError {
    /// What a peer sent is not what the protocol says.
    static func malformed(_ what: String) -> DejaVuError { DejaVuError(.network, "malformed message: \(what)") }
}
