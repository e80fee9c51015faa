package import DejaVuCore
import DejaVuEngine
package import DejaVuGGUF

/// Measures one stage that holds the whole model, as llama-bench does: prompts and decoding of random tokens, without
/// sampling rules.
package enum EngineBenchmark {
    package struct Result: Hashable, Codable, Sendable {
        /// `prompt 512`, `decode batch 8`.
        package let name: String
        package let tokenCount: Int
        package let elapsed: TimeSpan
        package var tokensPerSecond: Double { Double(tokenCount) / elapsed.seconds }
    }

    /// Runs a prompt of `promptTokens`, then for each batch size `steps` steps of that many sequences.
    ///
    /// Everything runs once before it is measured; each measurement is the fastest of `repetitions`. Use a thread of
    /// its own: this computes for seconds.
    package static func run(
        file: GGUFFile, promptTokens: Int = 512, decodeBatch: [Int] = [1, 8], steps: Int = 64, threads: Int = 1,
        kernelSet: KernelSet, repetitions: Int = 3, progress: (String) -> Void = { _ in }
    ) throws(DejaVuError) -> [Result] {
        precondition(promptTokens > 0 && steps > 0 && repetitions > 0 && decodeBatch.allSatisfy { $0 > 0 })
        let model = try DecoderDescription(file: file)
        let run = CellRun.count(forPositions: max(promptTokens, steps + 1))
        var options = StageEngineOptions(
            layers: LayerRange(0, model.layerCount), cellCount: run * (decodeBatch + [1]).reduce(1, max))
        options.threadCount = threads
        options.spreadsThreads = true
        options.kernelSet = kernelSet
        var bench = Bench(
            engine: try GGMLStageEngine(file: file, options: options), vocabularySize: model.vocabularySize, run: run)
        var results: [Result] = []
        for (name, batch) in [("prompt \(promptTokens)", 0)] + decodeBatch.map({ ("decode batch \($0)", $0) }) {
            progress(name)
            var best: TimeSpan?
            for repetition in 0...repetitions {
                let elapsed = batch == 0 ? try bench.prompt(promptTokens) : try bench.decode(batch, steps)
                if repetition > 0 { best = min(best ?? elapsed, elapsed) }
            }
            let count = batch == 0 ? promptTokens : batch * steps
            results.append(Result(name: name, tokenCount: count, elapsed: best ?? .zero))
        }
        return results
    }

    /// Opens a file and runs the benchmark; see the other `run`.
    package static func run(
        modelPath: String, promptTokens: Int = 512, decodeBatch: [Int] = [1, 8], threads: Int = 1, kernelSet: KernelSet
    ) throws(DejaVuError) -> [Result] {
        try run(
            file: GGUFFile(path: modelPath), promptTokens: promptTokens, decodeBatch: decodeBatch, threads: threads,
            kernelSet: kernelSet)
    }
}

private struct Bench {
    let engine: GGMLStageEngine
    let vocabularySize: Int
    let run: Int
    private var random = SeededGenerator(seed: 1)
    private var passCount: UInt64 = 0
    private let clock = ContinuousClock()

    init(engine: GGMLStageEngine, vocabularySize: Int, run: Int) {
        self.engine = engine
        self.vocabularySize = vocabularySize
        self.run = run
    }

    mutating func prompt(_ count: Int) throws(DejaVuError) -> TimeSpan {
        try open(1)
        defer { close(1) }
        let tokens = (0..<count).map { _ in TokenID(random.next(below: vocabularySize)) }
        let start = clock.now
        try pass([PassEntry(sequence: SequenceID(1), first: 0, tokens: tokens, samples: true)])
        return elapsed(since: start)
    }

    mutating func decode(_ batch: Int, _ steps: Int) throws(DejaVuError) -> TimeSpan {
        try open(batch)
        defer { close(batch) }
        let start = clock.now
        for position in 0..<steps {
            var entries: [PassEntry] = []
            for index in 0..<batch {
                let token = TokenID(random.next(below: vocabularySize))
                let id = SequenceID(UInt64(index + 1))
                entries.append(PassEntry(sequence: id, first: position, tokens: [token], samples: true))
            }
            try pass(entries)
        }
        return elapsed(since: start)
    }

    private mutating func pass(_ entries: [PassEntry]) throws(DejaVuError) {
        passCount += 1
        let pass = Pass(id: PassID(passCount), pipeline: PipelineID(0), epoch: Epoch(0), entries: entries)
        _ = try engine.run(pass, hidden: nil)
    }

    private func open(_ count: Int) throws(DejaVuError) {
        for index in 0..<count {
            let record = SequenceRecord(
                id: SequenceID(UInt64(index + 1)), request: RequestID(1), choice: 0, prompt: [0], sampling: .greedy,
                outputCountMax: 1, stopTokens: [])
            try engine.open(record, cells: CellRun(start: index * run, count: run))
        }
    }

    private func close(_ count: Int) {
        for index in 0..<count { engine.release(SequenceID(UInt64(index + 1))) }
    }

    private func elapsed(since start: ContinuousClock.Instant) -> TimeSpan {
        let duration = (clock.now - start).components
        return .seconds(duration.seconds) + TimeSpan(nanoseconds: duration.attoseconds / 1_000_000_000)
    }
}
