import ArgumentParser
import DejaVuCore
import DejaVuGGUF
import DejaVuModel
import Foundation

/// What a model file holds, and what fits where.
struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show what a GGUF file holds and how much memory serving it takes.",
        discussion: """
            Reads the header alone; the weights are not touched.

            EXAMPLES
              dejavu inspect model.gguf
              dejavu inspect model.gguf --stages 3 --context 8192
              dejavu inspect model.gguf --json | jq .kvBytesPerPosition
            """)

    @Argument(help: "The GGUF file.", completion: .file(extensions: ["gguf"]))
    var model: String
    @Option(help: "Show how the layers are cut into this many stages.")
    var stages: Int = 1
    @Option(help: "Context length for the KV figures; the model's own if not given.")
    var context: Int?
    @Flag(help: "Print JSON.")
    var json = false

    private struct Report: Encodable {
        let model: String
        let summary: ModelSummary
        let exactness: [ModelExactness]
        let stages: [StagePlan]
    }

    func run() throws {
        let file = try GGUFFile(path: model)
        let summary = try ModelSummary(file)
        guard (1...summary.layers).contains(stages) else {
            throw ValidationError("\(summary.layers) layers can be cut into 1 to \(summary.layers) stages")
        }
        let contextLength = context ?? summary.contextLength
        guard contextLength > 0 else { throw ValidationError("--context must be positive") }
        let plan = StagePlan.plan(
            summary, stages: stages, contextLength: contextLength,
            outputCost: (try? DecoderDescription(file: file))?.outputCost ?? 0)
        let exactness = ModelExactness.all(of: file)
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            let report = Report(
                model: file.modelID.digest, summary: summary, exactness: exactness, stages: plan)
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            printSummary(summary, file)
            printExactness(exactness)
            printPlan(plan, contextLength)
        }
    }

    private func printSummary(_ summary: ModelSummary, _ file: GGUFFile) {
        func row(_ name: String, _ value: String) { print(padded(name, 16) + value) }
        row("name", summary.name ?? "(none)")
        row("model id", file.modelID.description)
        row("architecture", summary.architecture)
        row("parameters", "\(millions(summary.parameters)) in \(ByteSize.describe(summary.fileBytes))")
        row("layers", "\(summary.layers) of \(ByteSize.describe(summary.layerBytes.max() ?? 0)) each")
        row("embedding", "\(summary.embeddingLength) wide, \(ByteSize.describe(summary.embeddingBytes))")
        row("output", summary.outputIsTied ? "the embeddings again" : ByteSize.describe(summary.outputBytes))
        row("heads", "\(summary.heads) of \(summary.headSize), \(summary.kvHeads) for K and V")
        row("context", "\(summary.contextLength) tokens")
        row("vocabulary", "\(summary.vocabularySize) tokens")
        row("KV", "\(ByteSize.describe(summary.kvBytesPerPosition)) per position")
        let shares = summary.quantization.map { "\($0.type) \($0.bytes * 100 / max(1, summary.fileBytes))%" }
        row("weights", shares.joined(separator: ", "))
    }

    private func printExactness(_ exactness: [ModelExactness]) {
        for entry in exactness { print(padded("exact", 16) + entry.description) }
    }

    private func printPlan(_ plan: [StagePlan], _ contextLength: Int) {
        print("\nstage  layers      weights    KV of one sequence of \(contextLength)")
        for (index, stage) in plan.enumerated() {
            print(
                padded("\(index)", 7) + padded("\(stage.layers)", 12)
                    + padded(ByteSize.describe(stage.weightBytes), 11)
                    + ByteSize.describe(stage.kvBytesPerSequence))
        }
    }

    private func millions(_ count: Int) -> String {
        count >= 1_000_000_000
            ? "\(Double(count / 10_000_000) / 100) billion" : "\(Double(count / 100_000) / 10) million"
    }

    private func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }
}

/// What one stage of a cut holds.
struct StagePlan: Encodable {
    let layers: LayerRange
    /// Embeddings belong to the first stage, norm and output to the last; tied embeddings are on both.
    let weightBytes: Int
    let kvBytesPerSequence: Int

    static func plan(
        _ summary: ModelSummary, stages: Int, contextLength: Int, outputCost: Double
    ) -> [StagePlan] {
        let kvPerLayer = summary.kvBytesPerPosition / summary.layers
        return LayerRange.balanced(layers: summary.layers, stages: stages, outputCost: outputCost).map { layers in
            var bytes = layers.indices.reduce(0) { $0 + summary.layerBytes[$1] }
            let isFirst = layers.first == 0
            let isLast = layers.end == summary.layers
            if isFirst || (isLast && summary.outputIsTied) { bytes += summary.embeddingBytes }
            if isLast { bytes += summary.outputBytes }
            return StagePlan(
                layers: layers, weightBytes: bytes,
                kvBytesPerSequence: kvPerLayer * layers.count * CellRun.count(forPositions: contextLength))
        }
    }
}
