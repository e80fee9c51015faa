import DejaVuBench
import DejaVuCore
import DejaVuEngine
import DejaVuGGUF
import DejaVuModel
import Glibc

/// The real engine as what computes while rows are streamed. The rows come from memory of the same layout beside the
/// engine's own, so that what is streamed costs the same and the engine needs no door for it.
final class ModelCompute: StreamCompute {
    let batch: Int
    let shape: StreamShape
    private let engine: GGMLStageEngine
    private let run: Int
    private var start = Instant.zero
    private var passCount: UInt64 = 0
    let lateness = Lateness()

    /// - Parameter length: positions of each sequence.
    init(path: String, batch: Int, length: Int, threads: Int) throws {
        let file = try GGUFFile(path: path)
        let model = try DecoderDescription(file: file)
        self.batch = batch
        run = CellRun.count(forPositions: length)
        var options = StageEngineOptions(layers: LayerRange(0, model.layerCount), cellCount: run * batch)
        options.threadCount = threads
        options.kernelSet = .native
        engine = try GGMLStageEngine(file: file, options: options)
        shape = try .ggml(
            "SmolLM2-135M", layers: model.layerCount, heads: model.keyHeadCount, headSize: model.headSize, batch: batch)
    }

    var elapsed: TimeSpan { Self.now - start }
    func spent(_ time: TimeSpan) {}

    func begin() throws(DejaVuError) {
        for index in 0..<batch {
            let id = SequenceID(UInt64(index + 1))
            engine.release(id)
            let record = SequenceRecord(
                id: id, request: RequestID(1), choice: 0, prompt: [0], sampling: .greedy, outputCountMax: 1,
                stopTokens: [])
            try engine.open(record, cells: CellRun(start: index * run, count: run))
        }
        start = Self.now
    }

    /// The graph of a pass computes all layers of its rows: they are ready together, when the last sequence is.
    func prompt(_ length: Int, told: (LayerRange) throws(DejaVuError) -> Void) throws(DejaVuError) {
        for index in 0..<batch {
            let tokens = (0..<length).map { TokenID(100 + ($0 * 37 + index) % 1000) }
            try pass([
                PassEntry(sequence: SequenceID(UInt64(index + 1)), first: 0, tokens: tokens, samples: true)
            ])
        }
        try told(LayerRange(0, shape.layerCount))
    }

    func step(at position: Int) throws(DejaVuError) {
        let token = TokenID(100 + position % 1000)
        try pass(
            (0..<batch).map {
                PassEntry(sequence: SequenceID(UInt64($0 + 1)), first: position, tokens: [token], samples: true)
            })
    }

    private func pass(_ entries: [PassEntry]) throws(DejaVuError) {
        passCount += 1
        _ = try engine.run(
            Pass(id: PassID(passCount), pipeline: PipelineID(0), epoch: Epoch(0), entries: entries), hidden: nil)
    }

    private static var now: Instant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
}
