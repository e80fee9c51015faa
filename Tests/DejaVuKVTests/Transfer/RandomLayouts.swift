import DejaVuCore
import DejaVuKV

/// Two random memories of the same rows, and a part of a sequence that both have room for.
struct LayoutCase {
    let source: KVLayout
    let destination: KVLayout
    let layers: LayerRange
    let positionCount: Int
    let sourceCell: Int
    let destinationCell: Int
    /// Whether one side's blocks divide the other's, for K and for V.
    let splitsNest: Bool

    static func drawn(seed: UInt64) throws -> LayoutCase {
        var random = SeededGenerator(seed: seed)
        let row = try KVRow(
            headCount: random.next(in: 1...3), headSize: [1, 2, 4, 6, 8, 12][random.next(below: 6)],
            elementBytes: [1, 2, 3, 4][random.next(below: 4)])
        let firstLayer = random.next(below: 4)
        let layers = LayerRange(firstLayer, firstLayer + random.next(in: 1...3))
        let positions = random.next(in: 1...4)
        let left = try side(row, layers, positions, &random)
        let right = try side(row, layers, positions, &random)
        func nests(_ a: Int, _ b: Int) -> Bool { max(a, b) % min(a, b) == 0 }
        return LayoutCase(
            source: left.layout, destination: right.layout, layers: layers, positionCount: positions,
            sourceCell: left.cell, destinationCell: right.cell,
            splitsNest: nests(left.keySplit, right.keySplit) && nests(left.valueSplit, right.valueSplit))
    }

    private struct Side {
        let layout: KVLayout
        let cell: Int
        let keySplit: Int
        let valueSplit: Int
    }

    private static func side(
        _ row: KVRow, _ needed: LayerRange, _ positions: Int, _ random: inout SeededGenerator
    ) throws -> Side {
        let first = max(0, needed.first - random.next(below: 3))
        let layers = LayerRange(first, needed.end + random.next(below: 3))
        let slots = random.next(in: 1...3)
        let isTight = random.chance(0.4)
        let slotLength = positions + (isTight ? 0 : random.next(below: 3))
        let regions = [KVLayout.Regions.perLayerAndPlane, .perLayer, .perPlane, .single][random.next(below: 4)]
        let (keys, keySplit) = order(row, regions, &random)
        var (values, valueSplit) = order(row, regions, &random)
        if regions == .single || regions == .perLayer || random.chance(0.4) { (values, valueSplit) = (keys, keySplit) }
        let layout = try KVLayout(
            row: row, layers: layers, slots: slots, slotLength: slotLength, regions: regions, keys: keys,
            values: values)
        let slot = random.next(below: slots)
        let start = random.next(below: slotLength - positions + 1)
        return Side(
            layout: layout, cell: slot * slotLength + start, keySplit: keySplit, valueSplit: valueSplit)
    }

    private static func order(
        _ row: KVRow, _ regions: KVLayout.Regions, _ random: inout SeededGenerator
    ) -> (KVLayout.Order, Int) {
        var axes: [KVAxis] = [.slot, .head, .position, .block, .element]
        if regions == .perPlane || regions == .single { axes.append(.layer) }
        if regions == .perLayer || regions == .single { axes.append(.plane) }
        for index in axes.indices.reversed() where random.chance(0.7) {
            axes.swapAt(index, random.next(below: index + 1))
        }
        let divisors = (1...row.headSize).filter { row.headSize % $0 == 0 }
        let split = divisors[random.next(below: divisors.count)]
        return (KVLayout.Order(axes, split: split), split)
    }

    /// Every element's copy, one by one, as the layouts have it.
    var elementRuns: [CopyRun] {
        var runs: [CopyRun] = []
        let row = source.row
        for layer in layers.indices {
            for plane in KVPlane.allCases {
                for position in 0..<positionCount {
                    for head in 0..<row.headCount {
                        for element in 0..<row.headSize {
                            let from = source.address(
                                of: plane, layer: layer, cell: sourceCell + position, head: head, element: element)
                            let to = destination.address(
                                of: plane, layer: layer, cell: destinationCell + position, head: head,
                                element: element)
                            runs.append(
                                CopyRun(
                                    sourceRegion: from.region, sourceOffset: from.offset,
                                    destinationRegion: to.region, destinationOffset: to.offset,
                                    bytes: row.elementBytes))
                        }
                    }
                }
            }
        }
        return runs
    }

    /// The fewest runs that the elements' copies can be merged into.
    static func fewest(_ runs: [CopyRun]) -> Int {
        let sorted = runs.sorted { ($0.sourceRegion, $0.sourceOffset) < ($1.sourceRegion, $1.sourceOffset) }
        return 1 + zip(sorted, sorted.dropFirst()).reduce(0) { $0 + ($1.0.isContinued(by: $1.1) ? 0 : 1) }
    }
}

/// A memory whose bytes remember where they came from.
struct TracedMemory {
    var regions: [[Int32]]

    /// All bytes empty.
    init(_ layout: KVLayout) {
        regions = (0..<layout.regionCount).map { _ in [Int32](repeating: 0, count: layout.regionBytes) }
    }

    /// Every byte different.
    static func full(_ layout: KVLayout) -> TracedMemory {
        var memory = TracedMemory(layout)
        var next: Int32 = 0
        for region in memory.regions.indices {
            for offset in memory.regions[region].indices {
                next += 1
                memory.regions[region][offset] = next
            }
        }
        return memory
    }

    /// - Returns: false if a byte was written twice.
    mutating func take(_ run: CopyRun, from other: TracedMemory) -> Bool {
        for byte in 0..<run.bytes {
            guard regions[run.destinationRegion][run.destinationOffset + byte] == 0 else { return false }
            regions[run.destinationRegion][run.destinationOffset + byte] =
                other.regions[run.sourceRegion][run.sourceOffset + byte]
        }
        return true
    }
}
