import DejaVuCore
import DejaVuGGUF
import DejaVuTokenizer
import Testing

@Test func model_specialTokens_haveTheirRoles() throws {
    let tokenizer = try modelTokenizer()
    #expect(tokenizer.vocabularySize == 49_152)
    #expect(tokenizer.bosToken == 1)
    #expect(tokenizer.eosToken == 2)
    #expect(!tokenizer.addsBOS)
    #expect(!tokenizer.addsEOS)
    #expect(tokenizer.endOfGenerationTokens.contains(0))
    #expect(tokenizer.endOfGenerationTokens.contains(2))
    #expect(tokenizer.endOfGenerationTokens == tokenizer.endOfGenerationTokens.sorted())
    #expect(tokenizer.isControl(1))
    #expect(!tokenizer.isControl(tokenizer.encode("word", parseSpecial: true, addSpecial: false)[0]))
    #expect(tokenizer.token(named: "<|im_end|>") == 2)
    #expect(tokenizer.token(named: "<|no_such|>") == nil)
}

@Test(arguments: ["byte-pairs", "sentence-pieces"])
func encodeThenDecode_plainText_givesItBack(name: String) throws {
    let fixture = try Fixture(name)
    let tokenizer = try fixture.tokenizer(preTokenizer: fixture.sections[0].preTokenizer)
    let prefix = name == "sentence-pieces" ? " " : ""
    for text in ["Hello, world!", "  two  spaces \n\n", "Straße 你好 👩‍👩‍👧 \u{1D400}", "1234567", "\u{0}\u{7F}\u{85}"] {
        let tokens = tokenizer.encode(text, parseSpecial: false, addSpecial: false)
        #expect(String(decoding: try tokenizer.decode(tokens, showsHidden: false), as: UTF8.self) == prefix + text)
    }
}

@Test func encode_emptyText_isEmptyOrTheEndsAlone() throws {
    let fixture = try Fixture("sentence-pieces")
    let tokenizer = try fixture.tokenizer(preTokenizer: nil)
    #expect(tokenizer.encode("", parseSpecial: true, addSpecial: false).isEmpty)
    #expect(tokenizer.encode("", parseSpecial: true, addSpecial: true) == [1])
    #expect(tokenizer.encode(pieces: [], addSpecial: false).isEmpty)
}

@Test func addSpecial_bothEndsWanted_areAdded() throws {
    let fixture = try Fixture("sentence-pieces")
    var writer = fixture.writer(preTokenizer: nil)
    writer.set("tokenizer.ggml.add_eos_token", .bool(true))
    writer.set("tokenizer.ggml.bos_token_id", .uint32(2))
    writer.set("tokenizer.ggml.eos_token_id", .uint32(1))
    let tokenizer = try Tokenizer(GGUFFile(bytes: writer.bytes()))
    let plain = tokenizer.encode("a", parseSpecial: false, addSpecial: false)
    #expect(tokenizer.encode("a", parseSpecial: false, addSpecial: true) == [2] + plain + [1])
}

@Test func decode_unknownTokenNumber_isAnError() throws {
    let tokenizer = try modelTokenizer()
    #expect(throws: DejaVuError.self) { try tokenizer.decode([49_152], showsHidden: false) }
    #expect(throws: DejaVuError.self) { try tokenizer.decode([-1], showsHidden: false) }
    #expect(try tokenizer.decode([1], showsHidden: false).isEmpty)
    #expect(try tokenizer.decode([1], showsHidden: true) == Array("<|im_start|>".utf8))
}

@Test(arguments: ["a", " ", "\n", "é", "ab ", "\u{3000}", "'", "9"])
func encode_longRuns_areCutAndLoseNothing(character: String) throws {
    for name in ["byte-pairs", "sentence-pieces"] {
        let fixture = try Fixture(name)
        let tokenizer = try fixture.tokenizer(preTokenizer: fixture.sections[0].preTokenizer)
        let text = String(repeating: character, count: 40_000)
        let tokens = tokenizer.encode(text, parseSpecial: true, addSpecial: false)
        #expect(!tokens.isEmpty)
        #expect(try tokenizer.decode(tokens, showsHidden: false).suffix(text.utf8.count).elementsEqual(text.utf8))
    }
}
