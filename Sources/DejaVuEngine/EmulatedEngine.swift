public import DejaVuCore
import Glibc

/// A stage that computes nothing but hashes, and takes the time that a profile says.
///
/// Every KV row lies in memory and every pass reads all rows that it attends to, so that a lost, stale or misplaced one
/// changes the text (see `EmulatedChain`). The text does not depend on times, scale or how layers are cut into stages.
public final class EmulatedEngine: StageEngine {
    public let stage: StageDescription
    private let profile: ModelProfile
    private let rows: EmulatedRows
    private let progress: ProgressCounter
    private let meter: EmulationMeter
    private var open: [SequenceID: OpenSequence] = [:]

    private struct OpenSequence {
        let record: SequenceRecord
        let cells: CellRun
        var watermark: Int
    }

    /// - Throws: `.invalidArgument` if the profile, the layers or the cells make no sense, `.resourceExhausted` if
    ///   there is no memory for the cells.
    public init(
        profile: ModelProfile, layers: LayerRange, cellCount: Int, progress: ProgressCounter = ProgressCounter(),
        meter: EmulationMeter = EmulationMeter()
    ) throws(DejaVuError) {
        try profile.validate()
        guard layers.count > 0, layers.end <= profile.layerCount else {
            throw DejaVuError(.invalidArgument, "layers \(layers) of \(profile.layerCount) are no stage")
        }
        guard cellCount >= 0, cellCount % CellRun.granularity == 0 else {
            throw DejaVuError(.invalidArgument, "\(cellCount) cells are not a multiple of \(CellRun.granularity)")
        }
        self.profile = profile
        self.progress = progress
        self.meter = meter
        rows = try EmulatedRows(layerCount: layers.count, cellCount: cellCount, rowBytes: profile.scaledKVRowBytes)
        stage = StageDescription(
            model: profile.model, layers: layers, layerCount: profile.layerCount, cellCount: cellCount,
            hiddenRowBytes: profile.scaledHiddenRowBytes,
            kvBytesPerPositionAndLayer: profile.kvBytesPerPositionAndLayer, numericClass: profile.numericClass)
    }

    public var memory: any StageMemory { rows }

    public func open(_ record: SequenceRecord, cells: CellRun, watermark: Int) throws(DejaVuError) {
        guard watermark >= 0, watermark <= min(record.knownCount, cells.count) else {
            throw DejaVuError(.invalidArgument, "\(record.id) cannot hold \(watermark) positions already")
        }
        guard cells.start >= 0, cells.count > 0, cells.start <= stage.cellCount,
            cells.count <= stage.cellCount - cells.start
        else {
            throw DejaVuError(.invalidArgument, "\(record.id) has cells beyond the \(stage.cellCount) of the stage")
        }
        guard open[record.id] == nil else { throw DejaVuError(.invalidArgument, "\(record.id) is open already") }
        for (other, state) in open where state.cells.start < cells.end && cells.start < state.cells.end {
            throw DejaVuError(.invalidArgument, "the cells of \(record.id) are those of \(other)")
        }
        open[record.id] = OpenSequence(record: record, cells: cells, watermark: watermark)
    }

    public func release(_ sequence: SequenceID) { open[sequence] = nil }

    public func watermark(of sequence: SequenceID) -> Int { open[sequence]?.watermark ?? 0 }

    public func run(_ pass: Pass, hidden: [UInt8]?) throws(DejaVuError) -> StageOutput {
        let start = now(CLOCK_MONOTONIC)
        let processorStart = now(CLOCK_THREAD_CPUTIME_ID)
        try check(pass, hidden: hidden)
        var values = stage.isFirst ? embeddings(of: pass) : hiddenValues(hidden ?? [])
        var usage = EmulationUsage()
        for layer in 0..<stage.layers.count {
            var row = 0
            for entry in pass.entries {
                let range = row..<(row + entry.tokens.count)
                usage.rewriteMismatches += run(entry, layer: layer, values: &values, range: range)
                row = range.upperBound
            }
            progress.advance()
        }
        for entry in pass.entries {
            let watermark = watermark(of: entry.sequence)
            open[entry.sequence]?.watermark = max(watermark, entry.end)
        }
        let output: StageOutput =
            stage.isLast ? .sampled(sample(pass, values)) : .hidden(hiddenBytes(of: values))
        wait(from: start, for: profile.passTime(of: pass, layers: stage.layers), usage: &usage)
        usage.processor = now(CLOCK_THREAD_CPUTIME_ID) - processorStart
        meter.add(usage)
        return output
    }

    private func check(_ pass: Pass, hidden: [UInt8]?) throws(DejaVuError) {
        for entry in pass.entries {
            guard let sequence = open[entry.sequence] else {
                throw DejaVuError(.invalidArgument, "\(entry.sequence) is not open here")
            }
            guard entry.first >= 0, entry.first <= sequence.watermark, entry.end <= sequence.cells.count,
                !entry.tokens.isEmpty
            else {
                throw DejaVuError(
                    .invalidArgument,
                    "\(entry.sequence) cannot run \(entry.first)..<\(entry.end): it holds \(sequence.watermark) "
                        + "positions in \(sequence.cells.count) cells")
            }
            guard entry.tokens.allSatisfy({ $0 >= 0 && Int($0) < profile.vocabularyCount }) else {
                throw DejaVuError(.invalidArgument, "\(entry.sequence) has a token that the vocabulary has not")
            }
        }
        let bytes = stage.isFirst ? nil : pass.rowCount * stage.hiddenRowBytes
        guard hidden?.count == bytes else {
            throw DejaVuError(
                .invalidArgument,
                "a pass of \(pass.rowCount) rows came with \(hidden?.count ?? 0) bytes of them, not \(bytes ?? 0)"
            )
        }
    }

    /// One layer for one entry. Rows below the watermark are compared and left as they are.
    ///
    /// - Returns: how many of those were not what they should be.
    private func run(_ entry: PassEntry, layer: Int, values: inout [UInt64], range: Range<Int>) -> Int {
        guard let sequence = open[entry.sequence] else { preconditionFailure("\(entry.sequence) was checked") }
        var mismatches = 0
        var attended = rows.attended(layer: layer, run: sequence.cells, positions: entry.first)
        for (offset, index) in range.enumerated() {
            let position = entry.first + offset
            let cell = sequence.cells.start + position
            let row = EmulatedChain.row(
                input: values[index], layer: stage.layers.first + layer, position: position)
            if position >= sequence.watermark { rows.write(row, layer: layer, cell: cell) }
            let kept = rows.read(layer: layer, cell: cell)
            if kept != row { mismatches += 1 }
            attended &+= EmulatedChain.contribution(of: kept, at: position)
            values[index] = EmulatedChain.output(input: values[index], attended: attended)
        }
        return mismatches
    }

    private func embeddings(of pass: Pass) -> [UInt64] {
        pass.entries.flatMap { $0.tokens.map(EmulatedChain.embedding(of:)) }
    }

    private func sample(_ pass: Pass, _ values: [UInt64]) -> [SampledToken] {
        var tokens: [SampledToken] = []
        var row = 0
        for entry in pass.entries {
            row += entry.tokens.count
            guard entry.samples, let record = open[entry.sequence]?.record else { continue }
            let token = EmulatedChain.token(
                output: values[row - 1], sampling: record.sampling, position: entry.end,
                vocabularyCount: profile.vocabularyCount)
            tokens.append(described(token, of: record, at: entry.end, output: values[row - 1]))
        }
        return tokens
    }

    /// Made-up probabilities in the right form: the chosen token first, each next one half as likely.
    private func described(
        _ token: TokenID, of record: SequenceRecord, at position: Int, output: UInt64
    ) -> SampledToken {
        guard let count = record.sampling.topLogprobs else {
            return SampledToken(sequence: record.id, position: position, token: token)
        }
        let best = Float(-0.1 - unitInterval(mix64(output)) * 0.5)
        let alternatives = (0..<min(count, profile.vocabularyCount)).map { index in
            TokenWeight(
                token: TokenID((Int(token) + index) % profile.vocabularyCount),
                weight: best - 0.693_147_2 * Float(index))
        }
        return SampledToken(
            sequence: record.id, position: position, token: token, logprob: best, alternatives: alternatives)
    }

    private func hiddenBytes(of values: [UInt64]) -> [UInt8] {
        let words = stage.hiddenRowBytes / 8
        return [UInt8](unsafeUninitializedCapacity: values.count * words * 8) { bytes, count in
            for (row, value) in values.enumerated() {
                for word in 0..<words {
                    UnsafeMutableRawBufferPointer(bytes).storeBytes(
                        of: EmulatedRows.word(word, of: value), toByteOffset: (row * words + word) * 8, as: UInt64.self)
                }
            }
            count = values.count * words * 8
        }
    }

    /// The values of hidden rows; a damaged row gives another value.
    private func hiddenValues(_ bytes: [UInt8]) -> [UInt64] {
        let words = stage.hiddenRowBytes / 8
        return bytes.withUnsafeBytes { bytes in
            (0..<(bytes.count / (words * 8))).map { row in
                let value = bytes.loadUnaligned(fromByteOffset: row * words * 8, as: UInt64.self)
                var damage: UInt64 = 0
                for word in 1..<max(words, 1) {
                    let found = bytes.loadUnaligned(fromByteOffset: (row * words + word) * 8, as: UInt64.self)
                    if found != EmulatedRows.word(word, of: value) { damage = mix64(damage ^ found ^ UInt64(word)) }
                }
                return value ^ damage
            }
        }
    }

    /// Sleeps until the pass has taken its time, hashing included.
    private func wait(from start: TimeSpan, for duration: TimeSpan, usage: inout EmulationUsage) {
        usage.passes = 1
        usage.emulated = duration
        guard duration > .zero else { return }
        let deadline = start + duration
        var until = timespec(
            tv_sec: Int(deadline.nanoseconds / 1_000_000_000), tv_nsec: Int(deadline.nanoseconds % 1_000_000_000))
        while clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nil) == EINTR {}
        let late = now(CLOCK_MONOTONIC) - deadline
        usage.latePasses = late.nanoseconds * 50 > duration.nanoseconds ? 1 : 0
    }

    private func now(_ clock: clockid_t) -> TimeSpan {
        var time = timespec()
        clock_gettime(clock, &time)
        return TimeSpan(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
}
