import DejaVuCore
import DejaVuGGML

/// The KV memory of a stage: for each of its layers K and V, F16 `[keySize, cells + 1]`. A sequence owns a contiguous
/// run of cells. The last row of each is scratch: what must not be written anywhere is written there.
struct CellStore {
    let keys: [Tensor]
    let values: [Tensor]
    let cellCount: Int
    private let context: TensorContext

    var scratchCell: Int { cellCount }

    /// - Throws: `.resourceExhausted` if the backend has no memory for it. On the CPU pages are touched only when
    ///   cells are written.
    init(layerCount: Int, keySize: Int, cellCount: Int, backend: Backend) throws(DejaVuError) {
        context = TensorContext(tensorCount: 2 * layerCount + 1)
        var keys: [Tensor] = []
        var values: [Tensor] = []
        for index in 0..<layerCount {
            keys.append(context.tensor(.f16, [keySize, cellCount + 1], name: "cells.\(index).k"))
            values.append(context.tensor(.f16, [keySize, cellCount + 1], name: "cells.\(index).v"))
        }
        self.keys = keys
        self.values = values
        self.cellCount = cellCount
        // Attention never reads a cell that was not written, so nothing has to be zeroed.
        try context.allocate(on: backend, zeroed: false)
    }

    /// The rows of K and V at a range of cells of a layer of the stage.
    func rows(layer: Int, cells: Range<Int>) -> (keys: [UInt8], values: [UInt8]) {
        (Self.bytes(keys[layer], cells), Self.bytes(values[layer], cells))
    }

    private static func bytes(_ tensor: Tensor, _ cells: Range<Int>) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: cells.count * tensor.rowStride)
        bytes.withUnsafeMutableBytes { tensor.get($0, at: cells.lowerBound * tensor.rowStride) }
        return bytes
    }
}
