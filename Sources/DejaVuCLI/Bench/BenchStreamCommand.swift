import ArgumentParser
import DejaVuBench
import DejaVuCore
import DejaVuGGUF
import DejaVuModel
import Foundation
import Glibc

/// What streaming KV costs, against no streaming and against the bare way.
struct BenchStreamCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stream",
        abstract: "Measure KV streaming in this process.",
        discussion: """
            Prints the raw samples as JSON; Tools/bench-stream.py compares them. OPT models are emulated: bytes at a \
            scale, real run counts, times by a roofline. SmolLM2 is real and takes the model file.

            EXAMPLES
              dejavu bench stream --part delta --quick
              dejavu bench stream --part overhead-smollm2 --model model.gguf
            """)

    enum Part: String, CaseIterable, ExpressibleByArgument {
        case ablation13B = "ablation-opt-13b"
        case ablation66B = "ablation-opt-66b"
        case ablationReal = "ablation-smollm2"
        case overheadEmulated = "overhead-opt-13b"
        case overheadReal = "overhead-smollm2"
        case tcp13B = "tcp-opt-13b"
        case tcp66B = "tcp-opt-66b"
        case rateHost = "rate-host"
        case rateTCP = "rate-tcp"
        case rateDisk = "rate-disk"
        case delta
    }

    @Option(help: "What to measure: \(Part.allCases.map(\.rawValue).joined(separator: ", ")).")
    var part: Part
    @Option(help: "The GGUF file, for the parts that compute with it.", completion: .file(extensions: ["gguf"]))
    var model: String?
    @Option(help: "Rounds that count; one before them does not.")
    var rounds = 5
    @Option(help: "Compute threads of the model.")
    var threads = 1
    @Option(help: "Where the disk store's files go.", completion: .directory)
    var directory = "."
    @Flag(help: "Everything smaller, to see whether it works.")
    var quick = false

    mutating func validate() throws {
        guard (1...100).contains(rounds) else { throw ValidationError("--rounds must be 1 to 100") }
        guard (1...256).contains(threads) else { throw ValidationError("--threads must be 1 to 256") }
    }

    func run() throws {
        var options = StreamBenchOptions()
        options.rounds = rounds
        options.isQuick = quick
        options.directory = directory
        let part = part
        options.progress = { text in
            if isatty(STDERR_FILENO) == 1 {
                Diagnostics.write("\r\u{1B}[K\(part.rawValue): \(text)", to: STDERR_FILENO)
            }
        }
        let samples = try measure(options)
        if isatty(STDERR_FILENO) == 1 { Diagnostics.write("\r\u{1B}[K", to: STDERR_FILENO) }
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.sortedKeys]
        print(String(decoding: try encoder.encode(samples), as: UTF8.self))
    }

    private func measure(_ options: StreamBenchOptions) throws -> StreamSamples {
        switch part {
        case .ablation13B: return try StreamAblation.emulated(.opt13B, options)
        case .ablation66B: return try StreamAblation.emulated(.opt66B, options)
        case .tcp13B: return try StreamSocketStep.measure(.opt13B, options)
        case .tcp66B: return try StreamSocketStep.measure(.opt66B, options)
        case .overheadEmulated: return try StreamOverhead.emulated(options)
        case .rateHost: return try StreamRates.measure(.host, options)
        case .rateTCP: return try StreamRates.measure(.tcp, options)
        case .rateDisk: return try StreamRates.measure(.disk, options)
        case .delta:
            return try StreamDelta.measure(.ggml("SmolLM2", layers: 30, heads: 3, headSize: 64, batch: 8), options)
        case .ablationReal, .overheadReal:
            guard let model else { throw ValidationError("--model is missing") }
            let compute = try ModelCompute(path: model, batch: 4, length: 1024, threads: threads)
            let how = "\(threads) thread(s), native kernels, prompts of \(compute.batch) sequences one after the other"
            return part == .ablationReal
                ? try StreamAblation.real(compute, compute.shape, computedBy: how, options)
                : try StreamOverhead.real(compute, compute.shape, computedBy: how, options)
        }
    }
}
