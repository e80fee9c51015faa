package import DejaVuCore
import DejaVuEngine
package import DejaVuGGUF

/// Measures what a profile says of a model on this machine: prompts by length and batch, steps by batch and context.
package enum EngineProfiler {
    package struct Options: Sendable {
        package var threads = 1
        package var kernelSet = KernelSet.native
        package var repetitions = 3
        package var promptTokens = [32, 128, 512, 1024]
        package var promptSequences = [1, 4]
        package var contexts = [128, 1024]
        package var stepSequences = [1, 2, 4, 8]
        package init() {}
    }

    package struct Times: Sendable {
        package var prompts: [ModelProfile.PromptTime] = []
        package var steps: [ModelProfile.StepTime] = []
    }

    /// Steps that are timed together.
    private static let stepCount = 4

    /// Each figure is the fastest of `repetitions`, after one that does not count. Use a thread of its own: this
    /// computes for seconds.
    ///
    /// - Parameter starting: told which measurement of how many comes next.
    package static func run(
        file: GGUFFile, _ options: Options, starting: (Int, Int) -> Void
    ) throws(DejaVuError) -> Times {
        precondition(options.repetitions > 0 && options.threads > 0, "nothing would be measured")
        let model = try DecoderDescription(file: file)
        let longest = max(model.contextLength - stepCount, 1)
        // A batch of prompts is cut to what fits in the passes that a server makes.
        let prompts = options.promptSequences.flatMap { sequences in
            options.promptTokens.filter { $0 <= longest && (sequences == 1 || sequences * $0 <= 1024) }
                .map { (sequences: sequences, tokens: $0) }
        }
        let steps = options.contexts.filter { $0 < longest }.flatMap { context in
            options.stepSequences.map { (context: context, sequences: $0) }
        }
        let runs = prompts.map { ($0.sequences, $0.tokens) } + steps.map { ($0.sequences, $0.context + stepCount) }
        let cells = runs.map { $0.0 * CellRun.count(forPositions: $0.1) }.reduce(CellRun.granularity, max)
        var engineOptions = StageEngineOptions(layers: LayerRange(0, model.layerCount), cellCount: cells)
        engineOptions.threadCount = options.threads
        engineOptions.spreadsThreads = true
        engineOptions.kernelSet = options.kernelSet
        var trial = ProfileTrial(
            engine: try GGMLStageEngine(file: file, options: engineOptions), vocabularyCount: model.vocabularySize)
        var times = Times()
        for (index, prompt) in prompts.enumerated() {
            starting(index, prompts.count + steps.count)
            let seconds = try trial.fastest(of: options.repetitions, sequences: prompt.sequences, context: 0) {
                (trial) throws(DejaVuError) in try trial.pass(sequences: prompt.sequences, count: prompt.tokens)
            }
            times.prompts.append(.init(sequences: prompt.sequences, tokens: prompt.tokens, seconds: seconds))
        }
        for (index, step) in steps.enumerated() {
            starting(prompts.count + index, prompts.count + steps.count)
            let seconds = try trial.fastest(
                of: options.repetitions, sequences: step.sequences, context: step.context
            ) { (trial) throws(DejaVuError) in
                for _ in 0..<stepCount { try trial.pass(sequences: step.sequences, count: 1) }
            }
            times.steps.append(
                .init(context: step.context, sequences: step.sequences, seconds: seconds / Double(stepCount)))
        }
        return times
    }
}

/// Runs passes of random tokens over sequences of one length.
private struct ProfileTrial {
    private let engine: GGMLStageEngine
    private let vocabularyCount: Int
    private var random = SeededGenerator(seed: 1)
    private var passCount: UInt64 = 0
    private var position = 0
    private let clock = ContinuousClock()

    init(engine: GGMLStageEngine, vocabularyCount: Int) {
        self.engine = engine
        self.vocabularyCount = vocabularyCount
    }

    /// In seconds. The sequences begin with `context` positions, whose rows are whatever the cells hold.
    mutating func fastest(
        of repetitions: Int, sequences: Int, context: Int,
        _ body: (inout ProfileTrial) throws(DejaVuError) -> Void
    ) throws(DejaVuError) -> Double {
        let run = engine.stage.cellCount / sequences / CellRun.granularity * CellRun.granularity
        var best = Double.infinity
        for repetition in 0...repetitions {
            for index in 0..<sequences {
                let record = SequenceRecord(
                    id: Self.id(index), request: RequestID(1), choice: 0,
                    prompt: [TokenID](repeating: 0, count: max(context, 1)), sampling: .greedy, outputCountMax: 1,
                    stopTokens: [])
                try engine.open(record, cells: CellRun(start: index * run, count: run), watermark: context)
            }
            position = context
            defer { for index in 0..<sequences { engine.release(Self.id(index)) } }
            let start = clock.now
            try body(&self)
            let time = (clock.now - start).components
            // The first warms up.
            if repetition > 0 { best = min(best, Double(time.seconds) + Double(time.attoseconds) / 1e18) }
        }
        return best
    }

    mutating func pass(sequences: Int, count: Int) throws(DejaVuError) {
        passCount += 1
        var entries: [PassEntry] = []
        for index in 0..<sequences {
            let tokens = (0..<count).map { _ in TokenID(random.next(below: vocabularyCount)) }
            entries.append(PassEntry(sequence: Self.id(index), first: position, tokens: tokens, samples: true))
        }
        position += count
        _ = try engine.run(
            Pass(id: PassID(passCount), pipeline: PipelineID(0), epoch: Epoch(0), entries: entries), hidden: nil)
    }

    private static func id(_ index: Int) -> SequenceID { SequenceID(UInt64(index + 1)) }
}
