import DejaVuCore
import DejaVuKV
import DejaVuLib
import Testing

/// A memory of a layout, every byte of it different from its neighbours.
private final class Memory {
    let regions: [UnsafeMutableRawBufferPointer]

    init(_ layout: KVLayout, seed: UInt64?) {
        regions = (0..<layout.regionCount).map { _ in
            UnsafeMutableRawBufferPointer.allocate(byteCount: layout.regionBytes, alignment: 64)
        }
        var random = SeededGenerator(seed: seed ?? 0)
        for region in regions {
            for index in region.indices { region[index] = seed == nil ? 0 : UInt8(truncatingIfNeeded: random.next()) }
        }
    }

    deinit { for region in regions { region.deallocate() } }

    var readable: [UnsafeRawBufferPointer] { regions.map { UnsafeRawBufferPointer($0) } }
}

private func layouts(_ row: KVRow, _ layers: LayerRange) throws -> [KVLayout] {
    [
        try .packedRows(row, layers: layers, positionCount: 6),
        try .ggml(row, layers: layers, cellCount: 20),
        try .ggml(row, layers: layers, cellCount: 20, transposedValues: true),
        try .fasterTransformer(row, layers: layers, batch: 2, length: 10, x: 8),
        try .fasterTransformer(row, layers: layers, batch: 2, length: 10, x: 2),
        try .fasterTransformer(row, layers: layers, batch: 1, length: 6, x: 32),
    ]
}

/// Runs of 2, 4, 8, 16, 32 and 64 bytes, odd ones, and whole rows.
@Test(arguments: [1, 2, 3, 4]) func runCopier_anyPairOfLayouts_movesWhatThePlanSays(elementBytes: Int) throws {
    let row = try KVRow(headCount: 3, headSize: 32, elementBytes: elementBytes)
    let layers = LayerRange(2, 5)
    for source in try layouts(row, layers) {
        for destination in try layouts(row, layers) {
            let plan = try TransferPlan(
                from: source, to: destination, layers: LayerRange(3, 5), positionCount: 5)
            let from = Memory(source, seed: 7)
            let to = Memory(destination, seed: nil)
            let expected = Memory(destination, seed: nil)
            let cells = (source.cellCount - 5, destination.cellCount - 6)
            RunCopier.copy(
                plan, source: cells.0, destination: cells.1, from: from.readable, to: to.regions)
            for run in plan.runs(source: cells.0, destination: cells.1) {
                for byte in 0..<run.bytes {
                    expected.regions[run.destinationRegion][run.destinationOffset + byte] =
                        from.regions[run.sourceRegion][run.sourceOffset + byte]
                }
            }
            for (left, right) in zip(to.regions, expected.regions) {
                #expect(left.elementsEqual(right), "\(source.regions) to \(destination.regions)")
            }
        }
    }
}
