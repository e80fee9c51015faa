import DejaVuCore
import DejaVuKV

/// A stage that computes the hash chain over real cells: what is lost, stale or misplaced changes the text.
///
/// It also checks what a stage must never be asked to do, and says so instead of throwing.
struct EmulatedStage: Sendable {
    enum Output {
        case hidden([UInt64])
        case sampled([SampledToken])
    }

    private struct Open: Sendable {
        var record: SequenceRecord
        var cells: CellRun
        var watermark: Int
        /// The tokens at the positions from 0, as far as they are known here.
        var tokens: [TokenID]
        /// Of the first 0, 1, … of them; as far as they were asked for.
        var chains = [TokenChain()]
    }

    let layers: LayerRange
    let layerCount: Int
    let vocabularyCount: Int
    let cellCount: Int
    /// Layer by layer, the KV row in each cell.
    private var rows: [UInt64]
    /// Ascending by id.
    private var open: [Open] = []
    /// Where passes compute, if that is not over the cells themselves.
    private(set) var device: SimulatedDevice?

    init(
        layers: LayerRange, layerCount: Int, vocabularyCount: Int, cellCount: Int, device: SimulatedDevice? = nil
    ) {
        self.device = device
        self.layers = layers
        self.layerCount = layerCount
        self.vocabularyCount = vocabularyCount
        self.cellCount = cellCount
        rows = [UInt64](repeating: 0xDEAD, count: layers.count * cellCount)
    }

    var openSequences: [SequenceID] { open.map { $0.record.id } }

    private func index(of sequence: SequenceID) -> Int? { open.firstIndex { $0.record.id == sequence } }

    func record(of sequence: SequenceID) -> SequenceRecord? { index(of: sequence).map { open[$0].record } }

    /// The tokens from position 0 on, as far as they are known here; empty if the sequence is not.
    func tokens(of sequence: SequenceID) -> [TokenID] { index(of: sequence).map { open[$0].tokens } ?? [] }

    mutating func open(_ record: SequenceRecord, cells: CellRun) -> String? {
        if index(of: record.id) != nil { return "\(record.id) was opened twice" }
        if cells.start < 0 || cells.end > cellCount { return "\(record.id) was given cells that do not exist" }
        for other in open where cells.start < other.cells.end && other.cells.start < cells.end {
            return "\(record.id) was given cells of \(other.record.id), which is still open"
        }
        open.append(Open(record: record, cells: cells, watermark: 0, tokens: record.prompt + record.outputs))
        if let device, cells.count > device.cellCount { return "\(record.id) has more cells than the device" }
        device?.residency.open(record.id, cellCount: cells.count, committed: 0)
        return nil
    }

    mutating func release(_ sequence: SequenceID) {
        open.removeAll { $0.record.id == sequence }
        device?.residency.release(sequence)
    }

    /// A pass will come.
    mutating func announce(_ pass: PassID, _ sequences: [SequenceID]) {
        device?.residency.announce(pass, sequences)
        bringIn()
    }

    private mutating func bringIn() {
        let open = open
        device?.bring(from: rows, cellCount: cellCount) { id in open.first { $0.record.id == id }?.cells.start }
    }

    /// - Returns: the output, or in words what must not have been asked.
    mutating func run(_ pass: Pass, hidden: [UInt64]?) -> (output: Output?, violation: String?) {
        var results: [UInt64] = []
        var tokens: [SampledToken] = []
        var offset = 0
        if device != nil, let violation = bringIn(pass) { return (nil, violation) }
        defer { device?.residency.end() }
        for entry in pass.entries {
            guard let at = index(of: entry.sequence) else { return (nil, "\(pass.id): \(entry.sequence) is not open") }
            guard entry.first <= open[at].watermark else {
                return (nil, "\(pass.id): \(entry.sequence) starts at \(entry.first), above \(open[at].watermark)")
            }
            guard entry.end <= open[at].cells.count else {
                return (nil, "\(pass.id): \(entry.sequence) leaves its cells")
            }
            var last: UInt64 = 0
            for (row, token) in entry.tokens.enumerated() {
                let input = hidden.map { $0[offset + row] } ?? EmulatedChain.embedding(of: token)
                guard let value = runRow(input, position: entry.first + row, at: at) else {
                    return (
                        nil, "\(pass.id): \(entry.sequence) computes another row at \(entry.first + row) than before"
                    )
                }
                results.append(value)
                last = value
            }
            offset += entry.tokens.count
            writeDown(entry, at)
            open[at].watermark = max(open[at].watermark, entry.end)
            learn(entry.tokens, at: entry.first, of: at)
            if entry.samples, layers.end == layerCount {
                let token = EmulatedChain.token(
                    output: last, sampling: open[at].record.sampling, position: entry.end,
                    vocabularyCount: vocabularyCount)
                tokens.append(SampledToken(sequence: entry.sequence, position: entry.end, token: token))
            }
        }
        return (layers.end == layerCount ? .sampled(tokens) : .hidden(results), nil)
    }

    private mutating func runRow(_ input: UInt64, position: Int, at index: Int) -> UInt64? {
        let watermark = open[index].watermark
        if device?.residency.run(of: open[index].record.id) != nil {
            return device?.runRow(input, position, of: open[index].record.id, watermark: watermark, layers)
        }
        return Self.runRow(
            input, position, watermark: watermark, layers, &rows, cellCount: cellCount, start: open[index].cells.start)
    }

    /// Rows below the watermark are committed: they are read, never written, and must equal what is computed again.
    static func runRow(
        _ input: UInt64, _ position: Int, watermark: Int, _ layers: LayerRange, _ rows: inout [UInt64], cellCount: Int,
        start: Int
    ) -> UInt64? {
        var value = input
        for layer in layers.indices {
            let base = (layer - layers.first) * cellCount + start
            let row = EmulatedChain.row(input: value, layer: layer, position: position)
            if position < watermark {
                guard rows[base + position] == row else { return nil }
            } else {
                rows[base + position] = row
            }
            var attended: UInt64 = 0
            for other in 0...position { attended &+= EmulatedChain.contribution(of: rows[base + other], at: other) }
            value = EmulatedChain.output(input: value, attended: attended)
        }
        return value
    }

    // MARK: The device

    /// - Returns: what must not be, in words.
    private mutating func bringIn(_ pass: Pass) -> String? {
        for entry in pass.entries where index(of: entry.sequence) == nil {
            return "\(pass.id): \(entry.sequence) is not open"
        }
        device?.residency.begin(pass.id, pass.entries.map(\.sequence))
        bringIn()
        guard device?.residency.isReady == true else { return "\(pass.id) waits for rows that never come" }
        device?.residency.run()
        device?.residency.checkIntegrity()
        return nil
    }

    /// What an entry has added on the device.
    private mutating func writeDown(_ entry: PassEntry, _ at: Int) {
        guard let device, let run = device.residency.run(of: entry.sequence) else { return }
        for layer in 0..<layers.count {
            let target = layer * cellCount + open[at].cells.start
            let source = layer * device.cellCount + run.start
            for position in max(entry.first, open[at].watermark)..<max(entry.end, open[at].watermark) {
                rows[target + position] = device.rows[source + position]
            }
        }
        self.device?.residency.committed(entry.sequence, to: entry.end)
    }
}

/// What streams do with a stage's memory.
extension EmulatedStage {
    func watermark(of sequence: SequenceID) -> Int { index(of: sequence).map { open[$0].watermark } ?? 0 }

    private mutating func learn(_ tokens: [TokenID], at first: Int, of index: Int) {
        let known = open[index].tokens.count
        if first + tokens.count > known { open[index].tokens += tokens.dropFirst(max(0, known - first)) }
    }

    /// A sequence whose rows came in frames is the stage's own now.
    mutating func adopt(_ record: SequenceRecord) -> String? {
        guard let index = index(of: record.id) else { return "\(record.id) was adopted but is not here" }
        open[index].record = record
        learn(record.prompt + record.outputs, at: 0, of: index)
        return nil
    }

    /// The committed rows of a span, packed, with its tokens and the hash of all up to its end; or nil if that must not
    /// have been asked.
    mutating func read(_ span: Span) -> (rows: [UInt64], tokens: [TokenID], tokensHash: UInt64)? {
        guard let index = index(of: span.sequence), span.positions.upperBound <= open[index].watermark,
            span.positions.upperBound <= open[index].tokens.count
        else { return nil }
        var packed: [UInt64] = []
        packed.reserveCapacity(span.rowCount)
        for layer in span.layers.indices {
            let base = (layer - layers.first) * cellCount + open[index].cells.start
            packed += rows[(base + span.positions.lowerBound)..<(base + span.positions.upperBound)]
        }
        while open[index].chains.count <= span.positions.upperBound {
            let count = open[index].chains.count
            var chain = open[index].chains[count - 1]
            chain.append(open[index].tokens[count - 1])
            open[index].chains.append(chain)
        }
        return (
            packed, Array(open[index].tokens[span.positions]), open[index].chains[span.positions.upperBound].hash
        )
    }

    /// Writes some of a frame's packed rows: those whose place in it is in `places` and in the arrival's parts.
    mutating func land(_ packed: [UInt64], of arrival: Arrival, places: Range<Int>) -> String? {
        let span = arrival.span
        guard let index = index(of: span.sequence) else { return "a frame lands in \(span.sequence), which is gone" }
        for part in arrival.parts {
            for layer in part.layers.indices {
                let base = (layer - layers.first) * cellCount + open[index].cells.start
                for position in part.positions {
                    let place =
                        (layer - span.layers.first) * span.positions.count + position
                        - span.positions.lowerBound
                    guard places.contains(place) else { continue }
                    if position < open[index].watermark { return "a frame overwrites a row of \(span.sequence)" }
                    if position >= open[index].cells.count { return "a frame leaves the cells of \(span.sequence)" }
                    rows[base + position] = packed[place]
                }
            }
        }
        return nil
    }

    mutating func commit(_ sequence: SequenceID, tokens: [TokenID], at first: Int, watermark: Int) {
        guard let index = index(of: sequence) else { return }
        open[index].watermark = max(open[index].watermark, watermark)
        learn(tokens, at: first, of: index)
        // What came is not on the device.
        device?.residency.release(sequence)
        device?.residency.open(sequence, cellCount: open[index].cells.count, committed: open[index].watermark)
    }
}
