package import DejaVuCore

/// What clients are told about the model.
package struct ModelDescription: Hashable, Sendable {
    /// The `id` in `/v1/models`, and the only value of `model` that requests may name.
    package var name: String
    /// Other names by which requests may ask for it.
    package var aliases: [String] = []
    package var model: ModelID
    package var numericClass: NumericClass
    /// Positions that one sequence may have: prompt and output together.
    package var contextLength: Int
    package var vocabularyCount: Int
    /// Whether the text is the same however requests are batched.
    package var isExact: Bool
    /// Seconds since 1970-01-01.
    package var created: Int

    package init(
        name: String, model: ModelID, numericClass: NumericClass, contextLength: Int, vocabularyCount: Int,
        isExact: Bool, created: Int
    ) {
        self.name = name
        self.model = model
        self.numericClass = numericClass
        self.contextLength = contextLength
        self.vocabularyCount = vocabularyCount
        self.isExact = isExact
        self.created = created
    }

    /// OpenAI's name for what decides the bits of an answer besides the request.
    package var fingerprint: String { "fp_" + numericClass.description }

    func isNamed(_ name: String) -> Bool { name == self.name || aliases.contains(name) }
}

/// The part of a model that turns text into tokens and back. Safe from any thread; never blocks on I/O.
///
/// Tokens that are passed in are in the vocabulary.
package protocol TextModel: Sendable {
    var description: ModelDescription { get }

    /// Tokens that end an answer, ascending.
    var stopTokens: [TokenID] { get }

    /// - Parameters:
    ///   - addsSpecial: put the tokens around the text that the model was trained to see around a whole text.
    ///   - parsesSpecial: take a special token's name in the text for the token.
    func tokenize(_ text: String, addsSpecial: Bool, parsesSpecial: Bool) throws(DejaVuError) -> [TokenID]

    /// The prompt of a conversation, ready for the assistant's turn. Text of a message never becomes a special token.
    ///
    /// - Throws: `.invalidArgument` if the template refuses the conversation.
    func prompt(of messages: [ChatMessage]) throws(DejaVuError) -> [TokenID]

    /// Appends the bytes that a token adds to an answer: any bytes, not always whole UTF-8; none for special tokens.
    func appendText(of token: TokenID, to bytes: inout [UInt8])

    /// Appends a token's bytes as the vocabulary has them, special tokens by name.
    func appendPiece(of token: TokenID, to bytes: inout [UInt8])

    /// A whole text from its tokens, special ones by name; invalid UTF-8 becomes U+FFFD.
    func detokenize(_ tokens: [TokenID]) -> String
}
