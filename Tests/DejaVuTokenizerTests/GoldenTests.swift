import DejaVuTokenizer
import Testing

@Test func model_goldenTexts_makeTheTokensOfLlamaCpp() throws {
    let fixture = try Fixture("smollm2")
    fixture.check(try #require(fixture.sections.first), try modelTokenizer())
}

@Test func bytePairs_goldenTexts_makeTheTokensOfLlamaCppUnderEachPreTokenizer() throws {
    let fixture = try Fixture("byte-pairs")
    #expect(fixture.sections.count == 10)
    for section in fixture.sections {
        fixture.check(section, try fixture.tokenizer(preTokenizer: section.preTokenizer))
    }
}

@Test func bytePairs_goldenTexts_tellPreTokenizersApart() throws {
    let fixture = try Fixture("byte-pairs")
    for section in fixture.sections {
        for other in fixture.sections where other.preTokenizer != section.preTokenizer {
            let tokenizer = try fixture.tokenizer(preTokenizer: other.preTokenizer)
            #expect(
                section.cases.contains { TokenizerCheck.answer($0.question, tokenizer) != $0.answer },
                "\(section.preTokenizer ?? "") and \(other.preTokenizer ?? "")")
        }
    }
}

@Test func sentencePieces_goldenTexts_makeTheTokensOfLlamaCpp() throws {
    let fixture = try Fixture("sentence-pieces")
    fixture.check(try #require(fixture.sections.first), try fixture.tokenizer(preTokenizer: nil))
}
