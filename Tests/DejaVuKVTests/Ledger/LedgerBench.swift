import DejaVuCore
import DejaVuKV

/// A ledger with the frames that a writer would send it.
struct LedgerBench {
    static let layers = LayerRange(2, 6)
    static let writer = Incarnation(9)
    static let sequence = SequenceID(5)
    static let rowBytes = 8
    static let numericClass = NumericClass(hash: 0xC1A5)

    var ledger: Ledger
    var now = Instant.zero

    init(limits: LedgerLimits = LedgerLimits(), tokens: [TokenID] = []) throws {
        ledger = Ledger(
            layers: Self.layers, rowBytes: Self.rowBytes, numericClass: Self.numericClass, limits: limits)
        try ledger.open(Self.ticket(1), tokens: tokens)
    }

    static func ticket(
        _ number: UInt64, sequence: SequenceID = sequence, writer: Incarnation = writer, limit: Int = 100
    ) -> Ticket {
        Ticket(number: number, sequence: sequence, layers: layers, positionLimit: limit, writer: writer)
    }

    static func token(_ position: Int) -> TokenID { TokenID(position * 7 + 1) }
    static func tokens(_ positions: Range<Int>) -> [TokenID] { positions.map { token($0) } }

    static func frame(
        _ positions: Range<Int>, layers: LayerRange = layers, ticket: UInt64 = 1, writer: Incarnation = writer,
        sequence: SequenceID = sequence, tokens: [TokenID]? = nil, hash: UInt64? = nil,
        numericClass: NumericClass = numericClass, payload: Int? = nil
    ) -> FrameHeader {
        FrameHeader(
            ticket: ticket, writer: writer, span: Span(sequence: sequence, layers: layers, positions: positions),
            tokens: tokens ?? Self.tokens(positions),
            tokensHash: hash ?? TokenChain(Self.tokens(0..<positions.upperBound)).hash, numericClass: numericClass,
            payloadBytes: payload ?? layers.count * positions.count * rowBytes)
    }

    /// Admits a frame that must land.
    mutating func land(_ header: FrameHeader) throws -> Arrival {
        guard case .land(let arrival) = ledger.admit(header, at: now) else {
            throw DejaVuError(.internalError, "the frame \(header.span) was not admitted")
        }
        ledger.checkIntegrity()
        return arrival
    }

    /// Brings all bytes of an arrival and finishes it.
    mutating func finish(_ arrival: Arrival, intact: Bool = true) -> (completion: Completion, settled: Settlement) {
        _ = ledger.take(arrival.id, bytes: arrival.payloadBytes)
        let result = ledger.finish(arrival.id, intact: intact, at: now)
        ledger.checkIntegrity()
        return result
    }

    mutating func commit(_ header: FrameHeader) throws -> Completion {
        let arrival = try land(header)
        return finish(arrival).completion
    }

    var watermark: Int { ledger.watermark(of: Self.sequence, layers: Self.layers) }
}
