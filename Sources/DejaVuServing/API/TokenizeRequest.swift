import DejaVuCore

/// The body of `POST /tokenize`: a text, or messages as the chat template would render them.
struct TokenizeRequest: Sendable {
    private static let names: Set<String> = [
        "model", "content", "prompt", "add_special", "parse_special", "with_pieces",
    ]

    let model: String?
    let text: String
    /// Whether to put the tokens before and after that the model expects around a whole text.
    let addsSpecial: Bool
    /// Whether the text may name special tokens.
    let parsesSpecial: Bool
    let withPieces: Bool

    init(_ body: JSONValue) throws(APIError) {
        let fields = try RequestFields(body)
        for name in fields.names where !Self.names.contains(name) {
            throw .invalid(name, code: "unknown_parameter", "Unknown parameter: '\(name.prefix(64))'.")
        }
        model = try fields.string("model")
        // llama.cpp's server calls it `content`, vLLM's `prompt`.
        let content = try fields.string("content")
        let prompt = try fields.string("prompt")
        guard content == nil || prompt == nil else {
            throw .invalid("prompt", "'content' and 'prompt' mean the same; give one of them.")
        }
        guard let text = content ?? prompt else {
            throw .invalid("content", code: "missing_required_parameter", "Missing required parameter: 'content'.")
        }
        self.text = text
        addsSpecial = try fields.bool("add_special") ?? false
        parsesSpecial = try fields.bool("parse_special") ?? true
        withPieces = try fields.bool("with_pieces") ?? false
    }
}

/// The body of `POST /detokenize`.
struct DetokenizeRequest: Sendable {
    let model: String?
    let tokens: [TokenID]

    init(_ body: JSONValue, vocabularyCount: Int) throws(APIError) {
        let fields = try RequestFields(body)
        for name in fields.names where name != "tokens" && name != "model" {
            throw .invalid(name, code: "unknown_parameter", "Unknown parameter: '\(name.prefix(64))'.")
        }
        model = try fields.string("model")
        _ = try fields.required("tokens")
        let elements = try fields.array("tokens") ?? []
        tokens = try CompletionRequest.tokens(
            fields, elements, "tokens", vocabularyCount: vocabularyCount, allowsEmpty: true)
    }
}
