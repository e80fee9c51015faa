import DejaVuCore
import DejaVuKV
import Synchronization

extension Streamer {
    /// Of one transfer: more would only push each other's bytes out of the cache.
    private static let framesAtOnceMax = 3

    /// Brings the target's watermark for one span to its end: frame after frame, several on their way at once.
    ///
    /// - Returns: the target's watermark over the span's layers.
    func move(
        _ span: Span, from source: any KVStore, to target: StreamTarget, priority: StreamPriority
    ) async throws(DejaVuError) -> Int {
        try check(span, from: source, to: target)
        guard !span.isEmpty else { return try await target.store.watermark(of: span.sequence, layers: span.layers) }
        var cutter = FrameCutter(span, rowBytes: source.rowBytes, frameBytesMax: options.frameBytesMax)
        if options.deltas {
            let known = try await target.store.watermark(of: span.sequence, layers: span.layers)
            if known >= span.positions.upperBound { return known }
            if known > span.positions.lowerBound { cutter.seek(known) }
        }
        var gapsLeft = 3
        while true {
            switch try await moveFrames(&cutter, of: span, from: source, to: target, priority: priority) {
            case .done(let watermark): return watermark
            case .gap(let watermark):
                gapsLeft -= 1
                guard watermark >= span.positions.lowerBound, gapsLeft > 0 else {
                    throw DejaVuError(
                        .invalidArgument, "\(target.store.name) holds \(watermark) positions: \(span) leaves a gap")
                }
                cutter.seek(watermark)
            }
        }
    }

    /// What became of a frame that reaches up to a position: the watermark.
    private struct FrameEnd: Sendable {
        let end: Int
        let result: Result<Int, DejaVuError>
    }

    private enum MoveEnd {
        case done(watermark: Int)
        case gap(watermark: Int)
    }

    private func moveFrames(
        _ cutter: inout FrameCutter, of span: Span, from source: any KVStore, to target: StreamTarget,
        priority: StreamPriority
    ) async throws(DejaVuError) -> MoveEnd {
        // A copy, because a group's body may not hold on to an inout parameter.
        var frames = cutter
        let result = await withTaskGroup(of: FrameEnd.self) { group -> Result<MoveEnd, DejaVuError> in
            var inFlight = 0
            let framesMax = min(options.framesInFlightMax, Self.framesAtOnceMax)
            // The lowest of what peers that were not asked say they hold.
            var low: Int?
            func take(_ frame: FrameEnd) throws(DejaVuError) {
                let watermark = try frame.result.get()
                if watermark < frame.end { low = min(low ?? watermark, watermark) }
            }
            do throws(DejaVuError) {
                while let frame = frames.next() {
                    try checkCancellation()
                    while inFlight >= framesMax, let receipt = await group.next() {
                        inFlight -= 1
                        try take(receipt)
                    }
                    if low != nil { break }
                    switch try await post(frame, from: source, to: target, priority: priority) {
                    case .landing(let finish):
                        inFlight += 1
                        group.addTask { FrameEnd(end: frame.positions.upperBound, result: await finish()) }
                    case .known: break
                    case .gap(let watermark):
                        // Those before it may still be landing, and may have failed.
                        while let receipt = await group.next() { try take(receipt) }
                        return .success(.gap(watermark: min(watermark, low ?? watermark)))
                    }
                }
                while let receipt = await group.next() { try take(receipt) }
                if let low { return .success(.gap(watermark: low)) }
            } catch {
                group.cancelAll()
                return .failure(error)
            }
            return .success(.done(watermark: 0))
        }
        cutter = frames
        guard case .done = try result.get() else { return try result.get() }
        return .done(watermark: try await target.store.watermark(of: span.sequence, layers: span.layers))
    }

    private func check(_ span: Span, from source: any KVStore, to target: StreamTarget) throws(DejaVuError) {
        guard source.rowBytes == target.store.rowBytes else {
            throw DejaVuError(
                .mismatch,
                "rows have \(source.rowBytes) bytes in \(source.name), \(target.store.rowBytes) in "
                    + target.store.name)
        }
        let ticket = target.ticket
        guard ticket.sequence == span.sequence, span.positions.upperBound <= ticket.positionLimit,
            span.layers.first >= ticket.layers.first, span.layers.end <= ticket.layers.end,
            span.layers.first >= source.layers.first, span.layers.end <= source.layers.end
        else { throw DejaVuError(.invalidArgument, "\(span) is not covered by the ticket or the source") }
    }

    enum Posting {
        /// Admitted: run this to send the bytes and to hear of the receipt.
        case landing(@Sendable () async -> Result<Int, DejaVuError>)
        case known(watermark: Int)
        case gap(watermark: Int)
    }

    /// Asks the target for leave; the rows are read when it is given.
    private func post(
        _ frame: Span, from source: any KVStore, to target: StreamTarget, priority: StreamPriority
    ) async throws(DejaVuError) -> Posting {
        let header = try header(frame, ticket: target.ticket, source: source)
        return try await post(header, rows: nil, from: source, to: target.store, priority: priority)
    }

    /// Asks the target for leave to land a frame whose rows are in staging memory; nil if they are still to be read.
    func post(
        _ header: FrameHeader, rows: StagedRows?, from source: any KVStore, to store: any KVStore,
        priority: StreamPriority
    ) async throws(DejaVuError) -> Posting {
        let admission: FrameAdmission
        do throws(DejaVuError) {
            if let peer = store as? PeerStore, rows == nil, options.bufferedCopies {
                admission = try await peer.beginAtOnce(header)
            } else {
                admission = try await store.begin(header)
            }
        } catch {
            count(error)
            throw error
        }
        switch admission {
        case .known(let watermark):
            counts.withLock { $0.framesKnown += 1 }
            return .known(watermark: watermark)
        case .gap(let watermark):
            counts.withLock { $0.framesGap += 1 }
            return .gap(watermark: watermark)
        case .land(let landing):
            began(header)
            return .landing {
                do throws(DejaVuError) {
                    let watermark =
                        if let rows { try await self.land(rows, on: landing) } else {
                            try await self.land(header.span, from: source, on: landing, priority: priority)
                        }
                    let receipt = (landing as? PeerLanding)?.receipt ?? .committed(watermark: watermark)
                    self.ended(header, .success(receipt))
                    return .success(watermark)
                } catch {
                    self.ended(header, .failure(error))
                    return .failure(error)
                }
            }
        }
    }

    /// Counts a frame that ended badly.
    func count(_ error: DejaVuError) {
        counts.withLock {
            switch error.code {
            case .refused, .resourceExhausted: $0.framesRefused += 1
            case .mismatch: $0.framesMismatched += 1
            case .deadlineExceeded: $0.framesLate += 1
            default: $0.framesFailed += 1
            }
        }
    }
}
