import DejaVuCore

/// What one position of KV weighs, and so how many cells a budget of bytes holds.
package struct KVShape: Hashable, Codable, Sendable {
    package let bytesPerPositionAndLayer: Int
    /// Layers of the stage.
    package let layerCount: Int

    /// - Precondition: both are at least 1.
    package init(bytesPerPositionAndLayer: Int, layerCount: Int) {
        precondition(bytesPerPositionAndLayer >= 1 && layerCount >= 1, "KV has layers and bytes")
        self.bytesPerPositionAndLayer = bytesPerPositionAndLayer
        self.layerCount = layerCount
    }

    /// Of one cell over all layers; saturates instead of overflowing on absurd shapes.
    package var bytesPerCell: Int {
        let (bytes, overflow) = bytesPerPositionAndLayer.multipliedReportingOverflow(by: layerCount)
        return overflow ? .max : bytes
    }

    /// How many cells, in whole granules, fit into a budget.
    package func cellCount(inBytes budget: Int) -> Int {
        max(0, budget) / bytesPerCell / CellRun.granularity * CellRun.granularity
    }

    package func bytes(ofCells cells: Int) -> Int {
        let (bytes, overflow) = bytesPerCell.multipliedReportingOverflow(by: cells)
        return overflow ? .max : bytes
    }
}
