import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuKV
import DejaVuLib
import NIOCore
import Synchronization

/// How frames come into a stage's cells, and who hears of it.
extension StageStore {
    /// All bytes of a frame are there.
    func finish(_ arrival: Arrival, cells: CellRun, rows: ByteBuffer, intact: Bool) throws(DejaVuError)
        -> Int
    {
        let written = writing.withLock { _ -> Result<Void, DejaVuError> in
            let leave = state.withLock { $0.ledger.take(arrival.id, bytes: rows.readableBytes) }
            guard leave == .write, intact, rows.readableBytes == arrival.payloadBytes else { return .success(()) }
            do throws(DejaVuError) {
                try write(rows, of: arrival, to: cells)
                return .success(())
            } catch { return .failure(error) }
        }
        if case .failure(let error) = written {
            abandon(arrival.id, of: arrival.span.sequence)
            throw error
        }
        let now = MonotonicClock.now
        let (completion, tell, quiet) = state.withLock { state in
            let (completion, settled) = state.ledger.finish(arrival.id, intact: intact, at: now)
            if completion != .waiting { state.forget(arrival.id, of: arrival.span.sequence) }
            return (completion, state.news(of: arrival.span.sequence, layers, tokens), state.take(settled.quiet))
        }
        for body in quiet { body() }
        switch completion {
        case .committed(let watermark):
            tell?()
            return watermark
        case .refused(let refusal, _): throw Self.error(refusal, arrival.span)
        case .waiting:
            abandon(arrival.id, of: arrival.span.sequence)
            throw Self.error(.orphaned, arrival.span)
        }
    }

    /// The rows that the ledger wants: all above what is committed.
    private func write(_ rows: ByteBuffer, of arrival: Arrival, to cells: CellRun) throws(DejaVuError) {
        let span = arrival.span
        let result = rows.withUnsafeReadableBytes { bytes -> Result<Void, DejaVuError> in
            do throws(DejaVuError) {
                for part in arrival.parts where !part.positions.isEmpty {
                    let range = cells.start + part.positions.lowerBound..<cells.start + part.positions.upperBound
                    for layer in part.layers.indices {
                        let row =
                            (layer - span.layers.first) * span.positions.count
                            + part.positions.lowerBound - span.positions.lowerBound
                        let first = row * rowBytes
                        let source = UnsafeRawBufferPointer(
                            rebasing: bytes[first..<first + part.positions.count * rowBytes])
                        try memory.write(layer: layer - layers.first, cells: range, from: source)
                    }
                }
                return .success(())
            } catch { return .failure(error) }
        }
        try result.get()
    }

    /// For a trace: a frame whose header came at the transfer's start has been committed now.
    func traced(_ transfer: TracedTransfer) { tracer.landed(transfer, at: MonotonicClock.now) }

    func abandon(_ id: ArrivalID, of sequence: SequenceID) {
        let quiet = state.withLock { state in
            state.forget(id, of: sequence)
            let settled = state.ledger.abandon(id)
            return state.take(settled.quiet)
        }
        for body in quiet { body() }
    }

    static func error(_ refusal: DejaVuKV.Refusal, _ span: Span) -> DejaVuError {
        let code: DejaVuError.Code =
            refusal.isIntegrityFault ? .mismatch : refusal.isPassing ? .unavailable : .refused
        return DejaVuError(code, "the frame \(span) was refused: \(refusal.rawValue)", subject: refusal.rawValue)
    }
}

extension StageStore.State {
    /// What is to be done when frames of a sequence have been committed.
    func news(
        of sequence: SequenceID, _ layers: LayerRange, _ book: TokenBook
    ) -> (@Sendable () -> Void)? {
        guard ledger.ticket(of: sequence) != nil else { return nil }
        let mark = SequenceMark(sequence: sequence, watermark: ledger.watermark(of: sequence, layers: layers))
        let known = book.count(of: sequence)
        if mark.watermark > known, let text = ledger.tokens(of: sequence, in: known..<mark.watermark) {
            // The ledger has seen to it that they are the sequence's.
            try? book.append(Array(text), at: known, of: sequence)
        }
        return { [landed, doorbell] in
            landed(mark)
            doorbell?.note(sequence, layers: layers, watermark: mark.watermark)
            doorbell?.ring()
        }
    }

    mutating func forget(_ arrival: ArrivalID, of sequence: SequenceID) {
        arrivals[sequence]?.removeAll { $0.id == arrival }
        if arrivals[sequence]?.isEmpty == true { arrivals[sequence] = nil }
    }

    /// Who waited for these tickets.
    mutating func take(_ tickets: [UInt64]) -> [@Sendable () -> Void] {
        tickets.compactMap { waiting.removeValue(forKey: $0) }
    }
}
