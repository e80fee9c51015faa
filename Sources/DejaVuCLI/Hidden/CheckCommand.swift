import ArgumentParser
import DejaVuGGUF
import DejaVuTemplate
import DejaVuTokenizer

/// Answers on standard output what comes on standard input, for comparisons with other implementations (Tools/).
struct CheckCommand: ParsableCommand {
    enum Part: String, ExpressibleByArgument, CaseIterable { case tokenizer, template }

    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Answer a comparison tool's questions line by line.", shouldDisplay: false)

    @Argument(help: "tokenizer or template.")
    var part: Part
    @Option(help: "The GGUF file whose tokenizer is asked.")
    var model: String?

    mutating func validate() throws {
        if part == .tokenizer && model == nil { throw ValidationError("--model says whose tokenizer it is") }
    }

    func run() throws {
        switch part {
        case .template: TemplateCheck.run()
        case .tokenizer:
            guard let model else { preconditionFailure("validated before") }
            TokenizerCheck.run(try Tokenizer(GGUFFile(path: model)))
        }
    }
}
