import DejaVuCore
import DejaVuGGUF
import DejaVuTokenizer
import Foundation
import Testing

/// Questions with llama.cpp's answers, and perhaps a vocabulary; written by `Tools/tokenizer-oracle/golden.py`.
struct Fixture {
    /// Questions about one tokenizer.
    struct Section {
        /// Nil for vocabularies without pre-tokenizers.
        let preTokenizer: String?
        var cases: [(question: String, answer: String)] = []
    }

    var model = ""
    var tokens: [(text: [UInt8], type: Int32, score: Float)] = []
    var merges: [[UInt8]] = []
    var sections: [Section] = []

    init(_ name: String) throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        let text = try String(contentsOf: folder.appendingPathComponent("Fixtures/\(name).txt"), encoding: .utf8)
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            switch words[0] {
            case "model": model = String(words[1])
            case "token":
                tokens.append(
                    (
                        try #require(TokenizerCheck.bytes(hex: words[1])), try #require(Int32(words[2])),
                        try #require(Float(words[3]))
                    ))
            case "merge": merges.append(try #require(TokenizerCheck.bytes(hex: words[1])))
            case "pre": sections.append(Section(preTokenizer: String(words[1])))
            default:
                let sides = line.components(separatedBy: " = ")
                try #require(sides.count == 2)
                if sections.isEmpty { sections.append(Section(preTokenizer: nil)) }
                sections[sections.count - 1].cases.append((sides[0], sides[1]))
            }
        }
    }

    /// The fixture's own vocabulary as a file.
    func writer(preTokenizer: String?) -> GGUFWriter {
        var writer = GGUFWriter()
        writer.set("general.architecture", .string("llama"))
        writer.set("tokenizer.ggml.model", .string(model))
        writer.set("tokenizer.ggml.tokens", .array(.string, tokens.map { .bytes($0.text) }))
        writer.set("tokenizer.ggml.token_type", .integers(tokens.map(\.type)))
        writer.set("tokenizer.ggml.scores", .floats(tokens.map(\.score)))
        if let preTokenizer {
            writer.set("tokenizer.ggml.pre", .string(preTokenizer))
            writer.set("tokenizer.ggml.merges", .array(.string, merges.map { .bytes($0) }))
        }
        return writer
    }

    func tokenizer(preTokenizer: String?) throws -> Tokenizer {
        try Tokenizer(GGUFFile(bytes: writer(preTokenizer: preTokenizer).bytes()))
    }

    /// Asks all questions of a section.
    func check(_ section: Section, _ tokenizer: Tokenizer) {
        #expect(section.cases.count > 20)
        for (question, answer) in section.cases {
            #expect(TokenizerCheck.answer(question, tokenizer) == answer, "\(question)")
        }
    }
}

/// The tokenizer of the model of `make test`.
func modelTokenizer() throws -> Tokenizer {
    let path =
        ProcessInfo.processInfo.environment["DEJAVU_MODEL"] ?? ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf"
    return try Tokenizer(GGUFFile(path: path))
}
