public import DejaVuCore
public import DejaVuKV
public import NIOCore
import Synchronization

/// Frames in and rows out.
extension DiskStore {
    public func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission {
        let now = MonotonicTime.now
        let admission = try withBooks { (books, followup) throws(DejaVuError) in
            try books.admit(header, at: now, &followup)
        }
        switch admission {
        case .known(let watermark): return .known(watermark: watermark)
        case .gap(let watermark): return .gap(watermark: watermark)
        case .land(let arrival, let place):
            do throws(DejaVuError) {
                return .land(try await landing(arrival, header, place))
            } catch {
                abandon(arrival.id)
                throw error
            }
        }
    }

    private func landing(
        _ arrival: Arrival, _ header: FrameHeader, _ place: Int
    ) async throws(DejaVuError) -> DiskLanding {
        guard let ticket = ticket(of: header.span.sequence), ticket.number == arrival.ticket else {
            throw DejaVuError(.refused, "the ticket was revoked")
        }
        let record = FrameRecord(
            ticket: ticket.number, ticketLayers: ticket.layers, positionLimit: ticket.positionLimit, span: arrival.span,
            tokens: header.tokens, tokensHash: header.tokensHash)
        let bytes = record.encoded()
        guard bytes.count <= RecordPrefix.headerBytesMax else {
            throw DejaVuError(.invalidArgument, "a frame of \(header.tokens.count) positions is too long for the disk")
        }
        let length = RecordPrefix(salt: 0, kind: .frame, header: bytes, payloadBytes: arrival.payloadBytes).recordBytes
        let room: (segment: DiskSegment, offset: Int)
        if let found = try reserveNow(length) {
            room = found
        } else {
            room = try await threads.run { () throws(DejaVuError) in try self.reserve(length) }
        }
        let prefix = RecordPrefix(
            salt: room.segment.salt, kind: .frame, header: bytes, payloadBytes: arrival.payloadBytes)
        return DiskLanding(
            self, arrival, place: place, record: record, header: bytes, prefix: prefix, segment: room.segment,
            offset: room.offset)
    }

    /// A frame is whole in its segment: syncs what the policy asks for.
    ///
    /// - Throws: if the segment cannot be trusted.
    func noteUnsynced(_ frame: DiskFrame, place: Int) throws(DejaVuError) {
        let due = state.withLock { state in
            guard var segment = state.segments[frame.segment], !segment.isBroken else { return [UInt64]?.none }
            segment.unsynced.append((place, frame))
            segment.unsyncedBytes += frame.recordBytes
            state.segments[frame.segment] = segment
            switch options.sync {
            case .onClose: return []
            case .everyFrame: return [frame.segment]
            case .everyBytes(let limit):
                let all = state.segments.values.reduce(0) { $0 + $1.unsyncedBytes }
                guard all >= limit else { return [] }
                return state.segments.values.filter { !$0.unsynced.isEmpty }.map(\.number).sorted()
            }
        }
        guard let due else { throw DejaVuError(.unavailable, "\(name): the segment's sync has failed") }
        for number in due {
            do throws(DejaVuError) {
                try sync(number)
            } catch  where number != frame.segment {
                // Reported, and no matter of this frame.
            }
        }
    }

    public func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer {
        var buffer = ByteBuffer()
        try await read(span, into: &buffer)
        return buffer
    }

    public func read(_ span: Span, into buffer: inout ByteBuffer) async throws(DejaVuError) {
        // A frame that turns out bad is not read again, so this ends.
        while let failure = try await readOnce(span, into: &buffer) {
            if bookedWatermark(of: span.sequence, layers: span.layers) < span.positions.upperBound { throw failure }
        }
    }

    /// - Returns: why it failed; what was bad is lost then. Another copy of the rows may be there.
    private func readOnce(_ span: Span, into buffer: inout ByteBuffer) async throws(DejaVuError) -> DejaVuError? {
        let (tenancy, place, pieces) = try withState { (state, _) throws(DejaVuError) in
            let (tenancy, place) = try state.books.pin(span)
            guard let pieces = state.sequences[place]?.pieces(of: span) else {
                preconditionFailure("\(span) is below the watermark and not in the index")
            }
            return (tenancy, place, pieces)
        }
        defer { unpin(tenancy) }
        // Handed over, so that it need not be copied.
        let shared = SharedBuffer(buffer)
        buffer = ByteBuffer()
        defer { buffer = shared.value.withLock { $0 } }
        let rowBytes = rowBytes
        let failure = try await threads.run { () throws(DejaVuError) in
            shared.value.withLock { DiskReading(span: span, rowBytes: rowBytes).fill(&$0, from: pieces) }
        }
        guard let failure else { return nil }
        let error = DejaVuError(.invalidFile, "\(name): rows of \(span) are bad: \(failure.what)")
        changeState { state, followup in state.lose(failure.frame, in: place, because: error, &followup) }
        return error
    }
}
