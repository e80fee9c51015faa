import DejaVuCore
import DejaVuEngine
import DejaVuGGUF
import DejaVuModel
import Foundation

/// The file that tests with a real model use.
enum ModelUnderTest {
    static let path: String? = ProcessInfo.processInfo.environment["DEJAVU_MODEL"]
    /// Whether speeds are to be printed.
    static let wantsBenchmark = ProcessInfo.processInfo.environment["DEJAVU_BENCH"] != nil
}

/// A chain of stages in this process, driven as a pipeline would be.
final class TestPipeline {
    let engines: [GGMLStageEngine]
    private var passCount: UInt64 = 0

    init(engines: [GGMLStageEngine]) { self.engines = engines }

    convenience init(
        file: GGUFFile, stages: Int = 1, cellCount: Int, kernelSet: KernelSet = .reference, threads: Int = 1,
        rowCountMax: Int = 512
    ) throws {
        let layers = try DecoderDescription(file: file).layerCount
        try self.init(
            engines: LayerRange.even(layers: layers, stages: stages).map { range in
                var options = StageEngineOptions(layers: range, cellCount: cellCount)
                options.kernelSet = kernelSet
                options.threadCount = threads
                options.rowCountMax = rowCountMax
                return try GGMLStageEngine(file: file, options: options)
            })
    }

    convenience init(path: String, stages: Int = 1, cellCount: Int, kernelSet: KernelSet = .reference) throws {
        try self.init(file: GGUFFile(path: path), stages: stages, cellCount: cellCount, kernelSet: kernelSet)
    }

    func pass(_ entries: [PassEntry]) -> Pass {
        passCount += 1
        return Pass(id: PassID(passCount), pipeline: PipelineID(0), epoch: Epoch(0), entries: entries)
    }

    func open(_ record: SequenceRecord, cells: CellRun) throws {
        for engine in engines { try engine.open(record, cells: cells) }
    }

    func release(_ sequence: SequenceID) {
        for engine in engines { engine.release(sequence) }
    }

    /// Runs a pass through all stages.
    func run(_ entries: [PassEntry]) throws -> [SampledToken] {
        let pass = pass(entries)
        var hidden: [UInt8]?
        for engine in engines {
            switch try engine.run(pass, hidden: hidden) {
            case .hidden(let rows): hidden = rows
            case .sampled(let tokens): return tokens
            }
        }
        return []
    }

    /// The logits of each entry that samples.
    func logits(_ entries: [PassEntry]) throws -> [[Float]] {
        let pass = pass(entries)
        var hidden: [UInt8]?
        for engine in engines.dropLast() {
            if case .hidden(let rows) = try engine.run(pass, hidden: hidden) { hidden = rows }
        }
        guard let last = engines.last else { return [] }
        return try last.logits(pass, hidden: hidden)
    }

    /// Generates greedily for several prompts at once: prompts go in chunks, beside the steps of those that are done.
    func generate(_ prompts: [[TokenID]], count: Int, chunk: Int, sampling: SamplingParameters = .greedy) throws
        -> [[TokenID]]
    {
        var known = prompts
        var done = [Int](repeating: 0, count: prompts.count)
        var start = 0
        for (index, prompt) in prompts.enumerated() {
            let record = SequenceRecord(
                id: SequenceID(UInt64(index + 1)), request: RequestID(1), choice: index, prompt: prompt,
                sampling: sampling, outputCountMax: count, stopTokens: [])
            let size = CellRun.count(forPositions: record.positionCountMax)
            try open(record, cells: CellRun(start: start, count: size))
            start += size
        }
        defer { for index in prompts.indices { release(SequenceID(UInt64(index + 1))) } }
        while true {
            var entries: [PassEntry] = []
            for index in prompts.indices where known[index].count < prompts[index].count + count {
                let end = min(done[index] + chunk, known[index].count)
                entries.append(
                    PassEntry(
                        sequence: SequenceID(UInt64(index + 1)), first: done[index],
                        tokens: Array(known[index][done[index]..<end]), samples: end == known[index].count))
                done[index] = end
            }
            if entries.isEmpty { break }
            for token in try run(entries) {
                let index = Int(token.sequence.rawValue) - 1
                precondition(token.position == known[index].count, "a token out of turn")
                known[index].append(token.token)
            }
        }
        return zip(known, prompts).map { Array($0.dropFirst($1.count)) }
    }
}
