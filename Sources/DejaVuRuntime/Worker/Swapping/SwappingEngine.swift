package import DejaVuCore
package import DejaVuEngine
import DejaVuKV

/// A stage whose device holds fewer sequences than the stage: a device's engine with more memory below it.
///
/// To all others it is an engine with as many cells as the memory below has. Its `memory` is that memory, so replicas
/// are copied from it, frames land in it and what a replica holds is in it; the device is a cache above. Each pass
/// brings in what it lacks, if nobody has said before that it comes, and writes what it adds down. Since rows never
/// change, whoever leaves the device just goes.
package final class SwappingEngine: StageEngine {
    private struct Open {
        let record: SequenceRecord
        let cells: CellRun
        /// The tokens at the positions from 0, as far as they are known here.
        var tokens: [TokenID]
        var watermark: Int
        /// Where the device's engine has it open.
        var run: CellRun?

        /// The record with all tokens up to the watermark.
        var known: SequenceRecord {
            var record = record
            record.outputs = Array(tokens.dropFirst(record.prompt.count))
            return record
        }

        mutating func learn(_ entry: PassEntry) {
            if entry.end > tokens.count { tokens += entry.tokens.dropFirst(max(0, tokens.count - entry.first)) }
        }
    }

    package let stage: StageDescription
    private let device: any StageEngine
    private let space: SwapSpace
    private let copier: SwapCopier
    private let resources: SwapResources
    private var sequences: [SequenceID: Open] = [:]
    /// What the last pass has added and the memory below lacks.
    private var added: [(sequence: SequenceID, positions: Range<Int>)] = []
    private var buffer: [UInt8] = []
    package private(set) var lastWait = TimeSpan.zero

    /// - Parameters:
    ///   - device: the engine of the device's cells.
    ///   - cellCount: that the memory below is to have.
    ///   - progress: raised with every layer of rows that are brought in.
    /// - Throws: `.resourceExhausted` if there is not so much memory.
    package init(
        device: any StageEngine, cellCount: Int, resources: SwapResources, progress: ProgressCounter
    ) throws(DejaVuError) {
        let below = device.stage
        precondition(cellCount > below.cellCount, "a device that holds everything swaps nothing")
        self.device = device
        self.resources = resources
        stage = StageDescription(
            model: below.model, layers: below.layers, layerCount: below.layerCount, cellCount: cellCount,
            hiddenRowBytes: below.hiddenRowBytes, kvBytesPerPositionAndLayer: below.kvBytesPerPositionAndLayer,
            numericClass: below.numericClass)
        space = try SwapSpace(
            layerCount: below.layers.count, cellCount: cellCount, rowBytes: device.memory.rowBytes, resources: resources
        )
        copier = try SwapCopier(
            space: space, device: device.memory, deviceCellCount: below.cellCount, layers: below.layers,
            accountedRowBytes: below.kvBytesPerPositionAndLayer, resources: resources, progress: progress)
    }

    deinit { copier.stop() }

    package var memory: any StageMemory { space }
    package var announcements: (any PassAnnouncements)? { copier }
    package var rewriteMismatchCount: UInt64 { device.rewriteMismatchCount }

    package func open(_ record: SequenceRecord, cells: CellRun, watermark: Int) throws(DejaVuError) {
        guard sequences[record.id] == nil else {
            throw DejaVuError(.invalidArgument, "\(record.id) is open already", subject: "sequence")
        }
        guard cells.start >= 0, cells.count > 0, cells.start <= stage.cellCount - cells.count else {
            throw DejaVuError(
                .invalidArgument, "\(record.id) has cells beyond the \(stage.cellCount) of the stage", subject: "cells")
        }
        guard cells.count <= device.stage.cellCount else {
            throw DejaVuError(
                .invalidArgument,
                "\(record.id) has \(cells.count) cells, the device holds \(device.stage.cellCount) at one time",
                subject: "cells")
        }
        guard watermark >= 0, watermark <= min(record.knownCount, cells.count) else {
            throw DejaVuError(
                .invalidArgument, "\(record.id) cannot hold \(watermark) positions already", subject: "watermark")
        }
        sequences[record.id] = Open(
            record: record, cells: cells, tokens: record.prompt + record.outputs, watermark: watermark)
        copier.open(record.id, cells: cells, committed: watermark)
    }

    package func release(_ sequence: SequenceID) {
        guard let open = sequences.removeValue(forKey: sequence) else { return }
        if open.run != nil { device.release(sequence) }
        added.removeAll { $0.sequence == sequence }
        copier.release(sequence)
    }

    package func watermark(of sequence: SequenceID) -> Int { sequences[sequence]?.watermark ?? 0 }

    package func run(_ pass: Pass, hidden: [UInt8]?) throws(DejaVuError) -> StageOutput {
        lastWait = .zero
        // Of a pass that nobody settled.
        try settle()
        var cells = 0
        for entry in pass.entries {
            guard let open = sequences[entry.sequence] else {
                throw DejaVuError(.invalidArgument, "\(pass.id): \(entry.sequence) is not open", subject: "pass")
            }
            cells += open.cells.count
        }
        guard cells <= device.stage.cellCount else {
            throw DejaVuError(
                .invalidArgument,
                "\(pass.id) has sequences of \(cells) cells, the device holds \(device.stage.cellCount) at one time",
                subject: "pass")
        }
        let start = MonotonicClock.now
        let places = try copier.begin(pass.id, pass.entries.map(\.sequence))
        lastWait = MonotonicClock.now - start
        do throws(DejaVuError) {
            for sequence in places.left where sequences[sequence]?.run != nil {
                device.release(sequence)
                sequences[sequence]?.run = nil
            }
            for (entry, run) in zip(pass.entries, places.runs) { try place(entry.sequence, at: run) }
            let output = try device.run(pass, hidden: hidden)
            for entry in pass.entries { commit(entry) }
            return output
        } catch {
            copier.end([])
            throw error
        }
    }

    /// The device's engine hears where a sequence's rows have come to.
    private func place(_ sequence: SequenceID, at run: CellRun) throws(DejaVuError) {
        guard let open = sequences[sequence], open.run != run else { return }
        if open.run != nil { device.release(sequence) }
        sequences[sequence]?.run = run
        try device.open(open.known, cells: run, watermark: open.watermark)
    }

    private func commit(_ entry: PassEntry) {
        guard let watermark = sequences[entry.sequence]?.watermark else { return }
        sequences[entry.sequence]?.learn(entry)
        added.append((entry.sequence, min(watermark, entry.end)..<entry.end))
        sequences[entry.sequence]?.watermark = max(watermark, entry.end)
    }

    /// Writes down what the last pass has added.
    package func settle() throws(DejaVuError) {
        guard !added.isEmpty else { return }
        let start = MonotonicClock.now
        var seconds = 0.0
        var watermarks: [(sequence: SequenceID, watermark: Int)] = []
        do throws(DejaVuError) {
            for (sequence, positions) in added {
                guard let open = sequences[sequence], let run = open.run else { continue }
                try store(positions, from: run, to: open.cells)
                let target = open.cells.start + positions.lowerBound..<open.cells.start + positions.upperBound
                seconds += space.seconds(cells: target, accountedRowBytes: stage.kvBytesPerPositionAndLayer)
                resources.meter.stored(positions.count * stage.layers.count * stage.kvBytesPerPositionAndLayer)
                watermarks.append((sequence, open.watermark))
            }
        } catch {
            added.removeAll()
            copier.fail(error)
            copier.end([])
            throw error
        }
        added.removeAll()
        SwapCopier.wait(until: start + .seconds(seconds))
        copier.end(watermarks)
    }

    private func store(_ positions: Range<Int>, from run: CellRun, to cells: CellRun) throws(DejaVuError) {
        for layer in 0..<stage.layers.count {
            try SwapCopier.copy(
                layer, run.start + positions.lowerBound..<run.start + positions.upperBound, of: device.memory,
                to: cells.start + positions.lowerBound..<cells.start + positions.upperBound, of: space,
                through: &buffer)
        }
    }
}
