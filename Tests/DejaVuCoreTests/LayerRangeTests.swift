import DejaVuCore
import Testing

@Test(arguments: [(30, 1), (30, 4), (7, 7), (61, 5)])
func layerRange_cutEvenly_coversAllLayersInOrder(layers: Int, stages: Int) {
    let ranges = LayerRange.even(layers: layers, stages: stages)
    #expect(ranges.count == stages)
    #expect(ranges.flatMap { Array($0.indices) } == Array(0..<layers))
    #expect((ranges.map(\.count).max() ?? 0) - (ranges.map(\.count).min() ?? 0) <= 1)
}

@Test(arguments: [(30, 1), (30, 4), (7, 7), (61, 5)])
func layerRange_logitsThatCostNothing_areCutEvenly(layers: Int, stages: Int) {
    #expect(
        LayerRange.balanced(layers: layers, stages: stages, outputCost: 0)
            == LayerRange.even(layers: layers, stages: stages))
}

@Test(arguments: [
    (30, 2, 6.4, [18, 12]), (30, 3, 6.4, [12, 12, 6]), (30, 5, 6.4, [8, 7, 7, 7, 1]), (32, 2, 1.9, [17, 15]),
    (4, 2, 100, [3, 1]), (3, 3, 2, [1, 1, 1]),
])
func layerRange_logitsThatCostLayers_makeTheLastStageSmaller(
    layers: Int, stages: Int, outputCost: Double, counts: [Int]
) {
    let ranges = LayerRange.balanced(layers: layers, stages: stages, outputCost: outputCost)
    #expect(ranges.map(\.count) == counts)
    #expect(ranges.flatMap { Array($0.indices) } == Array(0..<layers))
}
