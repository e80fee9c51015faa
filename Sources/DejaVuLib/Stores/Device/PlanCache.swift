import DejaVuCore
import DejaVuKV
import Synchronization

/// Plans between a device's layout and packed rows. One is made once for its shape: the same ones come again and again.
final class PlanCache: Sendable {
    private struct Shape: Hashable {
        let layers: LayerRange
        let positions: Int
        let isToDevice: Bool
        /// Packed rows have a region for each layer.
        var isLayerByLayer = false
    }

    private static let countMax = 512
    private let layout: KVLayout
    private let plans = Mutex<[Shape: TransferPlan]>([:])

    init(_ layout: KVLayout) { self.layout = layout }

    func fromDevice(
        _ layers: LayerRange, _ positions: Int, layerByLayer: Bool = false
    ) throws(DejaVuError) -> TransferPlan {
        try plan(Shape(layers: layers, positions: positions, isToDevice: false, isLayerByLayer: layerByLayer))
    }

    func toDevice(_ layers: LayerRange, _ positions: Int) throws(DejaVuError) -> TransferPlan {
        try plan(Shape(layers: layers, positions: positions, isToDevice: true))
    }

    private func plan(_ shape: Shape) throws(DejaVuError) -> TransferPlan {
        if let known = plans.withLock({ $0[shape] }) { return known }
        let packed =
            shape.isLayerByLayer
            ? try KVLayout.packedLayers(layout.row, layers: shape.layers, positionCount: shape.positions)
            : try KVLayout.packedRows(layout.row, layers: shape.layers, positionCount: shape.positions)
        let plan = try TransferPlan(
            from: shape.isToDevice ? packed : layout, to: shape.isToDevice ? layout : packed, layers: shape.layers,
            positionCount: shape.positions)
        plans.withLock { plans in
            // Shapes of odd chunks pass by; those that matter are made again at once.
            if plans.count >= Self.countMax { plans.removeAll() }
            plans[shape] = plan
        }
        return plan
    }
}
