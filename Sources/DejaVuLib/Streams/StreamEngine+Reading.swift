import DejaVuCore
import DejaVuKV
import NIOCore
import Synchronization

extension StreamEngine {
    /// One read of the source and the frames that are cut from it.
    struct Reading {
        let span: Span
        let dispatches: [Dispatch]
    }

    /// Puts frames together that want rows of the same positions, so that these are read once.
    ///
    /// Frames of one sequence to one destination keep their order: a frame that came before those it follows would be
    /// answered by a gap.
    func readings(of batch: [Dispatch]) -> [Reading] {
        let isShared = batch.contains { $0.subscription != batch[0].subscription }
        guard isShared, options.sharedReads, options.bufferedCopies, options.deltas else {
            return batch.map { Reading(span: $0.span, dispatches: [$0]) }
        }
        var readings: [Reading] = []
        var places: [Positions: Int] = [:]
        var last: [Route: Int] = [:]
        for dispatch in batch {
            let key = Positions(sequence: dispatch.span.sequence, positions: dispatch.span.positions)
            let route = Route(destination: dispatch.destination, sequence: dispatch.span.sequence)
            if let place = places[key], place >= last[route] ?? 0,
                let joined = join(readings[place].span.layers, dispatch.span.layers)
            {
                let span = Span(sequence: key.sequence, layers: joined, positions: key.positions)
                if span.rowCount * source.rowBytes <= max(options.frameBytesMax, source.rowBytes) {
                    readings[place] = Reading(span: span, dispatches: readings[place].dispatches + [dispatch])
                    last[route] = place
                    continue
                }
            }
            places[key] = readings.count
            last[route] = readings.count
            readings.append(Reading(span: dispatch.span, dispatches: [dispatch]))
        }
        return readings
    }

    private struct Route: Hashable {
        let destination: StoreID
        let sequence: SequenceID
    }

    private struct Positions: Hashable {
        let sequence: SequenceID
        let positions: Range<Int>
    }

    /// Both ranges as one, if nothing lies between them.
    private func join(_ one: LayerRange, _ other: LayerRange) -> LayerRange? {
        guard one.first <= other.end, other.first <= one.end else { return nil }
        return LayerRange(min(one.first, other.first), max(one.end, other.end))
    }

    /// What became of a reading's frames.
    enum Prepared {
        case answered
        /// They wait in their lanes.
        case queued
        /// To be run by somebody who may wait.
        case waits(@Sendable () async -> Void)
    }

    /// Reads, and hands the frames to their lanes; or copies straight into a store of this process.
    func prepare(_ reading: Reading) async -> Prepared {
        if let source = inPlaceSource, reading.dispatches.count == 1,
            let store = inPlaceStore(reading.dispatches[0])
        {
            return await landHere(reading, from: source, in: store)
        }
        await readForLanes(reading)
        return .queued
    }

    /// The store that a frame goes to, if it can be copied straight into it and nothing waits before it.
    private func inPlaceStore(_ dispatch: Dispatch) -> (any InPlaceStore)? {
        state.withLock { state in
            guard let lane = state.lanes[dispatch.destination], lane.queue.isEmpty, !lane.isServed else { return nil }
            return lane.inPlace
        }
    }

    private func landHere(
        _ reading: Reading, from source: any InPlaceSource, in store: any InPlaceStore
    ) async -> Prepared {
        let dispatch = reading.dispatches[0]
        do throws(DejaVuError) {
            let header = try streamer.header(dispatch.span, ticket: dispatch.ticket, source: source)
            switch try await streamer.landHere(header, from: source, in: store, priority: dispatch.priority) {
            case .ended(let receipt): note(dispatch, .success(receipt))
            case .waits(let rest): return .waits { self.answered(dispatch, await rest()) }
            }
        } catch {
            await readFailed(reading, error)
        }
        return .answered
    }

    private func readForLanes(_ reading: Reading) async {
        var rows: StagedRows?
        if options.bufferedCopies {
            let span = widened(reading.span)
            do throws(DejaVuError) {
                rows = try await streamer.read(span, from: source, priority: reading.dispatches[0].priority)
            } catch {
                await readFailed(reading, error)
                return
            }
        }
        if reading.dispatches.count > 1 {
            streamer.counts.withLock { $0.readsShared += reading.dispatches.count - 1 }
        }
        for dispatch in reading.dispatches {
            let span = widened(dispatch.span)
            do throws(DejaVuError) {
                let header = try streamer.header(span, ticket: dispatch.ticket, source: source)
                let part = rows.map { $0.part(span.layers, of: reading.span.layers) }
                send(Parcel(dispatch: dispatch, header: header, rows: part))
            } catch {
                failed(dispatch, error)
            }
        }
    }

    /// Without deltas a frame begins at position 0, or as far back as staging memory allows.
    private func widened(_ span: Span) -> Span {
        guard !options.deltas else { return span }
        let most = options.bytesInFlightMax / 2 / max(1, span.layers.count * source.rowBytes)
        let first = max(0, min(span.positions.lowerBound, span.positions.upperBound - most))
        return Span(sequence: span.sequence, layers: span.layers, positions: first..<span.positions.upperBound)
    }

    private func send(_ parcel: Parcel) {
        state.withLock { state in
            // Meanwhile the link may have been lost or the order cancelled: the flight is off the books then.
            guard state.lanes[parcel.dispatch.destination] != nil, state.book.isFlying(parcel.dispatch.flight) else {
                state.book.giveBack(parcel.dispatch.flight)
                return
            }
            state.lanes[parcel.dispatch.destination]?.queue.append(parcel)
        }
    }

    /// The source did not give rows that it had said it holds.
    private func readFailed(_ reading: Reading, _ error: DejaVuError) async {
        if error.code == .notFound || error.code == .invalidFile {
            let span = reading.span
            if let mark = try? await source.watermark(of: span.sequence, layers: span.layers),
                mark < span.positions.upperBound
            {
                state.withLock { state in
                    for dispatch in reading.dispatches { state.book.giveBack(dispatch.flight) }
                }
                sourceLowered(span.sequence, layers: span.layers, to: mark)
                report(.sourceLowered(span.sequence, span.layers, to: mark, error))
                return
            }
        }
        for dispatch in reading.dispatches { failed(dispatch, error) }
    }
}

extension StagedRows {
    /// The rows of some of the layers: packed rows are ordered by layer, so that these are one slice.
    func part(_ layers: LayerRange, of all: LayerRange) -> StagedRows {
        guard layers != all else { return self }
        let layerBytes = bytes.readableBytes / all.count
        guard
            let slice = bytes.getSlice(
                at: bytes.readerIndex + (layers.first - all.first) * layerBytes, length: layers.count * layerBytes)
        else { preconditionFailure("layers \(layers) are not among \(all)") }
        return StagedRows(bytes: slice, checksum: Checksum.of(slice), lease: lease)
    }
}
