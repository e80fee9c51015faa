import DejaVuCore
import Testing

@Test(arguments: [(30, 1), (30, 4), (7, 7), (61, 5)])
func layerRange_cutEvenly_coversAllLayersInOrder(layers: Int, stages: Int) {
    let ranges = LayerRange.even(layers: layers, stages: stages)
    #expect(ranges.count == stages)
    #expect(ranges.flatMap { Array($0.indices) } == Array(0..<layers))
    #expect((ranges.map(\.count).max() ?? 0) - (ranges.map(\.count).min() ?? 0) <= 1)
}
