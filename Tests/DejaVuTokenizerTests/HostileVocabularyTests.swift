import DejaVuCore
import DejaVuGGUF
import DejaVuTokenizer
import Testing

/// A change to the small byte-level vocabulary, and what the error must name.
struct HostileVocabulary: CustomTestStringConvertible, Sendable {
    let key: String
    /// Nil takes the key away.
    let value: GGUFWriter.Value?
    let message: String
    var testDescription: String { message }

    init(_ key: String, _ value: GGUFWriter.Value?, _ message: String) {
        self.key = "tokenizer.ggml." + key
        self.value = value
        self.message = message
    }
}

@Test(arguments: [
    HostileVocabulary("model", .string("bert"), "the model's tokenizer 'bert' is not known"),
    HostileVocabulary("model", nil, "'tokenizer.ggml.model' is missing"),
    HostileVocabulary("model", .uint8(1), "'tokenizer.ggml.model'"),
    HostileVocabulary("pre", .string("martian"), "pre-tokenizer 'martian' is not known"),
    HostileVocabulary("tokens", .strings([]), "has 0 tokens"),
    HostileVocabulary("tokens", .strings(["a", "b", "a"]), "tokens[2] has the text of an earlier token"),
    HostileVocabulary("tokens", .integers([1]), "is an array of int32"),
    HostileVocabulary("tokens", nil, "'tokenizer.ggml.tokens' is missing"),
    HostileVocabulary("token_type", .integers([1]), "token_type has 1 elements"),
    HostileVocabulary("scores", .floats([1]), "scores has 1 elements"),
    HostileVocabulary("scores", .floats([Float](repeating: .nan, count: 4096)), "scores[0] is not a number"),
    HostileVocabulary("merges", nil, "'tokenizer.ggml.merges' is missing"),
    HostileVocabulary("merges", .uint32(7), "'tokenizer.ggml.merges'"),
])
func hostileVocabulary_isRefusedByName(_ hostile: HostileVocabulary) throws {
    let fixture = try Fixture("byte-pairs")
    var writer = GGUFWriter()
    for (key, value) in fixture.writer(preTokenizer: "gpt-2").metadata where key != hostile.key {
        writer.set(key, value)
    }
    if let value = hostile.value { writer.set(hostile.key, value) }
    let file = try GGUFFile(bytes: writer.bytes())
    let error = #expect(throws: DejaVuError.self) { try Tokenizer(file) }
    let message = try #require(error?.message)
    #expect(message.contains(hostile.message), "\(message)")
}

@Test func vocabulary_oddButHarmless_isUsed() throws {
    var writer = GGUFWriter()
    writer.set("tokenizer.ggml.model", .string("gpt2"))
    writer.set("tokenizer.ggml.tokens", .strings(["a", "", "b", "ab", "\u{2603}"]))
    writer.set("tokenizer.ggml.merges", .strings(["a b", "a b", "nospace", " x", "x ", "", "\u{2603} a", "ab zz"]))
    writer.set("tokenizer.ggml.bos_token_id", .uint32(99))
    writer.set("tokenizer.ggml.eos_token_id", .uint32(99))
    let tokenizer = try Tokenizer(GGUFFile(bytes: writer.bytes()))
    #expect(tokenizer.bosToken == nil)
    #expect(tokenizer.endOfGenerationTokens.isEmpty)
    // What has no token is lost, as with llama.cpp.
    #expect(tokenizer.encode("abxab \u{2603}", parseSpecial: true, addSpecial: true) == [3, 3])
    #expect(tokenizer.bytes(of: 1).elementsEqual("[EMPTY_1]".utf8))
    #expect(tokenizer.bytes(of: 4).elementsEqual("\u{2603}".utf8))
}
