import DejaVuCore
import Glibc

/// The KV memory of an emulated stage: for each layer, one row for each cell.
///
/// A row's first word is its value; the others follow from it, so that a row that was copied only in part is seen.
final class EmulatedRows: StageMemory, @unchecked Sendable {
    // Sendable: the pointer never changes; who may touch which rows is the caller's to say (see `StageMemory`).
    private let memory: UnsafeMutableBufferPointer<UInt64>
    private let cellCount: Int
    private let wordsPerRow: Int
    let rowBytes: Int

    /// Zeroed memory that costs nothing until it is written.
    ///
    /// - Throws: `.resourceExhausted` if there is not so much.
    init(layerCount: Int, cellCount: Int, rowBytes: Int) throws(DejaVuError) {
        precondition(rowBytes >= 8 && rowBytes % 8 == 0, "rows are whole words")
        self.cellCount = cellCount
        wordsPerRow = rowBytes / 8
        self.rowBytes = rowBytes
        let (rows, overflow) = layerCount.multipliedReportingOverflow(by: cellCount)
        let (words, overflows) = rows.multipliedReportingOverflow(by: wordsPerRow)
        guard !overflow, !overflows, words < Int.max / 8, let start = calloc(max(words, 1), 8) else {
            throw DejaVuError(
                .resourceExhausted, "no memory for \(layerCount) layers of \(cellCount) cells of \(rowBytes) bytes")
        }
        memory = UnsafeMutableBufferPointer(start: start.assumingMemoryBound(to: UInt64.self), count: words)
    }

    deinit { free(memory.baseAddress) }

    private func index(_ layer: Int, _ cell: Int) -> Int { (layer * cellCount + cell) * wordsPerRow }

    func read(layer: Int, cells: Range<Int>, into bytes: UnsafeMutableRawBufferPointer) {
        bytes.copyMemory(from: raw(layer, cells, bytes.count))
    }

    func write(layer: Int, cells: Range<Int>, from bytes: UnsafeRawBufferPointer) {
        let target = raw(layer, cells, bytes.count)
        UnsafeMutableRawBufferPointer(mutating: target).copyMemory(from: bytes)
    }

    private func raw(_ layer: Int, _ cells: Range<Int>, _ count: Int) -> UnsafeRawBufferPointer {
        precondition(
            layer >= 0 && cells.lowerBound >= 0 && cells.upperBound <= cellCount && count == cells.count * rowBytes,
            "rows outside of the cells")
        let start = index(layer, cells.lowerBound)
        return UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: memory[start..<start + cells.count * wordsPerRow]))
    }

    static func word(_ index: Int, of value: UInt64) -> UInt64 { value &+ UInt64(index) &* 0x9E37_79B9_7F4A_7C15 }

    func write(_ value: UInt64, layer: Int, cell: Int) {
        let start = index(layer, cell)
        for word in 0..<wordsPerRow { memory[start + word] = Self.word(word, of: value) }
    }

    /// The value if the row is whole; something else if it is not.
    func read(layer: Int, cell: Int) -> UInt64 {
        let start = index(layer, cell)
        let value = memory[start]
        var damage: UInt64 = 0
        for word in 1..<max(wordsPerRow, 1) where memory[start + word] != Self.word(word, of: value) {
            damage = mix64(damage ^ memory[start + word] ^ UInt64(word))
        }
        return value ^ damage
    }

    /// The sum of what the rows of the first `positions` positions of a run contribute to attention. Looks at the first
    /// word of each row: whole rows are checked where they are computed again.
    func attended(layer: Int, run: CellRun, positions: Int) -> UInt64 {
        var sum: UInt64 = 0
        var at = index(layer, run.start)
        for position in 0..<positions {
            sum &+= EmulatedChain.contribution(of: memory[at], at: position)
            at += wordsPerRow
        }
        return sum
    }
}
