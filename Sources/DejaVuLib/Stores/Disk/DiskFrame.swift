import DejaVuCore
import DejaVuKV

/// Where a whole frame lies.
struct DiskFrame: Sendable {
    let segment: UInt64
    let file: any DiskFile
    /// Of the record, within the segment.
    let offset: Int
    let payloadOffset: Int
    let span: Span
    let blocks: [UInt32]
    let payloadBytes: Int
    let recordBytes: Int
}

/// What a disk store knows of one sequence's frames.
struct DiskSequence: Sendable {
    let sequence: SequenceID
    /// Bytes of rows that its ticket promises.
    let promisedBytes: Int
    /// The greatest number that wrote for it.
    var ticket: UInt64
    /// Ascending by first position.
    private(set) var frames: [DiskFrame] = []

    init(sequence: SequenceID, promisedBytes: Int, ticket: UInt64) {
        self.sequence = sequence
        self.promisedBytes = promisedBytes
        self.ticket = ticket
    }

    mutating func add(_ frame: DiskFrame) {
        // Mostly at the end: positions come in order.
        var index = frames.count
        while index > 0, frames[index - 1].span.positions.lowerBound > frame.span.positions.lowerBound { index -= 1 }
        frames.insert(frame, at: index)
    }

    mutating func remove(where isGone: (DiskFrame) -> Bool) -> [DiskFrame] {
        let gone = frames.filter(isGone)
        if !gone.isEmpty { frames.removeAll(where: isGone) }
        return gone
    }

    /// For each frame that is needed, which rows of it: together all of the span, each row once. nil if rows are
    /// missing, which the watermark excludes.
    func pieces(of span: Span) -> [DiskPieces]? {
        var result: [Int: [DiskPieces.Rows]] = [:]
        for layer in span.layers.indices {
            var position = span.positions.lowerBound
            var index = 0
            while position < span.positions.upperBound {
                var best: Int?
                while index < frames.count, frames[index].span.positions.lowerBound <= position {
                    let candidate = frames[index].span
                    let reach = best.map { frames[$0].span.positions.upperBound } ?? position
                    if candidate.layers.indices.contains(layer), candidate.positions.upperBound > reach { best = index }
                    index += 1
                }
                // Of the frames that begin at or below the position, none reaches further: go on behind them.
                guard let best else { return nil }
                let end = min(frames[best].span.positions.upperBound, span.positions.upperBound)
                result[best, default: []].append(.init(layer: layer, positions: position..<end))
                position = end
            }
        }
        return result.keys.sorted().map { DiskPieces(frame: frames[$0], rows: result[$0] ?? []) }
    }
}

/// Rows of one frame that are wanted.
struct DiskPieces: Sendable {
    struct Rows: Sendable {
        let layer: Int
        let positions: Range<Int>
    }
    let frame: DiskFrame
    /// Ascending by layer, then position: the order of the payload.
    let rows: [Rows]
}
