package import DejaVuCore
import DejaVuEngine
package import DejaVuGGUF

/// Computes the logits of texts that are given, for comparisons with other implementations (`Tools/verify-tokens.py`).
///
/// Used by one thread at a time, as the engine is.
package final class LogitsCheck {
    private let engine: GGMLStageEngine
    private let cellCount: Int
    private var passCount: UInt64 = 0

    /// - Parameter positionCountMax: no text may be longer.
    package init(
        file: GGUFFile, kernelSet: KernelSet, threads: Int, positionCountMax: Int
    ) throws(DejaVuError) {
        cellCount = CellRun.count(forPositions: positionCountMax)
        var options = StageEngineOptions(
            layers: LayerRange(0, try DecoderDescription(file: file).layerCount), cellCount: cellCount)
        options.threadCount = threads
        options.kernelSet = kernelSet
        engine = try GGMLStageEngine(file: file, options: options)
    }

    /// Hands over the logits behind the prompt and behind each token after it but the last, in order of position: the
    /// prompt in one pass, then a pass for each token, as when it is generated.
    ///
    /// - Throws: `.invalidArgument` if the text is too long for its cells or has no prompt.
    package func run(
        _ text: [TokenID], promptCount: Int, _ body: ([Float]) throws(DejaVuError) -> Void
    ) throws(DejaVuError) {
        guard (1...max(1, text.count)).contains(promptCount), text.count <= cellCount else {
            throw DejaVuError(
                .invalidArgument, "\(text.count) tokens with a prompt of \(promptCount) do not fit \(cellCount) cells",
                subject: "text")
        }
        let id = SequenceID(1)
        let record = SequenceRecord(
            id: id, request: RequestID(1), choice: 0, prompt: Array(text[..<promptCount]), sampling: .greedy,
            outputCountMax: max(1, text.count - promptCount), stopTokens: [])
        try engine.open(record, cells: CellRun(start: 0, count: cellCount))
        defer { engine.release(id) }
        var first = 0
        for end in promptCount..<max(text.count, promptCount + 1) {
            passCount += 1
            let entry = PassEntry(sequence: id, first: first, tokens: Array(text[first..<end]), samples: true)
            let pass = Pass(id: PassID(passCount), pipeline: PipelineID(0), epoch: Epoch(0), entries: [entry])
            for row in try engine.logits(pass, hidden: nil) { try body(row) }
            first = end
        }
    }
}
