package import DejaVuCore
public import NIOCore

/// The unit that a link carries: a kind, a small encoded header and raw bytes.
///
/// On the wire: kind (1 byte), three zero bytes, header length and payload length (4 bytes each, little endian),
/// header, payload.
public struct LinkMessage: Hashable, Sendable {
    /// Kinds below this one belong to the link itself.
    public static let userKindMin: UInt8 = 16
    static let prefixBytes = 12

    public let kind: UInt8
    public let header: ByteBuffer
    public let payload: ByteBuffer

    public init(kind: UInt8, header: ByteBuffer, payload: ByteBuffer = ByteBuffer()) {
        self.kind = kind
        self.header = header
        self.payload = payload
    }

    var wireBytes: Int { Self.prefixBytes + header.readableBytes + payload.readableBytes }

    /// Prefix and header; the payload follows as it is.
    package func writeFront(into buffer: inout ByteBuffer) {
        buffer.writeInteger(kind)
        buffer.writeRepeatingByte(0, count: 3)
        buffer.writeInteger(UInt32(header.readableBytes), endianness: .little)
        buffer.writeInteger(UInt32(payload.readableBytes), endianness: .little)
        buffer.writeImmutableBuffer(header)
    }
}

/// Cuts a stream of bytes into messages.
///
/// Lengths are checked before memory is taken for what they promise; once they break a limit the stream is useless and
/// every further call throws.
package struct LinkMessageDecoder {
    package var headerBytesMax: Int
    package var payloadBytesMax: Int
    private var pending = ByteBuffer()
    private var broken: DejaVuError?

    package init(headerBytesMax: Int, payloadBytesMax: Int) {
        self.headerBytesMax = headerBytesMax
        self.payloadBytesMax = payloadBytesMax
    }

    /// Whether a message has begun and not ended.
    package var isInsideMessage: Bool { pending.readableBytes > 0 }

    package mutating func append(_ bytes: ByteBuffer) {
        if pending.readableBytes == 0 {
            pending = bytes
        } else {
            // A stream whose reads never end with a message would grow the buffer for ever otherwise.
            pending.discardReadBytes()
            pending.writeImmutableBuffer(bytes)
        }
    }

    /// The next whole message, or nil until more bytes come. Header and payload are slices, not copies.
    package mutating func next() throws(DejaVuError) -> LinkMessage? {
        if let broken { throw broken }
        let start = pending.readerIndex
        guard pending.readableBytes >= LinkMessage.prefixBytes,
            let kind = pending.getInteger(at: start, as: UInt8.self),
            let zeros = pending.getInteger(at: start, endianness: .little, as: UInt32.self),
            let headerLength = pending.getInteger(at: start + 4, endianness: .little, as: UInt32.self),
            let payloadLength = pending.getInteger(at: start + 8, endianness: .little, as: UInt32.self)
        else { return nil }
        let (header, payload) = (Int(headerLength), Int(payloadLength))
        guard zeros == UInt32(kind) else { throw fail("it does not speak this protocol") }
        guard header <= headerBytesMax, payload <= payloadBytesMax else {
            throw fail(
                "a message of \(header) + \(payload) bytes, the limits are \(headerBytesMax) + \(payloadBytesMax)")
        }
        let total = LinkMessage.prefixBytes + header + payload
        guard pending.readableBytes >= total else {
            reserve(total)
            return nil
        }
        pending.moveReaderIndex(forwardBy: LinkMessage.prefixBytes)
        guard let headerBytes = pending.readSlice(length: header), let payloadBytes = pending.readSlice(length: payload)
        else { preconditionFailure("the bytes were counted above") }
        return LinkMessage(kind: kind, header: headerBytes, payload: payloadBytes)
    }

    /// Makes room for the rest of a large message once a good part of it is really there, so that growing copies little
    /// and a peer that only promises costs nothing.
    private mutating func reserve(_ total: Int) {
        if pending.readableBytes >= total / 4 {
            pending.reserveCapacity(minimumWritableBytes: total - pending.readableBytes)
        }
    }

    private mutating func fail(_ what: String) -> DejaVuError {
        let error = DejaVuError(.network, "broken stream: \(what)")
        broken = error
        pending = ByteBuffer()
        return error
    }
}
