public import DejaVuCore

/// Which bytes of one memory go where in another, for some layers and a number of consecutive positions.
///
/// A plan is made once for a shape and used for any cells: `plan.runs(source: cell, destination: cell)`. It is a few
/// strided copies, merged across elements, heads, positions, planes and layers wherever both memories allow, so that
/// the number of runs is the least possible. (With splits of which neither divides the other, runs at the seams of
/// heads may stay apart.)
public struct TransferPlan: Hashable, Sendable {
    public let layers: LayerRange
    public let positionCount: Int
    public let nests: [CopyNest]
    /// Contiguous copies.
    public let runCount: Int
    public let byteCount: Int
    public let sourceRegionCount: Int
    public let destinationRegionCount: Int
    let sourceCells: Cells
    let destinationCells: Cells

    /// How cells are counted on one side.
    struct Cells: Hashable, Sendable {
        let slots: Int
        let slotLength: Int

        /// Slot and cell within it.
        @inline(__always)
        func split(_ cell: Int, count: Int) -> (slot: Int, cell: Int) {
            let parts = slots == 1 ? (0, cell) : cell.quotientAndRemainder(dividingBy: slotLength)
            precondition(
                cell >= 0 && parts.0 < slots && parts.1 <= slotLength - count,
                "\(count) positions from cell \(cell) on do not lie in one slot")
            return parts
        }
    }

    /// Plans from one layout to another.
    ///
    /// - Throws: `.mismatch` if the rows differ; `.invalidArgument` if a layout does not have these layers, or slots
    ///   that long.
    public init(
        from source: KVLayout, to destination: KVLayout, layers: LayerRange, positionCount: Int
    ) throws(DejaVuError) {
        guard source.row == destination.row else {
            throw DejaVuError(.mismatch, "the two sides have rows of different shapes")
        }
        try Self.check(source, layers, positionCount)
        try Self.check(destination, layers, positionCount)
        let pair = LayoutPair(source: source, destination: destination, layers: layers, positions: positionCount)
        self.init(pair.nests(), layers, positionCount, source, destination)
    }

    /// What the naive way moves: every run that is contiguous in the source, by itself. No run reaches over layers, K
    /// and V, or is packed with others. The destination is one region that takes the runs in the source's order.
    ///
    /// - Throws: `.invalidArgument` if the layout does not have these layers, or slots that long.
    public init(naiveFrom source: KVLayout, layers: LayerRange, positionCount: Int) throws(DejaVuError) {
        try Self.check(source, layers, positionCount)
        let stream = try KVLayout.packedRows(source.row, layers: layers, positionCount: positionCount)
        let nests = LayoutPair.naiveNests(source, layers: layers, positions: positionCount)
        self.init(nests, layers, positionCount, source, stream)
    }

    private init(
        _ nests: [CopyNest], _ layers: LayerRange, _ positionCount: Int, _ source: KVLayout, _ destination: KVLayout
    ) {
        self.layers = layers
        self.positionCount = positionCount
        self.nests = nests
        runCount = nests.reduce(0) { $0 + $1.runCount }
        byteCount = nests.reduce(0) { $0 + $1.byteCount }
        sourceRegionCount = source.regionCount
        destinationRegionCount = destination.regionCount
        sourceCells = Cells(slots: source.slots, slotLength: source.slotLength)
        destinationCells = Cells(slots: destination.slots, slotLength: destination.slotLength)
        precondition(
            byteCount == source.row.bytes(layers: layers.count, positions: positionCount), "a plan moves every byte")
    }

    private static func check(_ layout: KVLayout, _ layers: LayerRange, _ positions: Int) throws(DejaVuError) {
        guard layers.count > 0, layout.layers.contains(layers) else {
            throw DejaVuError(.invalidArgument, "a layout with layers \(layout.layers) has no layers \(layers)")
        }
        guard positions > 0, positions <= layout.slotLength else {
            throw DejaVuError(.invalidArgument, "a slot of \(layout.slotLength) cells has no \(positions) positions")
        }
    }

    /// The copies for a place on both sides: the cells that hold the first of the positions.
    ///
    /// - Precondition: the positions lie in one slot on either side.
    public func runs(source: Int, destination: Int) -> CopyRuns {
        CopyRuns(
            nests: nests, source: sourceCells.split(source, count: positionCount),
            destination: destinationCells.split(destination, count: positionCount))
    }

    /// The first copy of a nest for a place on both sides; with the nest's loops, all its copies.
    ///
    /// - Precondition: the positions lie in one slot on either side.
    public func firstRun(of nest: CopyNest, source: Int, destination: Int) -> CopyRun {
        nest.first(
            source: sourceCells.split(source, count: positionCount),
            destination: destinationCells.split(destination, count: positionCount))
    }
}
