package import DejaVuCore
package import DejaVuKV
package import NIOCore

/// What two sessions say to each other, chunks apart.
///
/// A frame: `begin`, chunks within the credit, then exactly one of `end` and `abandon` (an `abandon` may follow an
/// `end`); against it the receiver gives credit and says exactly one of `receipt` and `failed`. A call: `call`, and
/// exactly one `answer` or `callFailed`; the rows of a read come in chunks before its answer.
///
/// Every message ends with the crc32c of its kind and of all before it: a payload's checksum says nothing of where the
/// rows belong, and TCP's sums miss what a long wire damages.
package enum PeerMessage: Hashable, Sendable {
    /// `asks`: say whether the store takes it, by a credit, even if all of its bytes are there already.
    case begin(UInt64, store: String, StreamPriority, asks: Bool, FrameHeader)
    case end(UInt64, checksum: UInt32)
    case abandon(UInt64)
    case credit(UInt64, bytes: Int)
    case receipt(UInt64, FrameReceipt)
    case failed(UInt64, DejaVuError)
    case call(UInt64, store: String, PeerCall)
    case answer(UInt64, PeerAnswer)
    case callFailed(UInt64, DejaVuError)
    case cancelCall(UInt64)

    /// Longer names of stores are no names.
    package static let nameBytesMax = 200

    package init(_ message: LinkMessage) throws(DejaVuError) {
        guard message.payload.readableBytes == 0 else { throw .malformed("a payload where none belongs") }
        var reader = try Self.unsealed(message)
        let number = try reader.read(UInt64.self)
        switch message.kind {
        case Kind.begin:
            let store = try Self.readName(&reader)
            self = .begin(
                number, store: store, try reader.readPriority(), asks: try reader.readBool(), try reader.readHeader())
        case Kind.end: self = .end(number, checksum: try reader.read())
        case Kind.abandon: self = .abandon(number)
        case Kind.credit: self = .credit(number, bytes: try reader.readInt(max: 1 << 40))
        case Kind.receipt: self = .receipt(number, try reader.readReceipt())
        case Kind.failed: self = .failed(number, try reader.readError())
        case Kind.call: self = .call(number, store: try Self.readName(&reader), try PeerCall(from: &reader))
        case Kind.answer: self = .answer(number, try PeerAnswer(from: &reader))
        case Kind.callFailed: self = .callFailed(number, try reader.readError())
        case Kind.cancelCall: self = .cancelCall(number)
        default: throw .malformed("kind \(message.kind) is unknown")
        }
        try reader.finish()
    }

    private typealias Kind = PeerProtocol.Kind

    package var message: LinkMessage {
        let (kind, fields) = encoded
        return Self.sealed(kind, fields)
    }

    /// A message of these fields with their checksum.
    package static func sealed(_ kind: UInt8, _ fields: ByteBuffer) -> LinkMessage {
        var header = fields
        header.writeInteger(checksum(of: kind, fields), endianness: .little)
        return LinkMessage(kind: kind, header: header)
    }

    /// The fields, once their checksum is found to be right.
    private static func unsealed(_ message: LinkMessage) throws(DejaVuError) -> ByteReader {
        var fields = message.header
        guard let sum = fields.getInteger(at: fields.writerIndex - 4, endianness: .little, as: UInt32.self),
            let slice = fields.readSlice(length: fields.readableBytes - 4), sum == checksum(of: message.kind, slice)
        else { throw DejaVuError(.network, "a message was damaged on its way", subject: "checksum") }
        return ByteReader(slice)
    }

    private static func checksum(of kind: UInt8, _ fields: ByteBuffer) -> UInt32 {
        var checksum = Checksum()
        withUnsafeBytes(of: kind) { checksum.update($0) }
        checksum.update(fields)
        return checksum.value
    }

    private var encoded: (kind: UInt8, fields: ByteBuffer) {
        var writer = ByteWriter()
        switch self {
        case .begin(let number, let store, let priority, let asks, let header):
            writer.write(number)
            writer.write(store)
            writer.write(priority.rawValue)
            writer.write(asks)
            writer.write(header)
            return (Kind.begin, writer.buffer)
        case .end(let number, let checksum):
            writer.write(number)
            writer.write(checksum)
            return (Kind.end, writer.buffer)
        case .abandon(let number): return Self.bare(Kind.abandon, number)
        case .credit(let number, let bytes):
            writer.write(number)
            writer.write(bytes)
            return (Kind.credit, writer.buffer)
        case .receipt(let number, let receipt):
            writer.write(number)
            writer.write(receipt)
            return (Kind.receipt, writer.buffer)
        case .failed(let number, let error): return Self.failure(Kind.failed, number, error)
        case .call(let number, let store, let call):
            writer.write(number)
            writer.write(store)
            writer.write(call)
            return (Kind.call, writer.buffer)
        case .answer(let number, let answer):
            writer.write(number)
            writer.write(answer)
            return (Kind.answer, writer.buffer)
        case .callFailed(let number, let error): return Self.failure(Kind.callFailed, number, error)
        case .cancelCall(let number): return Self.bare(Kind.cancelCall, number)
        }
    }

    private static func bare(_ kind: UInt8, _ number: UInt64) -> (kind: UInt8, fields: ByteBuffer) {
        var writer = ByteWriter()
        writer.write(number)
        return (kind, writer.buffer)
    }

    private static func failure(_ kind: UInt8, _ number: UInt64, _ error: DejaVuError) -> (
        kind: UInt8, fields: ByteBuffer
    ) {
        var writer = ByteWriter()
        writer.write(number)
        writer.write(DejaVuError(error.code, printable(error.message, bytesMax: 2048)))
        return (kind, writer.buffer)
    }

    private static func readName(_ reader: inout ByteReader) throws(DejaVuError) -> String {
        let name = try reader.readString()
        guard name.utf8.count <= nameBytesMax else { throw .malformed("a store's name is too long") }
        return name
    }

    /// A chunk of a frame or of a read; the header says whose it is.
    static func chunk(_ kind: UInt8, of number: UInt64, _ bytes: ByteBuffer) -> LinkMessage {
        var header = ByteBuffer()
        header.writeInteger(number, endianness: .little)
        return LinkMessage(kind: kind, header: header, payload: bytes)
    }

    /// Whose chunk a piece belongs to.
    static func owner(of piece: LinkPiece) throws(DejaVuError) -> UInt64 {
        var reader = ByteReader(piece.header)
        let number = try reader.read(UInt64.self)
        try reader.finish()
        return number
    }
}

/// What can be asked of a peer's store.
package enum PeerCall: Hashable, Sendable {
    case describe
    case open(Ticket, tokens: [TokenID])
    case renew(Ticket)
    case watermark(SequenceID, LayerRange)
    case release(SequenceID)
    case read(Span, StreamPriority)
}

package enum PeerAnswer: Hashable, Sendable {
    case done
    case number(Int)
    case description(layers: LayerRange, rowBytes: Int, numericClass: NumericClass)
    /// The chunks before were all; crc32c of their bytes.
    case rows(checksum: UInt32)
}
