import DejaVuCore
import DejaVuKV
import NIOCore
import Synchronization

/// How the rows of an admitted frame get to where it lands.
extension Streamer {
    /// Sends the bytes of an admitted frame, chunk by chunk, and waits for its receipt.
    ///
    /// - Returns: the destination's watermark over the frame's layers.
    func land(_ rows: StagedRows, on landing: any FrameLanding) async throws(DejaVuError) -> Int {
        var bytes = rows.bytes
        do throws(DejaVuError) {
            while let chunk = bytes.readSlice(length: min(bytes.readableBytes, options.chunkBytesMax)),
                chunk.readableBytes > 0
            {
                try checkCancellation()
                try await landing.write(chunk)
            }
            return try await landing.finish(checksum: rows.checksum)
        } catch {
            landing.abandon()
            throw error
        }
    }

    /// Sends the rows of an admitted frame as they lie in the source: each contiguous run is a copy and a transport
    /// operation of its own.
    func landRuns(
        of span: Span, from source: any KVStore, on landing: any FrameLanding
    ) async throws(DejaVuError) -> Int {
        let checksum = Mutex(Checksum())
        do throws(DejaVuError) {
            try await source.readRuns(span, merging: options.runMerging) { run throws(DejaVuError) in
                try checkCancellation()
                checksum.withLock { $0.update(run) }
                try await landing.write(run)
            }
            let value = checksum.withLock { $0 }
            self.counts.withLock {
                $0.reads += 1
                $0.bytesRead += value.count
            }
            return try await landing.finish(checksum: value.value)
        } catch {
            landing.abandon()
            throw error
        }
    }

    /// Reads the rows of an admitted frame and sends them on, by the shortest way.
    ///
    /// - Returns: the destination's watermark over the frame's layers.
    func land(
        _ span: Span, from source: any KVStore, on landing: any FrameLanding, priority: StreamPriority
    ) async throws(DejaVuError) -> Int {
        guard options.bufferedCopies else { return try await landRuns(of: span, from: source, on: landing) }
        let watermark: Int
        if let landing = landing.inPlace, let source = source as? any InPlaceSource {
            do throws(DejaVuError) {
                watermark = try await landing.finish(checksum: try await landing.fill(from: source))
            } catch {
                landing.abandon()
                throw error
            }
        } else if let source = source as? any InPlaceSource {
            // Packed on the thread that sends: with a thread for each, every byte would cross from one processor's
            // cache to the other's.
            watermark = try await withTaskExecutorPreference(landing.executor) { () throws(DejaVuError) in
                try await landPieces(of: span, from: source, on: landing, priority: priority)
            }
        } else {
            // Each read may be a journey: one for the whole frame.
            do throws(DejaVuError) {
                let rows = try await read(span, from: source, priority: priority)
                return try await land(rows, on: landing)
            } catch {
                landing.abandon()
                throw error
            }
        }
        countRead(span, source.rowBytes)
        return watermark
    }

    private func countRead(_ span: Span, _ rowBytes: Int) {
        counts.withLock {
            $0.reads += 1
            $0.bytesRead += span.rowCount * rowBytes
        }
    }

    /// What `landHere` leaves to be done.
    enum Here {
        case ended(FrameReceipt)
        /// To be run by somebody who may wait.
        case waits(@Sendable () async -> Result<FrameReceipt, DejaVuError>)
    }

    /// Copies a frame from one memory of this process to another, without waiting for anybody but the source.
    func landHere(
        _ header: FrameHeader, from source: any InPlaceSource, in store: any InPlaceStore, priority: StreamPriority
    ) async throws(DejaVuError) -> Here {
        let admission: FrameAdmission
        do throws(DejaVuError) { admission = try await store.begin(header) } catch {
            count(error)
            throw error
        }
        let landing: any FrameLanding
        switch admission {
        case .known(let watermark):
            counts.withLock { $0.framesKnown += 1 }
            return .ended(.known(watermark: watermark))
        case .gap(let watermark):
            counts.withLock { $0.framesGap += 1 }
            return .ended(.gap(watermark: watermark))
        case .land(let admitted): landing = admitted
        }
        began(header)
        guard let place = landing.inPlace else {
            return .waits {
                await self.result(of: header) { () throws(DejaVuError) in
                    try await self.land(header.span, from: source, on: landing, priority: priority)
                }
            }
        }
        do throws(DejaVuError) {
            let checksum = try await place.fill(from: source)
            countRead(header.span, source.rowBytes)
            guard let watermark = try place.finishNow(checksum: checksum) else {
                return .waits {
                    await self.result(of: header) { () throws(DejaVuError) in try await place.finished() }
                }
            }
            ended(header, .success(.committed(watermark: watermark)))
            return .ended(.committed(watermark: watermark))
        } catch {
            place.abandon()
            ended(header, .failure(error))
            throw error
        }
    }

    private func result(
        of header: FrameHeader, _ body: () async throws(DejaVuError) -> Int
    ) async -> Result<FrameReceipt, DejaVuError> {
        let result: Result<FrameReceipt, DejaVuError>
        do throws(DejaVuError) {
            result = .success(.committed(watermark: try await body()))
        } catch { result = .failure(error) }
        ended(header, result)
        return result
    }

    /// Piece by piece, so that what was read is still in the cache when it is sent.
    private func landPieces(
        of span: Span, from source: any InPlaceSource, on landing: any FrameLanding, priority: StreamPriority
    ) async throws(DejaVuError) -> Int {
        // Counts as in flight until the next piece has been taken: what a landing keeps is less than that.
        var last: Staging?
        defer { last?.release() }
        do throws(DejaVuError) {
            let pieceBytes = max(source.partBytes, options.chunkBytesMax / 2)
            var cutter = PieceCutter(span, rowBytes: source.rowBytes, bytesMax: pieceBytes)
            var checksum = Checksum()
            while let piece = cutter.next() {
                try checkCancellation()
                let rows = try await stage(piece, from: source, priority: priority, checksum: &checksum)
                var bytes = rows.contents
                while let part = bytes.readSlice(length: min(bytes.readableBytes, options.chunkBytesMax)),
                    part.readableBytes > 0
                { try await landing.write(part) }
                last?.release()
                last = rows
            }
            return try await landing.finish(checksum: checksum.value)
        } catch {
            landing.abandon()
            throw error
        }
    }

    /// The packed rows of a piece in a staging buffer. Their checksum is computed while they are in the first caches.
    private func stage(
        _ piece: Span, from source: any InPlaceSource, priority: StreamPriority, checksum: inout Checksum
    ) async throws(DejaVuError) -> Staging {
        let byteCount = piece.rowCount * source.rowBytes
        let lease = try await staging.take(byteCount, priority: priority, within: options.frameTimeMax)
        var bytes = lease.detach()
        var cutter = PieceCutter(piece, rowBytes: source.rowBytes, bytesMax: source.partBytes)
        while let part = cutter.next() {
            let before = bytes.writerIndex
            try await source.read(part, into: &bytes)
            guard bytes.writerIndex - before == part.rowCount * source.rowBytes else {
                throw Self.wrongLength(bytes.writerIndex - before, part, source)
            }
            bytes.withUnsafeReadableBytes { all in
                let start = before - bytes.readerIndex
                checksum.update(UnsafeRawBufferPointer(rebasing: all[start...]))
            }
        }
        lease.replace(with: bytes)
        return lease
    }

    static func wrongLength(_ count: Int, _ span: Span, _ source: any KVStore) -> DejaVuError {
        DejaVuError(.internalError, "\(source.name) gave \(count) bytes for \(span.rowCount) rows")
    }
}

/// Cuts a frame's rows into pieces that follow one another in its payload, each of them a span.
struct PieceCutter: Sendable {
    private let span: Span
    private let layersPerPiece: Int
    private let positionsPerPiece: Int
    private var layer: Int
    private var position: Int

    init(_ span: Span, rowBytes: Int, bytesMax: Int) {
        precondition(rowBytes > 0 && bytesMax > 0, "rows have bytes")
        self.span = span
        let rows = max(1, bytesMax / rowBytes)
        layersPerPiece = max(1, rows / max(1, span.positions.count))
        positionsPerPiece = layersPerPiece > 1 ? span.positions.count : rows
        layer = span.layers.first
        position = span.positions.lowerBound
    }

    /// nil at the end.
    mutating func next() -> Span? {
        guard layer < span.layers.end, position < span.positions.upperBound else { return nil }
        let layers = LayerRange(layer, min(span.layers.end, layer + layersPerPiece))
        let positions = position..<min(span.positions.upperBound, position + positionsPerPiece)
        position = positions.upperBound
        if position == span.positions.upperBound {
            position = span.positions.lowerBound
            layer = layers.end
        }
        return Span(sequence: span.sequence, layers: layers, positions: positions)
    }
}
