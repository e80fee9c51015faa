import DejaVuCore
import DejaVuGGUF
import DejaVuTokenizer
import Foundation
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

@Test func vocabulary_manySpecialTokensThatBeginWithEachOther_isRefused() throws {
    for (count, isFine) in [(60, true), (100, false)] {
        var writer = GGUFWriter()
        writer.set("tokenizer.ggml.model", .string("llama"))
        writer.set("tokenizer.ggml.tokens", .strings((1...count).map { String(repeating: "x", count: $0) }))
        writer.set("tokenizer.ggml.token_type", .integers([Int32](repeating: 4, count: count)))
        let file = try GGUFFile(bytes: writer.bytes())
        if isFine {
            let tokens = try Tokenizer(file).encode(
                String(repeating: "x", count: 125), parseSpecial: false, addSpecial: false)
            #expect(tokens == [59, 59, 4])
        } else {
            let error = #expect(throws: DejaVuError.self) { try Tokenizer(file) }
            #expect(error?.message.contains("begin with each other") == true)
        }
    }
}

/// How many mutated files are tried: 100, or what DEJAVU_COUNT says.
private let mutationCount = ProcessInfo.processInfo.environment["DEJAVU_COUNT"].flatMap { Int($0) } ?? 100

@Test func mutatedVocabularies_areUsedOrRefused_neverCrash() throws {
    var used = 0
    for name in ["byte-pairs", "sentence-pieces"] {
        let fixture = try Fixture(name)
        let original = fixture.writer(preTokenizer: fixture.sections[0].preTokenizer).bytes()
        for seed in 0..<mutationCount {
            var state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1
            func next(below bound: Int) -> Int {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return Int((state >> 33) % UInt64(bound))
            }
            var bytes = original
            for _ in 0...next(below: 20) { bytes[next(below: bytes.count)] = UInt8(next(below: 256)) }
            guard let tokenizer = try? Tokenizer(GGUFFile(bytes: bytes)) else { continue }
            used += 1
            let text = "Hello <|im_end|></s> 12345 don't\n\n \u{301}é 你好 ``` x,y"
            for special in [true, false] {
                let tokens = tokenizer.encode(text, parseSpecial: special, addSpecial: true)
                #expect(tokens.allSatisfy { tokenizer.contains($0) })
                _ = try tokenizer.decode(tokens, showsHidden: special)
            }
            let chat = tokenizer.encode(pieces: [Tokenizer.Piece(text, isTemplate: false)], addSpecial: false)
            #expect(!chat.contains { tokenizer.isControl($0) })
        }
    }
    #expect(used > 0)
}
