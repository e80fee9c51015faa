import DejaVuCore

/// SentencePiece's byte-pair encoding: neighbours are joined whose text is a token, the highest score first; what is no
/// token in the end becomes tokens of single bytes.
struct SentencePieceEncoder: Sendable {
    private let texts: ByteStringIndex
    /// For each token how soon it is made: the order of scores turned round.
    private let priorities: [UInt32]
    private let isControl: [Bool]
    private let byteTokens: [TokenID?]
    private let tokenLengthMax: Int
    /// Whether no token has a space behind something else. Words, with the spaces in front, are then independent.
    private let spacesLead: Bool

    init(_ vocabulary: Vocabulary) {
        texts = vocabulary.texts
        isControl = vocabulary.attributes.map { $0.contains(.control) }
        priorities = (0..<vocabulary.count).map { index in
            // Adding 0 makes -0 equal to 0; then the bits of floats are put in the order of integers.
            let bits = ((vocabulary.scores.isEmpty ? 0 : vocabulary.scores[index]) + 0).bitPattern
            return ~(bits >> 31 == 1 ? ~bits : bits | 1 << 31)
        }
        byteTokens = (0...255).map { byte in
            let digits = String(byte, radix: 16, uppercase: true)
            if let token = vocabulary.token("<0x\(byte < 16 ? "0" : "")\(digits)>") { return token }
            let single = withUnsafePointer(to: UInt8(byte)) {
                vocabulary.texts.find(UnsafeBufferPointer(start: $0, count: 1))
            }
            return single >= 0 ? single : vocabulary.roles.unknown
        }
        spacesLead = vocabulary.texts.strings.bytes.withUnsafeBufferPointer { bytes in
            (0..<vocabulary.count).allSatisfy {
                Self.spaceLeads(UnsafeBufferPointer(rebasing: bytes[vocabulary.texts.strings.range($0)]))
            }
        }
        tokenLengthMax = (0..<vocabulary.count).reduce(0) { max($0, vocabulary.texts.strings.range($1).count) }
    }

    /// Appends the tokens of a text without special tokens. About `admitsControl` see `Tokenizer.encode(pieces:)`.
    func encode(
        _ text: UnsafeBufferPointer<UInt8>, spacePrefix: Bool, admitsControl: Bool, into output: inout [TokenID]
    ) {
        Self.escape(text, spacePrefix: spacePrefix).withUnsafeBufferPointer { escaped in
            var queue = MergeQueue()
            var start = 0
            while start < escaped.count {
                let end = spacesLead ? Self.wordEnd(escaped, start) : escaped.count
                encode(escaped, start..<end, &queue, admitsControl, &output)
                start = end
            }
        }
    }

    /// Appends the tokens of a part of the text that no token can reach out of.
    private func encode(
        _ text: UnsafeBufferPointer<UInt8>, _ part: Range<Int>, _ queue: inout MergeQueue, _ admitsControl: Bool,
        _ output: inout [TokenID]
    ) {
        queue.removeAll()
        var start = part.lowerBound
        while start < part.upperBound {
            let length = min(Self.length(text[start]), part.upperBound - start)
            queue.append(id: find(text, start, length, admitsControl), start: start, length: length)
            start += length
        }
        queue.run { left, right in
            let id = find(text, Int(left.start), Int(left.length + right.length), admitsControl)
            return MergeTable.Merge(rank: id < 0 ? .max : priorities[Int(id)], result: id)
        }
        for symbol in queue.symbols where symbol.length > 0 {
            if symbol.id >= 0 {
                output.append(symbol.id)
            } else {
                for byte in text[Int(symbol.start)..<Int(symbol.start + symbol.length)] {
                    if let token = byteTokens[Int(byte)] { output.append(token) }
                }
            }
        }
    }

    /// Where the next word starts: at a space that follows something else.
    private static func wordEnd(_ text: UnsafeBufferPointer<UInt8>, _ start: Int) -> Int {
        var position = start
        var afterSpace = true
        while position < text.count {
            let isSpace = isSpace(text, position)
            if isSpace, !afterSpace { return position }
            afterSpace = isSpace
            position += isSpace ? 3 : min(length(text[position]), text.count - position)
        }
        return position
    }

    private static func isSpace(_ text: UnsafeBufferPointer<UInt8>, _ position: Int) -> Bool {
        text[position] == 0xE2 && position + 2 < text.count && text[position + 1] == 0x96 && text[position + 2] == 0x81
    }

    /// Whether a text has a space only where it begins, or begins with several. Goes by characters as `encode` does.
    private static func spaceLeads(_ text: UnsafeBufferPointer<UInt8>) -> Bool { wordEnd(text, 0) == text.count }

    private func find(
        _ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ length: Int, _ admitsControl: Bool
    ) -> Int32 {
        guard length <= tokenLengthMax else { return -1 }
        let id = texts.find(UnsafeBufferPointer(rebasing: text[start..<start + length]))
        return id >= 0 && !admitsControl && isControl[Int(id)] ? -1 : id
    }

    /// Spaces are spelled U+2581 in the vocabulary.
    private static func escape(_ text: UnsafeBufferPointer<UInt8>, spacePrefix: Bool) -> [UInt8] {
        let space: [UInt8] = [0xE2, 0x96, 0x81]
        var escaped: [UInt8] = spacePrefix ? space : []
        escaped.reserveCapacity(text.count + text.count / 2 + 3)
        for byte in text {
            if byte == 0x20 {
                escaped.append(contentsOf: space)
            } else {
                escaped.append(byte)
            }
        }
        return escaped
    }

    /// The length of a character by its first byte; what begins none counts as one byte.
    private static func length(_ first: UInt8) -> Int {
        switch first {
        case 0xC0...0xDF: 2
        case 0xE0...0xEF: 3
        case 0xF0...0xFF: 4
        default: 1
        }
    }
}
