import DejaVuCore
import DejaVuServing

/// A model whose tokens are bytes, with a few special ones behind them.
struct FakeModel: TextModel {
    static let end: TokenID = 256
    static let turn: TokenID = 257
    /// A word that is one token, for texts with few tokens.
    static let word: TokenID = 258
    static let vocabularyCount = 259

    var description: ModelDescription

    init(contextLength: Int = 512) {
        description = ModelDescription(
            name: "fake-1", model: ModelID(digest: "00ff00ff00ff00ff00ff"), numericClass: NumericClass(hash: 0xABC),
            contextLength: contextLength, vocabularyCount: Self.vocabularyCount, isExact: true, created: 1_700_000_000)
        description.aliases = ["fake"]
    }

    var stopTokens: [TokenID] { [Self.end] }

    func tokenize(_ text: String, addsSpecial: Bool, parsesSpecial: Bool) throws(DejaVuError) -> [TokenID] {
        guard parsesSpecial, text.contains("<turn>") else { return text.utf8.map { TokenID($0) } }
        let parts = text.split(separator: "<turn>", omittingEmptySubsequences: false)
        return Array(parts.map { part in part.utf8.map { TokenID($0) } }.joined(separator: [Self.turn]))
    }

    func prompt(of messages: [ChatMessage]) throws(DejaVuError) -> [TokenID] {
        guard messages.last?.role == "user" else {
            throw DejaVuError(.invalidArgument, "the last message must be the user's")
        }
        return messages.flatMap { [Self.turn] + ($0.role + ":" + $0.content).utf8.map { TokenID($0) } }
    }

    func appendText(of token: TokenID, to bytes: inout [UInt8]) {
        if token == Self.word { bytes += " word".utf8 }
        if token < 256 { bytes.append(UInt8(token)) }
    }

    func appendPiece(of token: TokenID, to bytes: inout [UInt8]) {
        switch token {
        case Self.end: bytes += "<end>".utf8
        case Self.turn: bytes += "<turn>".utf8
        default: appendText(of: token, to: &bytes)
        }
    }

    func detokenize(_ tokens: [TokenID]) -> String {
        var bytes: [UInt8] = []
        for token in tokens { appendPiece(of: token, to: &bytes) }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// The tokens of a text in `FakeModel`.
func tokens(_ text: String) -> [TokenID] { text.utf8.map { TokenID($0) } }
