import DejaVuCore
import DejaVuKV
import Synchronization

/// What an earlier process has left.
extension DiskStore {
    /// Reads and verifies all segments, and raises the watermarks to what is whole. Once, before the store is used.
    func scan() throws(IOFailure) {
        var found: [SegmentScan.FoundFrame] = []
        var torn: [FrameRecord] = []
        var released: [SequenceID: UInt64] = [:]
        for name in try files.list(options.directory) {
            guard let scan = scan(file: name) else { continue }
            found += scan.frames
            torn += scan.torn
            for release in scan.releases {
                released[release.sequence] = max(released[release.sequence] ?? 0, release.ticket)
            }
            addSegment(scan, name)
        }
        func isDead(_ record: FrameRecord) -> Bool {
            released[record.span.sequence].map { record.ticket <= $0 } ?? false
        }
        markDead(found.filter { isDead($0.record) })
        let alive = Dictionary(grouping: found.filter { !isDead($0.record) }) { $0.record.span.sequence }
        let lost = Dictionary(grouping: torn.filter { !isDead($0) }) { $0.span.sequence }
        var recovered = alive.map { RecoveredSequence($0.value, torn: lost[$0.key] ?? []) }
        // Ticket numbers ascend.
        recovered.sort { $0.ticket.number < $1.ticket.number }
        for sequence in recovered { recover(sequence) }
        for (sequence, records) in lost where alive[sequence] == nil {
            report(lowering(sequence, records.map(\.span), layers: records[0].ticketLayers, to: 0))
        }
        removeUnused()
    }

    private func scan(file name: String) -> SegmentScan? {
        do throws(DejaVuError) {
            guard let number = Self.segmentNumber(name) else { throw .badRecord("not a name of ours") }
            state.withLock { $0.nextSegment = max($0.nextSegment, number) }
            let file: any DiskFile
            do throws(IOFailure) {
                file = try files.open(options.directory + "/" + name)
            } catch { throw error.error }
            var scan = try SegmentScan(file)
            guard scan.header.number == number else { throw .badRecord("a segment under another's name") }
            guard scan.header.numericClass == numericClass, scan.header.rowBytes == rowBytes,
                scan.header.layers == layers
            else { throw DejaVuError(.mismatch, "rows of another model or other layers") }
            scan.run()
            return scan
        } catch {
            report(.ignored(file: name, error))
            return nil
        }
    }

    private func addSegment(_ scan: SegmentScan, _ name: String) {
        state.withLock { state in
            let number = scan.header.number
            var segment = DiskSegment(
                number: number, path: options.directory + "/" + name, file: scan.file, salt: scan.header.salt,
                end: scan.byteCount)
            segment.isSealed = true
            segment.releases = Set(scan.releases.map(\.sequence))
            state.segments[number] = segment
            state.fileBytes += segment.end
        }
    }

    private func markDead(_ frames: [SegmentScan.FoundFrame]) {
        state.withLock { state in
            for found in frames {
                state.segments[found.frame.segment]?.dead.insert(found.record.span.sequence)
            }
        }
    }

    private func recover(_ recovered: RecoveredSequence) {
        // No process has this incarnation: nobody writes until the ticket is renewed.
        let ticket = recovered.ticket
        let spans = recovered.spansSeen
        do throws(DejaVuError) {
            let (bytes, overflow) = ticket.positionLimit.multipliedReportingOverflow(by: rowBytes * ticket.layers.count)
            guard !overflow else { throw .badRecord("\(ticket.sequence) has more positions than there can be") }
            try state.withLock { (state) throws(DejaVuError) in
                let place = state.addPlace(
                    DiskSequence(sequence: ticket.sequence, promisedBytes: bytes, ticket: ticket.number))
                do throws(DejaVuError) {
                    try state.books.open(ticket, tokens: recovered.tokens, place: place)
                } catch {
                    state.removePlace(place)
                    throw error
                }
                for layer in ticket.layers.indices {
                    let end = recovered.end(of: layer)
                    if end > 0 { state.books.recover(ticket.sequence, layers: LayerRange(layer, layer + 1), to: end) }
                }
                for frame in recovered.frames { state.keep(frame, in: place) }
            }
        } catch {
            report(.failed(error))
            report(lowering(ticket.sequence, spans, layers: ticket.layers, to: 0))
            return
        }
        for layer in ticket.layers.indices {
            let seen = spans.filter { $0.layers.indices.contains(layer) }
            let end = recovered.end(of: layer)
            if seen.contains(where: { $0.positions.upperBound > end }) {
                report(lowering(ticket.sequence, seen, layers: LayerRange(layer, layer + 1), to: end))
            }
        }
    }

    private func lowering(_ sequence: SequenceID, _ spans: [Span], layers: LayerRange, to end: Int) -> StoreEvent {
        let from = spans.map(\.positions.upperBound).max() ?? 0
        return .lowered(
            Ledger.Lowering(sequence: sequence, layers: layers, from: from, to: end),
            .badRecord("\(name): what the directory holds of \(sequence) is whole up to \(end) only"))
    }
}

/// What of a sequence is whole: frames that follow one another from position 0, of one text.
struct RecoveredSequence {
    let ticket: Ticket
    private(set) var tokens: [TokenID] = []
    private(set) var frames: [DiskFrame] = []
    /// Of all frames that were seen, the torn ones, too.
    let spansSeen: [Span]
    private var ends: [Int]

    init(_ found: [SegmentScan.FoundFrame], torn: [FrameRecord]) {
        let sorted = found.sorted {
            ($0.record.span.positions.lowerBound, $0.frame.segment, $0.frame.offset)
                < ($1.record.span.positions.lowerBound, $1.frame.segment, $1.frame.offset)
        }
        // The latest ticket says what the sequence covers.
        guard let latest = sorted.map(\.record).max(by: { $0.ticket < $1.ticket }) else {
            preconditionFailure("a sequence without frames")
        }
        ticket = Ticket(
            number: latest.ticket, sequence: latest.span.sequence, layers: latest.ticketLayers,
            positionLimit: latest.positionLimit, writer: Incarnation(0))
        spansSeen = sorted.map(\.record.span) + torn.map(\.span)
        ends = [Int](repeating: 0, count: latest.ticketLayers.count)
        var hashes = [TokenChain().hash]
        var chain = TokenChain()
        for candidate in sorted where candidate.record.ticketLayers == ticket.layers {
            let span = candidate.record.span
            let first = span.positions.lowerBound
            guard first <= tokens.count, span.positions.upperBound <= ticket.positionLimit else { continue }
            let known = min(tokens.count - first, span.positions.count)
            guard candidate.record.tokens[..<known] == tokens[first..<first + known] else { continue }
            var longer = chain
            for token in candidate.record.tokens[known...] { longer.append(token) }
            let hash =
                span.positions.upperBound < hashes.count ? hashes[span.positions.upperBound] : longer.hash
            guard hash == candidate.record.tokensHash else { continue }
            for token in candidate.record.tokens[known...] {
                chain.append(token)
                tokens.append(token)
                hashes.append(chain.hash)
            }
            frames.append(candidate.frame)
            for layer in span.layers.indices where ends[layer - ticket.layers.first] >= first {
                let index = layer - ticket.layers.first
                ends[index] = max(ends[index], span.positions.upperBound)
            }
        }
    }

    /// How many leading positions of a layer are whole.
    func end(of layer: Int) -> Int { ends[layer - ticket.layers.first] }
}
