public import DejaVuCore
public import DejaVuKV

// The wire form of what the core and KV modules define for links and transports. Whatever their initializers require
// is checked first: a peer must not be able to stop this process.

/// Positions, counts and sizes that a peer may name.
private let countMax = 1 << 40

extension DejaVuError: WireValue {
    public static let wireBytesMin = 9
    public func write(to writer: inout ByteWriter) {
        writer.write(code.description)
        writer.write(message)
        writer.write(subject != nil)
        if let subject { writer.write(subject) }
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        let name = try reader.readString()
        guard let code = Code(name) else { throw DejaVuError.malformed("unknown error code") }
        let message = try reader.readString()
        self.init(code, message, subject: try reader.readBool() ? try reader.readString() : nil)
    }
}

extension LayerRange: WireValue {
    public static let wireBytesMin = 16
    public func write(to writer: inout ByteWriter) {
        writer.write(first)
        writer.write(end)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        let first = try reader.readInt(max: 1 << 20)
        let end = try reader.readInt(max: 1 << 20)
        guard first <= end else { throw DejaVuError.malformed("layers end before they start") }
        self.init(first, end)
    }
}

extension Ticket: WireValue {
    public static let wireBytesMin = 8 + 8 + 16 + 8 + 8
    public func write(to writer: inout ByteWriter) {
        writer.write(number)
        writer.write(sequence)
        writer.write(layers)
        writer.write(positionLimit)
        writer.write(self.writer)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(
            number: try reader.read(), sequence: try reader.read(), layers: try LayerRange(from: &reader),
            positionLimit: try reader.readInt(max: countMax), writer: try reader.read())
    }
}

extension Span: WireValue {
    public static let wireBytesMin = 8 + LayerRange.wireBytesMin + 16
    public func write(to writer: inout ByteWriter) {
        writer.write(sequence)
        writer.write(layers)
        writer.write(positions.lowerBound)
        writer.write(positions.upperBound)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        let sequence = try reader.read(SequenceID.self)
        let layers = try LayerRange(from: &reader)
        let first = try reader.readInt(max: countMax)
        let end = try reader.readInt(max: countMax)
        guard first <= end else { throw .malformed("positions end before they start") }
        self.init(sequence: sequence, layers: layers, positions: first..<end)
    }
}

extension FrameHeader: WireValue {
    public static let wireBytesMin = 8 + 8 + Span.wireBytesMin + 4 + 8 + 8 + 8
    public func write(to writer: inout ByteWriter) {
        writer.write(ticket)
        writer.write(self.writer)
        writer.write(span)
        writer.write(tokens)
        writer.write(tokensHash)
        writer.write(numericClass.hash)
        writer.write(payloadBytes)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        let ticket = try reader.read(UInt64.self)
        let writer = try reader.read(Incarnation.self)
        let span = try Span(from: &reader)
        let tokens = try reader.readTokens()
        guard tokens.count == span.positions.count else { throw .malformed("a frame without its tokens") }
        self.init(
            ticket: ticket, writer: writer, span: span, tokens: tokens, tokensHash: try reader.read(),
            numericClass: NumericClass(hash: try reader.read()), payloadBytes: try reader.readInt(max: countMax))
    }
}
