import ArgumentParser
import DejaVuGGUF
import DejaVuModel
import Foundation
import Glibc

/// How fast this machine computes a model, without server and links.
struct BenchKernelsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kernels",
        abstract: "Measure prompt and decode speed of a model in this process.",
        discussion: """
            The figures compare with llama-bench's `pp` and `tg`, and with llama-batched-bench's for larger batches.

            EXAMPLES
              dejavu bench kernels model.gguf
              dejavu bench kernels model.gguf --kernels reference --threads 2 --batch 1 --batch 16
            """)

    @Argument(help: "The GGUF file.", completion: .file(extensions: ["gguf"]))
    var model: String
    @Option(help: "Tokens of the prompt.")
    var prompt = 512
    @Option(help: "Sequences that decode together; may be given several times. 1 and 8 if not given.")
    var batch: [Int] = []
    @Option(help: "Steps of each decode.")
    var steps = 64
    @Option(help: "Compute threads.")
    var threads = 1
    @Option(help: "native or reference.")
    var kernels: KernelSet = .native
    @Option(help: "Each figure is the fastest of so many runs.")
    var repetitions = 1
    @Flag(help: "Print JSON.")
    var json = false

    private struct Report: Encodable {
        struct Row: Encodable {
            let name: String
            let tokensPerSecond: Double
        }
        let kernels: String
        let threads: Int
        let results: [Row]
    }

    mutating func validate() throws {
        guard prompt > 0, steps > 0, repetitions > 0, batch.allSatisfy({ (1...256).contains($0) }) else {
            throw ValidationError("--prompt, --steps, --repetitions and --batch must be positive, batches at most 256")
        }
        guard (1...256).contains(threads) else { throw ValidationError("--threads must be 1 to 256") }
    }

    func run() throws {
        let results = try EngineBenchmark.run(
            file: GGUFFile(path: model), promptTokens: prompt, decodeBatch: batch.isEmpty ? [1, 8] : batch,
            steps: steps, threads: threads, kernelSet: kernels, repetitions: repetitions
        ) { name in
            if isatty(STDERR_FILENO) == 1 { Diagnostics.write("\r\u{1B}[Kbench: \(name)", to: STDERR_FILENO) }
        }
        if isatty(STDERR_FILENO) == 1 { Diagnostics.write("\r\u{1B}[K", to: STDERR_FILENO) }
        if json {
            let rows = results.map { Report.Row(name: Self.key($0.name), tokensPerSecond: $0.tokensPerSecond) }
            let report = Report(kernels: kernels.rawValue, threads: threads, results: rows)
            let encoder = JSONEncoder()
            encoder.keyEncodingStrategy = .convertToSnakeCase
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            for result in results { print("\(result.name): \(Int(result.tokensPerSecond.rounded())) tokens/s") }
        }
    }

    /// `prompt 512` is `prompt512`, `decode batch 8` is `decode8`.
    private static func key(_ name: String) -> String {
        name.replacingOccurrences(of: "batch ", with: "").replacingOccurrences(of: " ", with: "")
    }
}
