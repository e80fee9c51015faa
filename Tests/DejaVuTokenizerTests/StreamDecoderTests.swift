import DejaVuTokenizer
import Testing

private let samples: [[UInt8]] = [
    Array("plain ASCII".utf8), Array("Straße 你好 👩‍👩‍👧 \u{10FFFF}".utf8), [0xFF, 0xFE], [0xC3], [0xE2, 0x82],
    [0xF0, 0x9F, 0x98],
    [0xF0, 0x9F, 0x41], [0xC0, 0x80, 0xED, 0xA0, 0x80], [0xE2, 0x28, 0xA1], [0xF4, 0x90, 0x80, 0x80],
    [0x80, 0xBF, 0xC2, 0xC2, 0xA9],
    [0xF0, 0x80, 0x80, 0x80], [0xE0, 0x9F, 0xBF, 0xF5, 0x80], [0xE1, 0x80, 0xC3, 0xA9, 0xF1, 0x80, 0x80],
]

@Test(arguments: samples)
func stream_cutAnywhere_isTheTextAsAWhole(bytes: [UInt8]) {
    let whole = String(decoding: bytes, as: UTF8.self)
    for size in 1...max(1, bytes.count) {
        var decoder = StreamDecoder()
        var text = ""
        for start in stride(from: 0, to: bytes.count, by: size) {
            text += decoder.append(bytes[start..<min(bytes.count, start + size)])
        }
        text += decoder.finish()
        #expect(text.unicodeScalars.elementsEqual(whole.unicodeScalars))
        #expect(!decoder.isHolding)
    }
}

@Test func stream_startOfACharacter_isHeldBackUntilItIsWhole() {
    var decoder = StreamDecoder()
    #expect(decoder.append([0x61, 0xF0]) == "a")
    #expect(decoder.append([0x9F]) == "")
    #expect(decoder.append([0x98]) == "")
    #expect(decoder.isHolding)
    #expect(decoder.append([0x80]) == "😀")
    #expect(decoder.append([0xE2, 0x82]) == "")
    #expect(decoder.finish() == "\u{FFFD}")
}

@Test func stream_whatCannotBecomeACharacter_isReplacedAtOnce() {
    var decoder = StreamDecoder()
    #expect(decoder.append([0xE2]) == "")
    #expect(decoder.append([0x41]) == "\u{FFFD}A")
    #expect(decoder.append([0xED, 0xA0]) == "\u{FFFD}\u{FFFD}")
    #expect(!decoder.isHolding)
}

@Test func stream_tokensOfAText_giveItInWholeCharacters() throws {
    let tokenizer = try modelTokenizer()
    let text = "Emoji 👩‍👩‍👧 and ᚠᛇᚻ, 你好!"
    let tokens = [1] + tokenizer.encode(text, parseSpecial: false, addSpecial: false) + [2]
    var decoder = StreamDecoder()
    var parts = tokens.map { decoder.append($0, of: tokenizer) }
    parts.append(decoder.finish())
    #expect(parts.joined() == text)
    #expect(!parts.joined().unicodeScalars.contains("\u{FFFD}"))
}
