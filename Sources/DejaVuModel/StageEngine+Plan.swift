import DejaVuCore

/// A sequence that is open on a stage.
struct OpenSequence {
    let record: SequenceRecord
    let cells: CellRun
    /// The tokens at the positions from 0, as far as they are known here: the record's, and what passes brought.
    var tokens: [TokenID]
    var watermark: Int

    init(record: SequenceRecord, cells: CellRun, watermark: Int) {
        self.record = record
        self.cells = cells
        self.watermark = watermark
        tokens = record.prompt + record.outputs
    }

    /// Takes the tokens of a pass entry as known.
    mutating func learn(_ entry: PassEntry) {
        let known = min(tokens.count, entry.end) - entry.first
        if known > 0 { tokens.replaceSubrange(entry.first..<entry.first + known, with: entry.tokens.prefix(known)) }
        tokens.append(contentsOf: entry.tokens.dropFirst(max(known, 0)))
    }
}

/// The inputs of one graph run: a part of a pass.
struct RowBatch {
    var tokens: [Int32] = []
    var positions: [Int32] = []
    var cells: [Int64] = []
    /// First cell of the run and position, row by row.
    var table: [Int32] = []
    var outputRows: [Int32] = []
    /// For each output the entry that samples from it.
    var outputEntries: [Int] = []
    /// Rows that are committed already: where the pass wrote them, and where they are.
    var rewrites: [(written: Int, committed: Int)] = []
    var rowCount: Int { positions.count }

    mutating func append(token: TokenID, position: Int, in run: CellRun, cell: Int) {
        tokens.append(token)
        positions.append(Int32(position))
        cells.append(Int64(cell))
        table.append(Int32(run.start))
        table.append(Int32(position))
    }

    /// Repeats the last row, written to the scratch cell, and the last output, so that there are two of each.
    mutating func padToPairs(scratchCell: Int) {
        if positions.count == 1 {
            tokens.append(tokens[0])
            positions.append(positions[0])
            cells.append(Int64(scratchCell))
            table += table
        }
        if outputRows.count == 1 { outputRows.append(outputRows[0]) }
    }
}
