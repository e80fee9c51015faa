package import DejaVuCore
package import DejaVuKV
package import DejaVuLib
package import NIOCore
import Synchronization

/// A store for tests of whatever reaches stores: it keeps what is committed, says what happened to it, and can be made
/// to stall. It knows one layer, so that a sequence's rows are one run of bytes.
package final class RecordingStore: KVStore {
    package enum Event: Hashable, Sendable {
        case began(SequenceID, Int)
        case wrote(SequenceID, Int)
        case committed(SequenceID, Int)
        case abandoned(SequenceID)
    }

    private struct State {
        var tickets: [SequenceID: Ticket] = [:]
        var rows: [SequenceID: ByteBuffer] = [:]
        var watermarks: [SequenceID: Int] = [:]
        var events: [Event] = []
        var closedGates: Set<SequenceID> = []
        var waiting: [UInt64: (SequenceID, CheckedContinuation<Void, Never>)] = [:]
        var lastWaiter: UInt64 = 0
        var underWay = 0
    }

    package let name: String
    package let layers = LayerRange(0, 1)
    package let rowBytes: Int
    package let numericClass: NumericClass
    private let keepsRows: Bool
    private let state = Mutex(State())

    package init(
        _ name: String = "rows", rowBytes: Int, numericClass: NumericClass = NumericClass(hash: 7),
        keepsRows: Bool = true
    ) {
        self.name = name
        self.rowBytes = rowBytes
        self.numericClass = numericClass
        self.keepsRows = keepsRows
    }

    // MARK: What tests ask

    package var events: [Event] { state.withLock { $0.events } }
    /// Landings that have neither finished nor been abandoned.
    package var underWay: Int { state.withLock { $0.underWay } }
    package func rows(of sequence: SequenceID) -> ByteBuffer { state.withLock { $0.rows[sequence] ?? ByteBuffer() } }

    /// Makes a sequence's writes wait, or goes on with them.
    package func setGate(of sequence: SequenceID, open: Bool) {
        let continuations = state.withLock { state in
            if open { state.closedGates.remove(sequence) } else { state.closedGates.insert(sequence) }
            guard open else { return [CheckedContinuation<Void, Never>]() }
            let woken = state.waiting.filter { $0.value.0 == sequence }
            for key in woken.keys { state.waiting[key] = nil }
            return woken.values.map(\.1)
        }
        for continuation in continuations { continuation.resume() }
    }

    // MARK: KVStore

    package func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError) {
        try state.withLock { state throws(DejaVuError) in
            guard state.tickets[ticket.sequence] == nil else {
                throw DejaVuError(.invalidArgument, "the sequence is open")
            }
            state.tickets[ticket.sequence] = ticket
            state.watermarks[ticket.sequence] = 0
        }
    }

    package func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int {
        state.withLock { $0.watermarks[sequence] ?? 0 }
    }

    package func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer {
        try state.withLock { state throws(DejaVuError) in
            let first = span.positions.lowerBound * rowBytes
            guard let rows = state.rows[span.sequence],
                let slice = rows.getSlice(at: rows.readerIndex + first, length: span.positions.count * rowBytes)
            else { throw DejaVuError(.notFound, "\(span) is not here") }
            return slice
        }
    }

    package func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission {
        try state.withLock { state throws(DejaVuError) in
            let sequence = header.span.sequence
            guard let ticket = state.tickets[sequence], ticket.number == header.ticket, ticket.writer == header.writer
            else { throw DejaVuError(.refused, "the ticket \(header.ticket) is not open") }
            guard header.numericClass == numericClass else {
                throw DejaVuError(.mismatch, "numeric class mismatch", subject: "numeric class")
            }
            let watermark = state.watermarks[sequence] ?? 0
            if header.span.positions.upperBound <= watermark { return .known(watermark: watermark) }
            guard header.span.positions.lowerBound == watermark else { return .gap(watermark: watermark) }
            state.events.append(.began(sequence, header.span.positions.lowerBound))
            state.underWay += 1
            return .land(Landing(store: self, header: header))
        }
    }

    package func release(_ sequence: SequenceID) async throws(DejaVuError) {
        state.withLock { state in
            state.tickets[sequence] = nil
            state.watermarks[sequence] = nil
            state.rows[sequence] = nil
        }
    }

    private func passGate(of sequence: SequenceID) async throws(DejaVuError) {
        let number = state.withLock { state in
            state.lastWaiter += 1
            return state.lastWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOpen = state.withLock { state in
                    let isOpen = !state.closedGates.contains(sequence) || Task.isCancelled
                    if !isOpen { state.waiting[number] = (sequence, continuation) }
                    return isOpen
                }
                if isOpen { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.waiting.removeValue(forKey: number) }?.1.resume()
        }
        if Task.isCancelled { throw DejaVuError(.cancelled, "the landing was cancelled") }
    }

    private final class Landing: FrameLanding {
        private struct Progress {
            var bytes = ByteBuffer()
            var checksum = Checksum()
            var hasEnded = false
        }
        private let store: RecordingStore
        private let header: FrameHeader
        private let progress = Mutex(Progress())

        init(store: RecordingStore, header: FrameHeader) {
            self.store = store
            self.header = header
        }

        func write(_ bytes: ByteBuffer) async throws(DejaVuError) {
            let sequence = header.span.sequence
            store.state.withLock { $0.events.append(.wrote(sequence, bytes.readableBytes)) }
            try await store.passGate(of: sequence)
            progress.withLock { progress in
                precondition(!progress.hasEnded, "a landing is written after its end")
                progress.checksum.update(bytes)
                if store.keepsRows { progress.bytes.writeImmutableBuffer(bytes) }
            }
        }

        func finish(checksum: UInt32) async throws(DejaVuError) -> Int {
            let whole = progress.withLock { progress in
                precondition(!progress.hasEnded, "a landing ends twice")
                progress.hasEnded = true
                return progress
            }
            return try store.state.withLock { state throws(DejaVuError) in
                state.underWay -= 1
                let sequence = header.span.sequence
                guard whole.checksum.value == checksum, whole.checksum.count == header.payloadBytes else {
                    throw DejaVuError(.mismatch, "the checksum differs", subject: "checksum")
                }
                guard state.tickets[sequence]?.number == header.ticket else {
                    throw DejaVuError(.refused, "the ticket was revoked")
                }
                state.rows[sequence, default: ByteBuffer()].writeImmutableBuffer(whole.bytes)
                state.watermarks[sequence] = header.span.positions.upperBound
                state.events.append(.committed(sequence, header.span.positions.upperBound))
                return header.span.positions.upperBound
            }
        }

        func abandon() {
            progress.withLock { progress in
                precondition(!progress.hasEnded, "a landing ends twice")
                progress.hasEnded = true
            }
            store.state.withLock { state in
                state.underWay -= 1
                state.events.append(.abandoned(header.span.sequence))
            }
        }
    }
}

/// Frames for tests: packed rows of one layer that anyone can make again from their place.
package enum TestFrames {
    package static let writer = Incarnation(42)

    package static func ticket(_ sequence: SequenceID) -> Ticket {
        Ticket(
            number: sequence.rawValue + 1000, sequence: sequence, layers: LayerRange(0, 1), positionLimit: 1 << 30,
            writer: writer)
    }

    package static func header(
        _ sequence: SequenceID, _ positions: Range<Int>, rowBytes: Int, numericClass: UInt64 = 7,
        writer: Incarnation = writer, ticket: UInt64? = nil
    ) -> FrameHeader {
        FrameHeader(
            ticket: ticket ?? self.ticket(sequence).number, writer: writer,
            span: Span(sequence: sequence, layers: LayerRange(0, 1), positions: positions),
            tokens: positions.map { TokenID(truncatingIfNeeded: $0) },
            tokensHash: TokenChain((0..<positions.upperBound).map { TokenID(truncatingIfNeeded: $0) }).hash,
            numericClass: NumericClass(hash: numericClass), payloadBytes: positions.count * rowBytes)
    }

    /// Every row another, and none like its neighbour.
    package static func fill(
        _ buffer: inout ByteBuffer, _ sequence: SequenceID, _ positions: Range<Int>, rowBytes: Int
    ) {
        for position in positions {
            var seed = sequence.rawValue &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(position) &* 0xD1B5_4A32_D192_ED03
            buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: rowBytes) { target in
                var offset = 0
                while offset + 8 <= rowBytes {
                    seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    target.storeBytes(of: seed, toByteOffset: offset, as: UInt64.self)
                    offset += 8
                }
                while offset < rowBytes {
                    target[offset] = UInt8(truncatingIfNeeded: seed >> UInt64(8 * (offset & 7)))
                    offset += 1
                }
                return rowBytes
            }
        }
    }

    package static func rows(_ sequence: SequenceID, _ positions: Range<Int>, rowBytes: Int) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(positions.count * rowBytes)
        fill(&buffer, sequence, positions, rowBytes: rowBytes)
        return buffer
    }
}
