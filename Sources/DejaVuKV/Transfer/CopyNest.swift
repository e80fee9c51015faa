/// One contiguous copy.
public struct CopyRun: Hashable, Sendable {
    public var sourceRegion: Int
    public var sourceOffset: Int
    public var destinationRegion: Int
    public var destinationOffset: Int
    public var bytes: Int

    @inlinable
    public init(sourceRegion: Int, sourceOffset: Int, destinationRegion: Int, destinationOffset: Int, bytes: Int) {
        self.sourceRegion = sourceRegion
        self.sourceOffset = sourceOffset
        self.destinationRegion = destinationRegion
        self.destinationOffset = destinationOffset
        self.bytes = bytes
    }

    /// Whether `next` goes on in both memories where this one ends.
    @inlinable
    public func isContinued(by next: CopyRun) -> Bool {
        sourceRegion == next.sourceRegion && sourceOffset + bytes == next.sourceOffset
            && destinationRegion == next.destinationRegion && destinationOffset + bytes == next.destinationOffset
    }
}

/// A loop around a copy: by how much each side moves from one turn to the next.
public struct CopyLoop: Hashable, Sendable {
    /// One turn: for copies without loops.
    public static let once = CopyLoop(
        count: 1, sourceRegionStride: 0, sourceStride: 0, destinationRegionStride: 0, destinationStride: 0)

    public let count: Int
    public let sourceRegionStride: Int
    public let sourceStride: Int
    public let destinationRegionStride: Int
    public let destinationStride: Int
}

/// Loops around one copy of fixed size: all the copies of a regular kind, in the order of the source's addresses.
public struct CopyNest: Hashable, Sendable {
    /// The first copy, of cell 0 on both sides.
    public let first: CopyRun
    /// The outermost first, never more than 8. None has only one turn, and no two could be one.
    public let loops: [CopyLoop]
    /// How a slot and a cell within it move the offsets.
    let sourceSlotStride: Int
    let sourceCellStride: Int
    let destinationSlotStride: Int
    let destinationCellStride: Int
    /// Bit n is set if the last copy inside loop n runs on into the first one of the loop's next turn.
    let corners: UInt8

    /// Copies, as the loops make them.
    public var turnCount: Int { loops.reduce(1) { $0 * $1.count } }
    public var byteCount: Int { turnCount * first.bytes }

    /// Copies, where those that run on into one another count as one.
    var runCount: Int {
        var joints = 0
        var outer = 1
        for (depth, loop) in loops.enumerated() {
            if corners & 1 << depth != 0 { joints += outer * (loop.count - 1) }
            outer *= loop.count
        }
        return outer - joints
    }

    /// Joins what can be joined: loops into the copy, and loops with each other.
    init(
        first: CopyRun, loops unsorted: [CopyLoop], joining: Bool = true,
        sourceCells: (slot: Int, cell: Int), destinationCells: (slot: Int, cell: Int)
    ) {
        var loops = unsorted.filter { $0.count > 1 }
        loops.sort {
            ($0.sourceRegionStride, $0.sourceStride, $0.destinationStride)
                > ($1.sourceRegionStride, $1.sourceStride, $1.destinationStride)
        }
        var first = first
        if joining {
            while let index = loops.firstIndex(where: { $0.continues(first.bytes) }) {
                first.bytes *= loops.remove(at: index).count
            }
            var index = 1
            while index < loops.count {
                if let joined = loops[index - 1].joined(with: loops[index]) {
                    loops[index - 1] = joined
                    loops.remove(at: index)
                } else {
                    index += 1
                }
            }
        }
        precondition(loops.count <= 8, "KV has fewer axes")
        self.first = first
        self.loops = loops
        corners = joining ? Self.corners(of: loops, bytes: first.bytes) : 0
        (sourceSlotStride, sourceCellStride) = sourceCells
        (destinationSlotStride, destinationCellStride) = destinationCells
    }

    private static func corners(of loops: [CopyLoop], bytes: Int) -> UInt8 {
        var result: UInt8 = 0
        for (depth, loop) in loops.enumerated() {
            var step = loop
            for inner in loops[(depth + 1)...] { step = step.minus(inner.count - 1, inner) }
            if step.continues(bytes) { result |= 1 << depth }
        }
        return result
    }

    /// The first copy for other cells.
    @inline(__always)
    func first(source: (slot: Int, cell: Int), destination: (slot: Int, cell: Int)) -> CopyRun {
        var run = first
        run.sourceOffset += source.slot * sourceSlotStride + source.cell * sourceCellStride
        run.destinationOffset += destination.slot * destinationSlotStride + destination.cell * destinationCellStride
        return run
    }
}

extension CopyLoop {
    /// Whether each turn begins in both memories where a copy of so many bytes has ended.
    fileprivate func continues(_ bytes: Int) -> Bool {
        sourceRegionStride == 0 && destinationRegionStride == 0 && sourceStride == bytes && destinationStride == bytes
    }

    /// Both loops as one, if the outer one goes on where the inner one ends.
    fileprivate func joined(with inner: CopyLoop) -> CopyLoop? {
        guard sourceRegionStride == inner.count * inner.sourceRegionStride,
            sourceStride == inner.count * inner.sourceStride,
            destinationRegionStride == inner.count * inner.destinationRegionStride,
            destinationStride == inner.count * inner.destinationStride
        else { return nil }
        return CopyLoop(
            count: count * inner.count, sourceRegionStride: inner.sourceRegionStride, sourceStride: inner.sourceStride,
            destinationRegionStride: inner.destinationRegionStride, destinationStride: inner.destinationStride)
    }

    fileprivate func minus(_ turns: Int, _ other: CopyLoop) -> CopyLoop {
        CopyLoop(
            count: count, sourceRegionStride: sourceRegionStride - turns * other.sourceRegionStride,
            sourceStride: sourceStride - turns * other.sourceStride,
            destinationRegionStride: destinationRegionStride - turns * other.destinationRegionStride,
            destinationStride: destinationStride - turns * other.destinationStride)
    }
}
