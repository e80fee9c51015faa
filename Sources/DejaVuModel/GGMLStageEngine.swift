package import DejaVuCore
package import DejaVuEngine
import DejaVuGGML
package import DejaVuGGUF

/// Runs a stage of a model with ggml. Used by one thread at a time.
///
/// Row invariance on the CPU: the reference products are used in shapes in which each row is computed alone (some
/// never with a single row, see `StageWeights.needsRowPairs`), norms, rotation and activation work row by row,
/// and attention is our own, over exactly the row's positions in order. So a pass may be cut and mixed at will, and is:
/// passes longer than `rowCountMax` are computed in parts.
package final class GGMLStageEngine: StageEngine {
    package let stage: StageDescription
    package let model: DecoderDescription
    let options: StageEngineOptions
    private let backend: Backend
    private let weights: StageWeights
    let cells: CellStore
    private var graphs: StageGraphCache
    private var sequences: [SequenceID: OpenSequence] = [:]
    private var sampler: Sampler
    package internal(set) var rewriteMismatchCount: UInt64 = 0

    package convenience init(path: String, options: StageEngineOptions) throws(DejaVuError) {
        try self.init(file: GGUFFile(path: path), options: options)
    }

    /// Checks the file, maps the stage's weights and makes its cells.
    ///
    /// - Throws: `.invalidFile` or `.unsupported` naming a field or tensor, `.invalidArgument` naming an option,
    ///   `.notFound` for the backend, `.resourceExhausted`.
    package init(file: GGUFFile, options: StageEngineOptions) throws(DejaVuError) {
        let model = try DecoderDescription(file: file)
        try options.check(model: model)
        let backend = try Backend(name: options.backend, threadCount: options.threadCount)
        guard backend.runsHostKernels else {
            throw DejaVuError(.unsupported, "attention is computed on the CPU only, not on \(backend.name)")
        }
        weights = try StageWeights(file: file, model: model, options: options, backend: backend)
        cells = try CellStore(
            layerCount: options.layers.count, keySize: model.keySize, cellCount: options.cellCount,
            // One more than rows, for the row that makes a single one two.
            scratchCount: options.checksRewrites ? options.rowCountMax + 1 : 1, backend: backend)
        let attention = AttentionOperator(
            heads: model.headCount, keyHeads: model.keyHeadCount, headSize: model.headSize,
            scale: 1 / Float(model.headSize).squareRoot(), positionCountMax: options.cellCount,
            threadCount: options.threadCount, isNative: options.kernelSet == .native, progress: options.progress)
        let builder = StageGraphBuilder(
            model: model, range: options.layers, weights: weights, cells: cells, attention: attention,
            operators: RowOperators(epsilon: model.normEpsilon, threadCount: options.threadCount))
        graphs = StageGraphCache(builder: builder, backend: backend, countMax: options.graphCountMax)
        sampler = Sampler(vocabularySize: model.vocabularySize)
        stage = StageDescription(
            model: file.modelID, layers: options.layers, layerCount: model.layerCount, cellCount: options.cellCount,
            hiddenRowBytes: model.hiddenRowBytes, kvBytesPerPositionAndLayer: model.kvBytesPerPositionAndLayer,
            numericClass: GGMLStageEngine.numericClass(
                model: file.modelID, description: model, backend: options.backend, kernelSet: options.kernelSet))
        self.model = model
        self.options = options
        self.backend = backend
    }

    /// What decides the bits of this engine's rows.
    package static func numericClass(
        model: ModelID, description: DecoderDescription, backend: String, kernelSet: KernelSet
    ) -> NumericClass {
        NumericClass(parts: [
            model.digest, backend, GGMLLibrary.version, GGMLLibrary.instructionSet, kernelSet.rawValue,
            String(kernelSet.version), "kv:f16", "\(description.rotation)", String(description.contextLength),
        ])
    }

    /// Bytes of memory to compute in, so far.
    package var computeByteCount: Int { graphs.computeByteCount }

    package var memory: any StageMemory { cells }

    package func open(_ record: SequenceRecord, cells run: CellRun, watermark: Int) throws(DejaVuError) {
        guard sequences[record.id] == nil else {
            throw DejaVuError(.invalidArgument, "\(record.id) is open already", subject: "sequence")
        }
        guard run.start >= 0, run.count > 0, run.start % CellRun.granularity == 0,
            run.count % CellRun.granularity == 0, run.start <= cells.cellCount - run.count
        else {
            throw DejaVuError(
                .invalidArgument, "cells \(run.start)+\(run.count) are no run of \(cells.cellCount) cells",
                subject: "cells")
        }
        if let other = sequences.values.first(where: { $0.cells.start < run.end && run.start < $0.cells.end }) {
            throw DejaVuError(
                .invalidArgument, "cells \(run.start)+\(run.count) belong to \(other.record.id)", subject: "cells")
        }
        guard watermark >= 0, watermark <= min(record.knownCount, run.count) else {
            throw DejaVuError(
                .invalidArgument, "\(record.id) cannot hold \(watermark) positions already", subject: "watermark")
        }
        try check(record.prompt)
        try check(record.outputs)
        try record.sampling.check(vocabularySize: model.vocabularySize)
        sequences[record.id] = OpenSequence(record: record, cells: run, watermark: watermark)
    }

    package func release(_ sequence: SequenceID) { sequences[sequence] = nil }

    package func watermark(of sequence: SequenceID) -> Int { sequences[sequence]?.watermark ?? 0 }

    package func run(_ pass: Pass, hidden: [UInt8]?) throws(DejaVuError) -> StageOutput {
        let open = try validate(pass, hidden)
        if !stage.isLast {
            var rows: [UInt8] = []
            rows.reserveCapacity(pass.rowCount * stage.hiddenRowBytes)
            try compute(pass, open, hidden) { graph, batch in
                guard let output = graph.output else { preconditionFailure("a stage without hidden rows") }
                rows.append(contentsOf: self.bytes(output, rows: batch))
            }
            commit(pass)
            return .hidden(rows)
        }
        var logits = [Float](repeating: 0, count: model.vocabularySize)
        var tokens: [SampledToken] = []
        try compute(pass, open, hidden) { (graph, batch) throws(DejaVuError) in
            for (index, entryIndex) in batch.outputEntries.enumerated() {
                self.read(graph, output: index, into: &logits)
                tokens.append(try self.sample(pass.entries[entryIndex], open[entryIndex], &logits))
            }
        }
        commit(pass)
        return .sampled(tokens)
    }

    /// Runs a pass on the last stage and returns the logits of each entry that samples, in order, instead of tokens.
    package func logits(_ pass: Pass, hidden: [UInt8]?) throws(DejaVuError) -> [[Float]] {
        let open = try validate(pass, hidden)
        precondition(stage.isLast, "logits belong to the last stage")
        var rows: [[Float]] = []
        var row = [Float](repeating: 0, count: model.vocabularySize)
        try compute(pass, open, hidden) { graph, batch in
            for index in batch.outputEntries.indices {
                self.read(graph, output: index, into: &row)
                rows.append(row)
            }
        }
        commit(pass)
        return rows
    }

    /// The committed K and V of a sequence in one layer of the stage, F16 rows in order of position.
    ///
    /// - Precondition: the positions are below the watermark, the layer is one of the stage's.
    package func keyValueRows(
        of sequence: SequenceID, layer: Int, positions: Range<Int>
    ) -> (keys: [UInt8], values: [UInt8]) {
        guard let open = sequences[sequence], positions.upperBound <= open.watermark else {
            preconditionFailure("positions \(positions) of \(sequence) are not committed")
        }
        precondition(stage.layers.indices.contains(layer), "layer \(layer) is not in \(stage.layers)")
        let start = open.cells.start
        return cells.rows(
            layer: layer - stage.layers.first, cells: start + positions.lowerBound..<start + positions.upperBound)
    }
}

extension GGMLStageEngine {
    private func check(_ tokens: [TokenID]) throws(DejaVuError) {
        guard tokens.allSatisfy({ $0 >= 0 && Int($0) < model.vocabularySize }) else {
            throw DejaVuError(
                .invalidArgument, "a token is not in the vocabulary of \(model.vocabularySize)", subject: "tokens")
        }
    }

    /// Checks a pass before anything is computed; returns its entries' sequences as they are before it.
    private func validate(_ pass: Pass, _ hidden: [UInt8]?) throws(DejaVuError) -> [OpenSequence] {
        func wrong(_ problem: String) -> DejaVuError {
            DejaVuError(.invalidArgument, "\(pass.id): \(problem)", subject: "pass")
        }
        var open: [OpenSequence] = []
        var seen: Set<SequenceID> = []
        for entry in pass.entries {
            guard let sequence = sequences[entry.sequence] else { throw wrong("\(entry.sequence) is not open") }
            guard seen.insert(entry.sequence).inserted else { throw wrong("\(entry.sequence) appears twice") }
            guard !entry.tokens.isEmpty else { throw wrong("\(entry.sequence) has no tokens") }
            guard entry.first >= 0, entry.first <= sequence.watermark else {
                throw wrong("\(entry.sequence) starts at \(entry.first), above its watermark \(sequence.watermark)")
            }
            guard entry.tokens.count <= sequence.cells.count - entry.first else {
                throw wrong("\(entry.sequence) passes the end of its \(sequence.cells.count) cells")
            }
            try check(entry.tokens)
            open.append(sequence)
        }
        guard !open.isEmpty else { throw wrong("has no entries") }
        let wanted = stage.isFirst ? nil : pass.rowCount * stage.hiddenRowBytes
        guard hidden?.count == wanted else {
            throw wrong("has \(hidden?.count ?? 0) bytes of hidden rows instead of \(wanted ?? 0)")
        }
        return open
    }

    /// Runs a pass in parts and hands over each part's graph when it has been computed.
    private func compute(
        _ pass: Pass, _ open: [OpenSequence], _ hidden: [UInt8]?,
        _ finished: (StageGraph, RowBatch) throws(DejaVuError) -> Void
    ) throws(DejaVuError) {
        var batch = RowBatch()
        var firstRow = 0
        for (index, entry) in pass.entries.enumerated() {
            let sequence = open[index]
            for (offset, token) in entry.tokens.enumerated() {
                let position = entry.first + offset
                var cell = sequence.cells.start + position
                if position < sequence.watermark {
                    let scratch = cells.scratchCell(row: batch.rowCount)
                    batch.rewrites.append((written: scratch, committed: cell))
                    cell = scratch
                }
                batch.append(token: token, position: position, in: sequence.cells, cell: cell)
                if stage.isLast && entry.samples && offset == entry.tokens.count - 1 {
                    batch.outputRows.append(Int32(batch.rowCount - 1))
                    batch.outputEntries.append(index)
                }
                if batch.rowCount == options.rowCountMax {
                    try compute(batch, firstRow: firstRow, hidden, finished)
                    firstRow += batch.rowCount
                    batch = RowBatch()
                }
            }
        }
        if batch.rowCount > 0 { try compute(batch, firstRow: firstRow, hidden, finished) }
    }

    private func compute(
        _ batch: RowBatch, firstRow: Int, _ hidden: [UInt8]?,
        _ finished: (StageGraph, RowBatch) throws(DejaVuError) -> Void
    ) throws(DejaVuError) {
        var padded = batch
        if weights.needsRowPairs { padded.padToPairs(scratchCell: cells.scratchCell(row: batch.rowCount)) }
        let graph = try graphs.graph(
            StageGraphKey(rowCount: padded.rowCount, outputCount: padded.outputRows.count))
        graph.tokens?.set(padded.tokens)
        graph.positions.set(padded.positions)
        graph.cells.set(padded.cells)
        graph.table?.set(padded.table)
        graph.outputRows?.set(padded.outputRows)
        if let input = graph.hiddenIn, let hidden {
            let rowBytes = stage.hiddenRowBytes
            hidden.withUnsafeBytes { all in
                for row in 0..<padded.rowCount {
                    let source = (firstRow + min(row, batch.rowCount - 1)) * rowBytes
                    input.set(UnsafeRawBufferPointer(rebasing: all[source..<source + rowBytes]), at: row * rowBytes)
                }
            }
        }
        try backend.compute(graph.graph)
        if options.checksRewrites { checkRewrites(batch) }
        try finished(graph, batch)
    }

    private func commit(_ pass: Pass) {
        for entry in pass.entries {
            guard var sequence = sequences.removeValue(forKey: entry.sequence) else { continue }
            sequence.learn(entry)
            sequence.watermark = max(sequence.watermark, entry.end)
            sequences[entry.sequence] = sequence
        }
    }

    private func bytes(_ output: Tensor, rows batch: RowBatch) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: batch.rowCount * stage.hiddenRowBytes)
        bytes.withUnsafeMutableBytes { output.get($0) }
        return bytes
    }

    private func read(_ graph: StageGraph, output index: Int, into logits: inout [Float]) {
        guard let output = graph.output else { preconditionFailure("logits that were not computed") }
        logits.withUnsafeMutableBytes { output.get($0, at: index * output.rowStride) }
    }

    private func sample(
        _ entry: PassEntry, _ sequence: OpenSequence, _ logits: inout [Float]
    ) throws(DejaVuError) -> SampledToken {
        var known = sequence
        known.learn(entry)
        return try sampler.sample(
            sequence: entry.sequence, logits: &logits, history: known.tokens[..<entry.end],
            promptCount: sequence.record.prompt.count, parameters: sequence.record.sampling)
    }
}
