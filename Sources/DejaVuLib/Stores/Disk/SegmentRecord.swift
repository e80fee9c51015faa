package import DejaVuCore
package import DejaVuKV

/// What stands before a record's header. Records begin at multiples of `RecordPrefix.alignment`.
package struct RecordPrefix: Hashable, Sendable, WireValue {
    package enum Kind: UInt32, Sendable {
        case frame = 1
        case release = 2
    }
    package static let alignment = 64
    package static let byteCount = 32
    package static let wireBytesMin = byteCount
    /// The longest header: all tokens of the longest sequence.
    package static let headerBytesMax = 8 << 20

    package let salt: UInt64
    package let kind: Kind
    package let headerBytes: Int
    package let payloadBytes: Int
    package let headerChecksum: UInt32

    package init(salt: UInt64, kind: Kind, header: [UInt8], payloadBytes: Int) {
        self.salt = salt
        self.kind = kind
        headerBytes = header.count
        self.payloadBytes = payloadBytes
        headerChecksum = Checksum.of(header)
    }

    package func write(to writer: inout ByteWriter) {
        let own = fields
        writer.write(raw: own)
        writer.write(Checksum.of(own))
    }

    private var fields: [UInt8] {
        var own = ByteWriter()
        own.write(salt)
        own.write(kind.rawValue)
        own.write(UInt32(headerBytes))
        own.write(payloadBytes)
        own.write(headerChecksum)
        return own.bytes
    }

    /// Bound to this record alone: what the trailer's checksum begins with.
    package var identity: Checksum {
        var checksum = Checksum()
        fields.withUnsafeBytes { checksum.update($0) }
        return checksum
    }

    package init(from reader: inout ByteReader) throws(DejaVuError) {
        let bytes = try reader.readSlice(Self.byteCount - 4)
        guard try reader.read(UInt32.self) == Checksum.of(bytes) else { throw .badRecord("a damaged record") }
        var fields = ByteReader(bytes)
        salt = try fields.read()
        guard let kind = Kind(rawValue: try fields.read()) else { throw .badRecord("a record of an unknown kind") }
        self.kind = kind
        headerBytes = Int(try fields.read(UInt32.self))
        payloadBytes = try fields.readInt(max: 1 << 46)
        headerChecksum = try fields.read()
        guard headerBytes <= Self.headerBytesMax, kind == .frame || payloadBytes == 0 else {
            throw .badRecord("a record of impossible length")
        }
    }

    /// Bytes from the record's start to its payload.
    package var payloadOffset: Int { Self.aligned(Self.byteCount + headerBytes) }
    package var blockCount: Int { (payloadBytes + FrameTrailer.blockBytes - 1) / FrameTrailer.blockBytes }
    package var trailerBytes: Int { kind == .frame ? FrameTrailer.byteCount(blocks: blockCount) : 0 }
    /// All of it, to where the next record begins.
    package var recordBytes: Int { Self.aligned(payloadOffset + payloadBytes + trailerBytes) }

    package static func aligned(_ bytes: Int) -> Int { (bytes + alignment - 1) / alignment * alignment }
}

/// The header of a frame's record: the frame and the ticket it came under.
package struct FrameRecord: Hashable, Sendable, WireValue {
    package static let wireBytesMin = 9 * 8 + 4

    package let ticket: UInt64
    package let ticketLayers: LayerRange
    package let positionLimit: Int
    package let span: Span
    package let tokens: [TokenID]
    package let tokensHash: UInt64

    package init(
        ticket: UInt64, ticketLayers: LayerRange, positionLimit: Int, span: Span, tokens: [TokenID],
        tokensHash: UInt64
    ) {
        self.ticket = ticket
        self.ticketLayers = ticketLayers
        self.positionLimit = positionLimit
        self.span = span
        self.tokens = tokens
        self.tokensHash = tokensHash
    }

    package func write(to writer: inout ByteWriter) {
        writer.write(ticket)
        writer.write(ticketLayers.first)
        writer.write(ticketLayers.end)
        writer.write(positionLimit)
        writer.write(span.sequence)
        writer.write(span.layers.first)
        writer.write(span.layers.end)
        writer.write(span.positions.lowerBound)
        writer.write(tokensHash)
        writer.write(tokens)
    }

    package init(from reader: inout ByteReader) throws(DejaVuError) {
        ticket = try reader.read()
        ticketLayers = try Self.layers(&reader)
        positionLimit = try reader.readInt(max: 1 << 32)
        let sequence = try reader.read(SequenceID.self)
        let layers = try Self.layers(&reader)
        let first = try reader.readInt(max: 1 << 32)
        tokensHash = try reader.read()
        tokens = try reader.readTokens()
        guard ticketLayers.contains(layers), !tokens.isEmpty, first + tokens.count <= positionLimit else {
            throw .badRecord("a frame beyond its ticket")
        }
        span = Span(sequence: sequence, layers: layers, positions: first..<first + tokens.count)
    }

    private static func layers(_ reader: inout ByteReader) throws(DejaVuError) -> LayerRange {
        let first = try reader.readInt(max: 1 << 20)
        let end = try reader.readInt(max: 1 << 20)
        guard first < end else { throw .badRecord("a frame without layers") }
        return LayerRange(first, end)
    }
}

/// The header of a release's record: frames of the sequence under this ticket and those before it are void.
package struct ReleaseRecord: Hashable, Sendable, WireValue {
    package static let wireBytesMin = 16
    package let sequence: SequenceID
    package let ticket: UInt64

    package init(sequence: SequenceID, ticket: UInt64) {
        self.sequence = sequence
        self.ticket = ticket
    }

    package func write(to writer: inout ByteWriter) {
        writer.write(sequence)
        writer.write(ticket)
    }

    package init(from reader: inout ByteReader) throws(DejaVuError) {
        sequence = try reader.read()
        ticket = try reader.read()
    }
}

/// What stands behind a frame's payload, and makes it whole: the checksum of each block, so that a part of a frame can
/// be read and still be verified.
package struct FrameTrailer: Hashable, Sendable {
    package static let blockBytes = 64 << 10

    package let blocks: [UInt32]

    package init(blocks: [UInt32]) { self.blocks = blocks }

    package static func byteCount(blocks: Int) -> Int { 4 * blocks + 4 }

    /// - Parameter prefix: of the record that the trailer belongs to.
    package func encoded(after prefix: RecordPrefix) -> [UInt8] {
        var writer = ByteWriter()
        for block in blocks { writer.write(block) }
        var checksum = prefix.identity
        writer.bytes.withUnsafeBytes { checksum.update($0) }
        writer.write(checksum.value)
        return writer.bytes
    }

    /// - Throws: `.invalidFile` if these are not what was written behind this record.
    package init(_ bytes: [UInt8], after prefix: RecordPrefix) throws(DejaVuError) {
        guard bytes.count == Self.byteCount(blocks: prefix.blockCount) else { throw .badRecord("no whole trailer") }
        var reader = ByteReader(bytes)
        var blocks: [UInt32] = []
        blocks.reserveCapacity(prefix.blockCount)
        for _ in 0..<prefix.blockCount { blocks.append(try reader.read()) }
        self.blocks = blocks
        var checksum = prefix.identity
        bytes.withUnsafeBytes { checksum.update(UnsafeRawBufferPointer(rebasing: $0.dropLast(4))) }
        guard try reader.read(UInt32.self) == checksum.value else { throw .badRecord("a damaged trailer") }
    }
}

/// The checksums of a payload's blocks, from bytes that come in pieces.
struct BlockChecksums: Sendable {
    private(set) var whole = Checksum()
    private var finished: [UInt32] = []
    private var current = Checksum()

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let piece = rest.prefix(FrameTrailer.blockBytes - current.count)
            current.update(UnsafeRawBufferPointer(rebasing: piece))
            rest = rest.dropFirst(piece.count)
            if current.count == FrameTrailer.blockBytes { endBlock() }
        }
    }

    /// All blocks, the last one as long as it is.
    mutating func end() -> [UInt32] {
        if current.count > 0 { endBlock() }
        return finished
    }

    private mutating func endBlock() {
        finished.append(current.value)
        whole.append(current)
        current = Checksum()
    }
}
