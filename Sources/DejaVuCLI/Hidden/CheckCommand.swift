import ArgumentParser
import DejaVuCore
import DejaVuGGUF
import DejaVuModel
import DejaVuTemplate
import DejaVuTokenizer
import Glibc

/// Answers on standard output what comes on standard input, for comparisons with other implementations (Tools/).
struct CheckCommand: ParsableCommand {
    enum Part: String, ExpressibleByArgument, CaseIterable { case tokenizer, template, logits }

    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Answer a comparison tool's questions line by line.", shouldDisplay: false)

    @Argument(help: "tokenizer, template or logits.")
    var part: Part
    @Option(help: "The GGUF file that is asked.")
    var model: String?
    @Option(help: "native or reference, for logits.")
    var kernels: KernelSet = .native
    @Option(help: "Compute threads, for logits.")
    var threads = 1

    mutating func validate() throws {
        if part != .template && model == nil { throw ValidationError("--model says which file is asked") }
    }

    func run() throws {
        switch part {
        case .template: TemplateCheck.run()
        case .tokenizer: TokenizerCheck.run(try Tokenizer(file()))
        case .logits: try writeLogits(file())
        }
    }

    private func file() throws -> GGUFFile {
        guard let model else { preconditionFailure("validated before") }
        return try GGUFFile(path: model)
    }

    /// Each line has the length of a prompt, then the tokens of the prompt and of its continuation. Answered by rows of
    /// native-endian floats without anything between them.
    private func writeLogits(_ file: GGUFFile) throws {
        let context = try DecoderDescription(file: file).contextLength
        let check = try LogitsCheck(file: file, kernelSet: kernels, threads: threads, positionCountMax: context)
        while let line = readLine() {
            let numbers = line.split(separator: " ").compactMap { TokenID($0) }
            guard let promptCount = numbers.first else { throw ValidationError("not a line of numbers: \(line)") }
            try check.run(Array(numbers.dropFirst()), promptCount: Int(promptCount)) { row throws(DejaVuError) in
                try row.withUnsafeBufferPointer { buffer throws(DejaVuError) in
                    try Self.write(UnsafeRawBufferPointer(buffer))
                }
            }
        }
    }

    private static func write(_ bytes: UnsafeRawBufferPointer) throws(DejaVuError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = Glibc.write(STDOUT_FILENO, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw DejaVuError(.unavailable, "nobody reads the logits") }
            rest = rest.dropFirst(count)
        }
    }
}
