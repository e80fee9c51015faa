import DejaVuCore

/// Answers questions about a tokenizer line by line, for comparisons with other implementations.
///
/// `Tools/tokenizer-oracle` speaks the same protocol with llama.cpp behind it. Words are separated by one space, bytes
/// are in hexadecimal:
/// - `encode FLAGS HEX`: FLAGS has `s` to parse special tokens and `a` to add them, or is `-`. Answers the tokens.
/// - `pieces HEX…`: the parts of a chat, each with `t` (template) or `m` (message) in front. Answers the tokens.
/// - `token NUMBER`: answers the token's bytes (or `-`), `c` or `-` for control, `e` or `-` for end of generation.
/// - `size`: answers the size of the vocabulary.
///
/// What is none of these is answered with `error` and the reason.
package enum TokenizerCheck {
    /// The answer to one line.
    package static func answer(_ line: String, _ tokenizer: Tokenizer) -> String {
        let words = line.split(separator: " ", omittingEmptySubsequences: false)
        switch words.first {
        case "encode" where words.count == 3:
            guard let bytes = bytes(hex: words[2]) else { return "error not hexadecimal" }
            return bytes.withUnsafeBufferPointer {
                list(
                    tokenizer.encode($0, parseSpecial: words[1].contains("s"), addSpecial: words[1].contains("a")))
            }
        case "pieces":
            var pieces: [Tokenizer.Piece] = []
            for word in words.dropFirst() {
                guard let kind = word.first, kind == "t" || kind == "m", let bytes = bytes(hex: word.dropFirst())
                else { return "error not a piece" }
                pieces.append(Tokenizer.Piece(String(decoding: bytes, as: UTF8.self), isTemplate: kind == "t"))
            }
            return list(tokenizer.encode(pieces: pieces, addSpecial: false))
        case "token" where words.count == 2:
            guard let token = TokenID(words[1]), tokenizer.contains(token) else { return "error no such token" }
            let bytes = tokenizer.bytes(of: token)
            return (bytes.isEmpty ? "-" : hex(bytes)) + (tokenizer.isControl(token) ? " c" : " -")
                + (tokenizer.endsGeneration(token) ? " e" : " -")
        case "size" where words.count == 1: return String(tokenizer.vocabularySize)
        default: return "error unknown question"
        }
    }

    /// Answers standard input until it ends. Blocks the thread.
    package static func run(_ tokenizer: Tokenizer) {
        while let line = readLine() { print(answer(line, tokenizer)) }
    }

    private static func list(_ tokens: [TokenID]) -> String {
        tokens.map { String($0) }.joined(separator: " ")
    }

    package static func hex(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    package static func bytes(hex: some StringProtocol) -> [UInt8]? {
        var bytes: [UInt8] = []
        var high: UInt8?
        for digit in hex {
            guard let value = digit.hexDigitValue else { return nil }
            if let first = high {
                bytes.append(first << 4 | UInt8(value))
                high = nil
            } else {
                high = UInt8(value)
            }
        }
        return high == nil ? bytes : nil
    }
}
