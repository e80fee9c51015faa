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

/// A part of the payload of a streamed message, as it came from the socket.
public struct LinkPiece: Sendable {
    public let kind: UInt8
    /// The whole header, with each piece.
    public let header: ByteBuffer
    /// Not empty, unless the whole payload is.
    public let bytes: ByteBuffer
    /// Payload bytes before this piece.
    public let offset: Int
    /// Payload bytes of the whole message.
    public let total: Int
    public var isFirst: Bool { offset == 0 }
    public var isLast: Bool { offset + bytes.readableBytes == total }
}

/// Cuts a stream of bytes into messages.
///
/// Lengths are checked before memory is taken for what they promise; once they break a limit the stream is useless and
/// every further call throws. Messages of a streamed kind are not gathered: their payload is handed on piece by piece,
/// as slices of what was appended, without a copy.
package struct LinkMessageDecoder {
    package enum Part: Sendable {
        case message(LinkMessage)
        case piece(LinkPiece)
    }

    private struct Streamed {
        let kind: UInt8
        let header: ByteBuffer
        let total: Int
        var offset = 0
    }

    package var headerBytesMax: Int
    package var payloadBytesMax: Int
    /// Kinds from here on are streamed; nil streams none.
    package var streamedKindMin: UInt8?
    /// Begins with the message that is not whole yet.
    private var pending = ByteBuffer()
    /// What was appended behind it.
    private var behind = CircularBuffer<ByteBuffer>()
    private var streamed: Streamed?
    private var broken: DejaVuError?

    package init(headerBytesMax: Int, payloadBytesMax: Int) {
        self.headerBytesMax = headerBytesMax
        self.payloadBytesMax = payloadBytesMax
    }

    /// Whether a message has begun and not ended.
    package var isInsideMessage: Bool { pending.readableBytes > 0 || streamed != nil }

    package mutating func append(_ bytes: ByteBuffer) {
        if bytes.readableBytes > 0 { behind.append(bytes) }
    }

    /// The next whole message, or nil until more bytes come. Header and payload are slices, not copies.
    ///
    /// - Precondition: no kind is streamed.
    package mutating func next() throws(DejaVuError) -> LinkMessage? {
        switch try nextPart() {
        case nil: return nil
        case .message(let message): return message
        case .piece: preconditionFailure("a decoder that streams hands out parts")
        }
    }

    /// The next message or piece of one, or nil until more bytes come.
    package mutating func nextPart() throws(DejaVuError) -> Part? {
        if let broken { throw broken }
        if streamed != nil { return nextPiece() }
        guard gather(LinkMessage.prefixBytes),
            let kind = pending.getInteger(at: pending.readerIndex, as: UInt8.self),
            let zeros = pending.getInteger(at: pending.readerIndex, endianness: .little, as: UInt32.self),
            let headerLength = pending.getInteger(at: pending.readerIndex + 4, endianness: .little, as: UInt32.self),
            let payloadLength = pending.getInteger(at: pending.readerIndex + 8, endianness: .little, as: UInt32.self)
        else { return nil }
        let (header, payload) = (Int(headerLength), Int(payloadLength))
        guard zeros == UInt32(kind) else { throw fail(Self.stranger(zeros)) }
        guard header <= headerBytesMax, payload <= payloadBytesMax else {
            throw fail(
                "a message of \(header) + \(payload) bytes, the limits are \(headerBytesMax) + \(payloadBytesMax)")
        }
        let isStreamed = streamedKindMin.map { kind >= $0 } ?? false
        guard gather(LinkMessage.prefixBytes + header + (isStreamed ? 0 : payload)) else { return nil }
        pending.moveReaderIndex(forwardBy: LinkMessage.prefixBytes)
        guard let headerBytes = pending.readSlice(length: header) else {
            preconditionFailure("the bytes were counted above")
        }
        if isStreamed {
            streamed = Streamed(kind: kind, header: headerBytes, total: payload)
            return nextPiece()
        }
        guard let payloadBytes = pending.readSlice(length: payload) else {
            preconditionFailure("the bytes were counted above")
        }
        return .message(LinkMessage(kind: kind, header: headerBytes, payload: payloadBytes))
    }

    private mutating func nextPiece() -> Part? {
        guard var message = streamed else { preconditionFailure("no message is being streamed") }
        if pending.readableBytes == 0, message.total > 0 {
            pending = behind.popFirst() ?? ByteBuffer()
            guard pending.readableBytes > 0 else { return nil }
        }
        let count = min(message.total - message.offset, pending.readableBytes)
        guard let bytes = pending.readSlice(length: count) else { preconditionFailure("the bytes were counted above") }
        let piece = LinkPiece(
            kind: message.kind, header: message.header, bytes: bytes, offset: message.offset, total: message.total)
        message.offset += count
        streamed = message.offset < message.total ? message : nil
        return .piece(piece)
    }

    /// Whether that many bytes are in `pending`, after taking in what it lacks of those behind. Copies only what a
    /// message lacks whose bytes came apart.
    private mutating func gather(_ count: Int) -> Bool {
        // Keeps no buffer that is used up: the socket may fill it again.
        if pending.readableBytes == 0 { pending = ByteBuffer() }
        while pending.readableBytes < count, var more = behind.popFirst() {
            if pending.readableBytes == 0 {
                pending = more
                continue
            }
            // Room for all of it only once a good part is really there: who only promises costs nothing.
            if pending.readableBytes >= count / 4 {
                pending.discardReadBytes()
                pending.reserveCapacity(minimumWritableBytes: count - pending.readableBytes)
            }
            let lacking = min(count - pending.readableBytes, more.readableBytes)
            guard let bytes = more.readSlice(length: lacking) else { preconditionFailure("the bytes were counted") }
            pending.writeImmutableBuffer(bytes)
            if more.readableBytes > 0 { behind.prepend(more) }
        }
        return pending.readableBytes >= count
    }

    /// What to say of a peer whose first bytes are not ours.
    private static func stranger(_ first: UInt32) -> String {
        // A TLS record begins with its type, 20 to 23, and the major version, 3.
        first >> 8 & 0xFF == 3 && (20...23).contains(first & 0xFF)
            ? "the peer speaks TLS and this side does not; give --cluster-insecure to both sides or to none"
            : "it does not speak this protocol"
    }

    private mutating func fail(_ what: String) -> DejaVuError {
        let error = DejaVuError(.network, "broken stream: \(what)")
        broken = error
        pending = ByteBuffer()
        behind.removeAll()
        return error
    }
}
