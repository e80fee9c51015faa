import DejaVuCore
import DejaVuEngine
import DejaVuServing

/// Text for an emulated device, whose tokens mean nothing: each byte of a prompt is a token, and each token of an
/// answer is a word that names it, so that answers can be compared by eye.
struct EmulatedTextModel: TextModel {
    let description: ModelDescription
    let stopTokens: [TokenID] = []
    private let vocabularyCount: Int

    init(_ profile: ModelProfile, name: String?, contextLength: Int, created: Int) {
        vocabularyCount = profile.vocabularyCount
        description = ModelDescription(
            name: name ?? "emulated-\(profile.name)", model: profile.model, numericClass: profile.numericClass,
            contextLength: contextLength, vocabularyCount: profile.vocabularyCount, isExact: true, created: created)
    }

    func tokenize(_ text: String, addsSpecial: Bool, parsesSpecial: Bool) throws(DejaVuError) -> [TokenID] {
        text.utf8.map { TokenID(Int($0) % vocabularyCount) }
    }

    func prompt(of messages: [ChatMessage]) throws(DejaVuError) -> [TokenID] {
        try tokenize(
            messages.map { "\($0.role): \($0.content)\n" }.joined() + "assistant: ", addsSpecial: false,
            parsesSpecial: false)
    }

    func appendText(of token: TokenID, to bytes: inout [UInt8]) { bytes += "w\(token) ".utf8 }
    func appendPiece(of token: TokenID, to bytes: inout [UInt8]) { appendText(of: token, to: &bytes) }
    func detokenize(_ tokens: [TokenID]) -> String { tokens.map { "w\($0) " }.joined() }
}
