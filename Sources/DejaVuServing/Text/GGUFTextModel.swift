package import DejaVuCore
package import DejaVuGGUF
import DejaVuTemplate
import DejaVuTokenizer
import Glibc

/// The text side of a model file: its tokenizer and its chat template.
package struct GGUFTextModel: TextModel {
    package let description: ModelDescription
    package let stopTokens: [TokenID]
    private let tokenizer: Tokenizer
    /// nil if the file has none; the model then completes texts but does not chat.
    private let template: ChatTemplate?
    /// What stands before a whole text, where the template does not write it itself.
    private let beginningText: String?

    /// - Throws: what is wrong with the file's tokenizer or with its template, by name. A template that cannot be
    ///   rendered is an error here, not at the first request.
    package init(
        file: GGUFFile, name: String, numericClass: NumericClass, contextLength: Int, isExact: Bool, created: Int
    ) throws(DejaVuError) {
        let tokenizer = try Tokenizer(file)
        self.tokenizer = tokenizer
        func text(_ token: TokenID?) -> String? {
            token.map { String(decoding: tokenizer.bytes(of: $0), as: UTF8.self) }
        }
        beginningText = tokenizer.addsBOS ? text(tokenizer.bosToken) : nil
        if let source: String = try file.get("tokenizer.chat_template") {
            let template = try ChatTemplate(
                source, beginToken: text(tokenizer.bosToken), endToken: text(tokenizer.eosToken))
            try template.check()
            self.template = template
        } else {
            template = nil
        }
        stopTokens = tokenizer.endOfGenerationTokens.sorted()
        description = ModelDescription(
            name: name, model: file.modelID, numericClass: numericClass, contextLength: contextLength,
            vocabularyCount: tokenizer.vocabularySize, isExact: isExact, created: created)
    }

    package func tokenize(
        _ text: String, addsSpecial: Bool, parsesSpecial: Bool
    ) throws(DejaVuError) -> [TokenID] {
        try check(text.utf8.count)
        return tokenizer.encode(text, parseSpecial: parsesSpecial, addSpecial: addsSpecial)
    }

    package func prompt(of messages: [ChatMessage]) throws(DejaVuError) -> [TokenID] {
        guard let template else {
            throw DejaVuError(
                .unsupported, "this model file has no chat template; use /v1/completions", subject: "messages")
        }
        let pieces = try template.render(
            messages: messages.map { DejaVuTemplate.ChatMessage(role: $0.role, content: $0.content) },
            addGenerationPrompt: true, now: Self.now)
        try check(pieces.reduce(0) { $0 + $1.text.utf8.count })
        // A template that writes the beginning itself must not get a second one.
        let addsBeginning = beginningText.map { !(pieces.first?.text.hasPrefix($0) ?? false) } ?? false
        return tokenizer.encode(
            pieces: pieces.map { Tokenizer.Piece($0.text, isTemplate: $0.isTemplate) }, addSpecial: addsBeginning)
    }

    package func appendText(of token: TokenID, to bytes: inout [UInt8]) {
        if !tokenizer.isHidden(token) { bytes += tokenizer.bytes(of: token) }
    }

    package func appendPiece(of token: TokenID, to bytes: inout [UInt8]) { bytes += tokenizer.bytes(of: token) }

    package func detokenize(_ tokens: [TokenID]) -> String {
        var bytes: [UInt8] = []
        for token in tokens { bytes += tokenizer.bytes(of: token) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func check(_ byteCount: Int) throws(DejaVuError) {
        guard byteCount <= Tokenizer.textBytesMax else {
            throw DejaVuError(.invalidArgument, "a text of \(byteCount) bytes is too long", subject: "prompt")
        }
    }

    /// What `strftime_now` shows.
    private static var now: CivilTime {
        var seconds = time(nil)
        var parts = tm()
        localtime_r(&seconds, &parts)
        return CivilTime(
            year: Int(parts.tm_year) + 1900, month: Int(parts.tm_mon) + 1, day: Int(parts.tm_mday),
            hour: Int(parts.tm_hour), minute: Int(parts.tm_min), second: Int(parts.tm_sec))
    }
}
