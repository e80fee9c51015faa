import DejaVuCore
import DejaVuEngine
import DejaVuGGML

/// The KV memory of a stage: for each of its layers K and V, F16 `[keySize, cells + scratch]`. A sequence owns a
/// contiguous run of cells. The last rows of each are scratch: what must not be written anywhere is written there.
final class CellStore: StageMemory, @unchecked Sendable {
    // Sendable: the tensors never change; who may touch which rows is the caller's to say (see `StageMemory`).
    let keys: [Tensor]
    let values: [Tensor]
    let cellCount: Int
    private let scratchCount: Int
    private let context: TensorContext

    /// Where the K and V of a batch's row go that must not be kept: a place of the row's own if there are enough.
    func scratchCell(row: Int) -> Int {
        precondition(scratchCount == 1 || row < scratchCount, "row \(row) of \(scratchCount)")
        return scratchCount == 1 ? cellCount : cellCount + row
    }

    /// - Parameter scratchCount: 1, or one for each row of a batch if what is written there is to be read.
    /// - Throws: `.resourceExhausted` if the backend has no memory for it. On the CPU pages are touched only when
    ///   cells are written.
    init(layerCount: Int, keySize: Int, cellCount: Int, scratchCount: Int, backend: Backend) throws(DejaVuError) {
        precondition(scratchCount > 0)
        context = TensorContext(tensorCount: 2 * layerCount + 1)
        var keys: [Tensor] = []
        var values: [Tensor] = []
        for index in 0..<layerCount {
            keys.append(context.tensor(.f16, [keySize, cellCount + scratchCount], name: "cells.\(index).k"))
            values.append(context.tensor(.f16, [keySize, cellCount + scratchCount], name: "cells.\(index).v"))
        }
        self.keys = keys
        self.values = values
        self.cellCount = cellCount
        self.scratchCount = scratchCount
        // Attention never reads a cell that was not written, so nothing has to be zeroed.
        try context.allocate(on: backend, zeroed: false)
    }

    // MARK: StageMemory

    var rowBytes: Int { keys[0].rowStride + values[0].rowStride }

    func read(layer: Int, cells: Range<Int>, into bytes: UnsafeMutableRawBufferPointer) {
        check(cells, bytes.count)
        let width = keys[layer].rowStride
        for (row, cell) in cells.enumerated() {
            let start = row * 2 * width
            keys[layer].get(UnsafeMutableRawBufferPointer(rebasing: bytes[start..<start + width]), at: cell * width)
            values[layer].get(
                UnsafeMutableRawBufferPointer(rebasing: bytes[start + width..<start + 2 * width]), at: cell * width)
        }
    }

    func write(layer: Int, cells: Range<Int>, from bytes: UnsafeRawBufferPointer) {
        check(cells, bytes.count)
        let width = keys[layer].rowStride
        for (row, cell) in cells.enumerated() {
            let start = row * 2 * width
            keys[layer].set(UnsafeRawBufferPointer(rebasing: bytes[start..<start + width]), at: cell * width)
            values[layer].set(
                UnsafeRawBufferPointer(rebasing: bytes[start + width..<start + 2 * width]), at: cell * width)
        }
    }

    private func check(_ cells: Range<Int>, _ byteCount: Int) {
        precondition(
            cells.lowerBound >= 0 && cells.upperBound <= cellCount && byteCount == cells.count * rowBytes,
            "rows outside of the cells")
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
