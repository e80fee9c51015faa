package import DejaVuCore
import DejaVuKV
import NIOCore

// The wire form of calls, answers, receipts and priorities.

extension ByteReader {
    mutating func readPriority() throws(DejaVuError) -> StreamPriority {
        guard let priority = StreamPriority(rawValue: try read()) else { throw .malformed("unknown priority") }
        return priority
    }

    mutating func readHeader() throws(DejaVuError) -> FrameHeader { try FrameHeader(from: &self) }

    /// Its text may go into a log: it has no control characters.
    mutating func readError() throws(DejaVuError) -> DejaVuError {
        let error = try DejaVuError(from: &self)
        return DejaVuError(error.code, printable(error.message, bytesMax: 2048))
    }

    mutating func readReceipt() throws(DejaVuError) -> FrameReceipt {
        let kind = try read(UInt8.self)
        let watermark = try readInt()
        switch kind {
        case 0: return .committed(watermark: watermark)
        case 1: return .known(watermark: watermark)
        case 2: return .gap(watermark: watermark)
        default: throw .malformed("unknown receipt")
        }
    }
}

extension ByteWriter {
    mutating func write(_ receipt: FrameReceipt) {
        switch receipt {
        case .committed(let watermark):
            write(0 as UInt8)
            write(watermark)
        case .known(let watermark):
            write(1 as UInt8)
            write(watermark)
        case .gap(let watermark):
            write(2 as UInt8)
            write(watermark)
        }
    }
}

extension PeerCall: WireValue {
    package static let wireBytesMin = 1
    package func write(to writer: inout ByteWriter) {
        switch self {
        case .describe: writer.write(0 as UInt8)
        case .open(let ticket, let tokens):
            writer.write(1 as UInt8)
            writer.write(ticket)
            writer.write(tokens)
        case .renew(let ticket):
            writer.write(5 as UInt8)
            writer.write(ticket)
        case .watermark(let sequence, let layers):
            writer.write(2 as UInt8)
            writer.write(sequence)
            writer.write(layers)
        case .release(let sequence):
            writer.write(3 as UInt8)
            writer.write(sequence)
        case .read(let span, let priority):
            writer.write(4 as UInt8)
            writer.write(span)
            writer.write(priority.rawValue)
        }
    }
    package init(from reader: inout ByteReader) throws(DejaVuError) {
        switch try reader.read(UInt8.self) {
        case 0: self = .describe
        case 1: self = .open(try Ticket(from: &reader), tokens: try reader.readTokens())
        case 2: self = .watermark(try reader.read(), try LayerRange(from: &reader))
        case 3: self = .release(try reader.read())
        case 4: self = .read(try Span(from: &reader), try reader.readPriority())
        case 5: self = .renew(try Ticket(from: &reader))
        default: throw .malformed("unknown call")
        }
    }
}

extension PeerAnswer: WireValue {
    package static let wireBytesMin = 1
    package func write(to writer: inout ByteWriter) {
        switch self {
        case .done: writer.write(0 as UInt8)
        case .number(let number):
            writer.write(1 as UInt8)
            writer.write(number)
        case .description(let layers, let rowBytes, let numericClass):
            writer.write(2 as UInt8)
            writer.write(layers)
            writer.write(rowBytes)
            writer.write(numericClass.hash)
        case .rows(let checksum):
            writer.write(3 as UInt8)
            writer.write(checksum)
        }
    }
    package init(from reader: inout ByteReader) throws(DejaVuError) {
        switch try reader.read(UInt8.self) {
        case 0: self = .done
        case 1: self = .number(try reader.readInt())
        case 2:
            self = .description(
                layers: try LayerRange(from: &reader), rowBytes: try reader.readInt(max: 1 << 30),
                numericClass: NumericClass(hash: try reader.read()))
        case 3: self = .rows(checksum: try reader.read())
        default: throw .malformed("unknown answer")
        }
    }
}
