import DejaVuCore
import DejaVuKV
import DejaVuLib
import NIOCore
import Synchronization
import Testing

/// Rows that can be told from one another: each byte follows from sequence, layer, position and place in the row.
struct MadeUpRows {
    let rowBytes: Int

    func row(_ sequence: SequenceID, layer: Int, position: Int) -> [UInt8] {
        let seed = mix64(mix64(sequence.rawValue &* 1_000_003 &+ UInt64(layer)) &+ UInt64(position))
        var generator = SeededGenerator(seed: seed)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(rowBytes + 8)
        while bytes.count < rowBytes {
            var word = generator.next()
            for _ in 0..<8 {
                bytes.append(UInt8(truncatingIfNeeded: word))
                word >>= 8
            }
        }
        return Array(bytes.prefix(rowBytes))
    }

    func packed(_ span: Span) -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: span.rowCount * rowBytes)
        for layer in span.layers.indices {
            for position in span.positions {
                buffer.writeBytes(row(span.sequence, layer: layer, position: position))
            }
        }
        return buffer
    }

    static func token(_ sequence: SequenceID, _ position: Int) -> TokenID {
        TokenID(truncatingIfNeeded: Int(sequence.rawValue) * 31 + position * 7) & 0x7FFF
    }

    static func tokens(_ sequence: SequenceID, _ positions: Range<Int>) -> [TokenID] {
        positions.map { token(sequence, $0) }
    }

    static func header(_ span: Span, ticket: Ticket, numericClass: NumericClass, rowBytes: Int) -> FrameHeader {
        FrameHeader(
            ticket: ticket.number, writer: ticket.writer, span: span, tokens: tokens(span.sequence, span.positions),
            tokensHash: TokenChain(tokens(span.sequence, 0..<span.positions.upperBound)).hash,
            numericClass: numericClass, payloadBytes: span.rowCount * rowBytes)
    }
}

/// What a store has reported.
final class EventLog: Sendable {
    private let log = Mutex<[StoreEvent]>([])
    var receiver: @Sendable (StoreEvent) -> Void { { event in self.log.withLock { $0.append(event) } } }
    var events: [StoreEvent] { log.withLock { $0 } }
    var lowered: [Ledger.Lowering] {
        events.compactMap { if case .lowered(let lowering, _) = $0 { lowering } else { nil } }
    }
}

extension KVStore {
    var rows: MadeUpRows { MadeUpRows(rowBytes: rowBytes) }

    func header(_ span: Span, _ ticket: Ticket) -> FrameHeader {
        MadeUpRows.header(span, ticket: ticket, numericClass: numericClass, rowBytes: rowBytes)
    }

    /// Lands a span of made-up rows in chunks.
    @discardableResult
    func land(_ span: Span, _ ticket: Ticket, chunk: Int = 1000) async throws(DejaVuError) -> Int {
        switch try await begin(header(span, ticket)) {
        case .known(let watermark): return watermark
        case .gap(let watermark): throw DejaVuError(.notFound, "a gap above \(watermark)")
        case .land(let landing):
            do throws(DejaVuError) {
                var rest = rows.packed(span)
                let checksum = Checksum.of(rest)
                while let piece = rest.readSlice(length: min(chunk, rest.readableBytes)), piece.readableBytes > 0 {
                    try await landing.write(piece)
                }
                return try await landing.finish(checksum: checksum)
            } catch {
                landing.abandon()
                throw error
            }
        }
    }

    /// Reads a span and compares every byte.
    func expectRows(_ span: Span, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let bytes = try await read(span)
        #expect(bytes == rows.packed(span), "\(span) of \(name)", sourceLocation: sourceLocation)
    }
}

let storeClass = NumericClass(parts: ["test"])

func code(of body: () async throws -> Void) async -> DejaVuError.Code? {
    do {
        try await body()
        return nil
    } catch let error as DejaVuError { return error.code } catch { return nil }
}

func ticket(
    _ number: UInt64, _ sequence: UInt64, layers: LayerRange = LayerRange(2, 6), limit: Int = 100, writer: UInt64 = 7
) -> Ticket {
    Ticket(
        number: number, sequence: SequenceID(sequence), layers: layers, positionLimit: limit,
        writer: Incarnation(writer))
}

func span(_ sequence: UInt64, _ layers: LayerRange = LayerRange(2, 6), _ positions: Range<Int>) -> Span {
    Span(sequence: SequenceID(sequence), layers: layers, positions: positions)
}

/// What every store must do, over the same rows. Layers 2..<6, at least 6 sequences of 100 positions.
func checkStoreContract(_ store: any KVStore, rowBytes: Int) async throws {
    let one = ticket(1, 1)
    try await store.open(one, tokens: MadeUpRows.tokens(SequenceID(1), 0..<3))
    #expect(await code { try await store.open(one, tokens: []) } == .invalidArgument)
    #expect(try await store.watermark(of: SequenceID(1), layers: store.layers) == 0)
    #expect(await code { try await store.expectRows(span(1, 0..<1)) } == .notFound)

    // Layer by layer, odd chunks, overlap, gap.
    #expect(try await store.land(span(1, LayerRange(2, 3), 0..<10), one, chunk: 7) == 10)
    #expect(try await store.watermark(of: SequenceID(1), layers: store.layers) == 0)
    #expect(try await store.land(span(1, LayerRange(3, 6), 0..<10), one, chunk: 100_000) == 10)
    #expect(try await store.watermark(of: SequenceID(1), layers: store.layers) == 10)
    try await store.expectRows(span(1, 0..<10))
    try await store.expectRows(span(1, LayerRange(3, 5), 4..<9))
    #expect(try await store.land(span(1, 2..<8), one) == 10, "known already")
    #expect(try await store.land(span(1, LayerRange(4, 5), 0..<20), one) == 20)
    #expect(try await store.land(span(1, 5..<30), one, chunk: 333) == 30, "overlapping")
    try await store.expectRows(span(1, 0..<30))
    #expect(await code { try await store.land(span(1, 31..<32), one) } == .notFound, "a gap")

    // Damaged, cut short, too long, foreign.
    let next = span(1, 30..<40)
    let bytes = store.rows.packed(next)
    func landing(_ header: FrameHeader) async throws -> any FrameLanding {
        guard case .land(let landing) = try await store.begin(header) else {
            throw DejaVuError(.internalError, "not admitted")
        }
        return landing
    }
    let header = store.header(next, one)
    let damaged = try await landing(header)
    try await damaged.write(bytes)
    #expect(await code { _ = try await damaged.finish(checksum: Checksum.of(bytes) ^ 1) } == .mismatch)
    let short = try await landing(header)
    try await short.write(bytes.getSlice(at: 0, length: 100) ?? bytes)
    #expect(await code { _ = try await short.finish(checksum: Checksum.of(bytes)) } != nil)
    let long = try await landing(header)
    #expect(
        await code {
            try await long.write(bytes)
            try await long.write(ByteBuffer(bytes: [1]))
            _ = try await long.finish(checksum: Checksum.of(bytes))
        } == .invalidArgument)
    long.abandon()
    let dropped = try await landing(header)
    try await dropped.write(bytes.getSlice(at: 0, length: 100) ?? bytes)
    dropped.abandon()
    let foreign = MadeUpRows.header(
        next, ticket: one, numericClass: NumericClass(parts: ["other"]), rowBytes: rowBytes)
    #expect(await code { _ = try await store.begin(foreign) } == .mismatch)
    #expect(await code { _ = try await store.begin(store.header(next, ticket(9, 1))) } == .refused)
    #expect(try await store.watermark(of: SequenceID(1), layers: store.layers) == 30)
    #expect(try await store.land(next, one) == 40, "none of that is in the way")
    try await store.expectRows(span(1, 25..<40))

    // A new ticket: the old writer is out, what is committed stays.
    let two = ticket(2, 1, writer: 8)
    let overtaken = try await landing(store.header(span(1, 40..<50), one))
    try await store.renew(two)
    let late = store.rows.packed(span(1, 40..<50))
    try await overtaken.write(late)
    #expect(await code { _ = try await overtaken.finish(checksum: Checksum.of(late)) } == .refused)
    #expect(await code { try await store.land(span(1, 40..<50), one) } == .refused)
    #expect(try await store.land(span(1, 40..<50), two) == 50)
    try await store.expectRows(span(1, 0..<50))

    // Release: the rest of a frame is swallowed, the number is dead, the place is free.
    let cut = try await landing(store.header(span(1, 50..<60), two))
    try await cut.write(ByteBuffer(bytes: [1, 2, 3]))
    try await store.release(SequenceID(1))
    try await cut.write(ByteBuffer(bytes: [4, 5, 6]))
    #expect(await code { _ = try await cut.finish(checksum: 0) } == .refused)
    #expect(await code { try await store.expectRows(span(1, 0..<1)) } == .notFound)
    #expect(await code { try await store.land(span(1, 0..<1), two) } == .refused)
    #expect(await code { try await store.open(two, tokens: []) } == .invalidArgument)
    try await store.release(SequenceID(1))

    // Many at once.
    try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<6 {
            let own = ticket(UInt64(10 + index), UInt64(100 + index))
            try await store.open(own, tokens: [])
            group.addTask {
                for start in stride(from: 0, to: 100, by: 20) {
                    try await store.land(span(own.sequence.rawValue, start..<start + 20), own, chunk: 777)
                    try await store.expectRows(span(own.sequence.rawValue, 0..<start + 20))
                }
            }
        }
        try await group.waitForAll()
    }
    for index in 0..<6 { try await store.release(SequenceID(UInt64(100 + index))) }
}

func span(_ sequence: UInt64, _ positions: Range<Int>) -> Span { span(sequence, LayerRange(2, 6), positions) }
