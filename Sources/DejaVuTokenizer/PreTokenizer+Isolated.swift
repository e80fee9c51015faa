extension TextPart {
    /// Appends the end of each match and of what lies between matches.
    func isolate(_ isolated: PreTokenizer.Isolated, into ends: inout [Int]) {
        var position = start
        var gapStart = start
        while position < end {
            let matchEnd = matchEnd(of: isolated, at: position)
            guard matchEnd > position else {
                position += 1
                continue
            }
            if gapStart < position { ends.append(position) }
            ends.append(matchEnd)
            position = matchEnd
            gapStart = matchEnd
        }
        if gapStart < end { ends.append(end) }
    }

    /// The end of the match at a position; the position itself if there is none.
    private func matchEnd(of isolated: PreTokenizer.Isolated, at position: Int) -> Int {
        switch isolated {
        case .number: units[position].isNumber ? position + 1 : position
        case .numberRun: run(from: position) { $0.isNumber }
        case .threeDigits: (0..<3).allSatisfy { self[position + $0].isDigit } ? position + 3 : position
        case .punctuationRun(let withBacktick):
            run(from: position) { unit in
                unit.isOf(.punctuation) || "$+<=>^~|".unicodeScalars.contains { unit.is($0) }
                    || (withBacktick && unit.is("`"))
            }
        case .lineBreak: units[position].isLineBreak ? position + 1 : position
        case .letterRun: runAfterSpace(from: position) { $0.isLetter }
        case .plainPunctuationRun: runAfterSpace(from: position) { $0.isOf(.punctuation) }
        case .eastAsianRun: run(from: position) { $0.isEastAsian }
        }
    }

    /// A run that may have one whitespace character in front of it.
    private func runAfterSpace(from position: Int, _ matches: (CharacterUnit) -> Bool) -> Int {
        let first = units[position].isWhitespace ? position + 1 : position
        let stop = run(from: first, matches)
        return stop > first ? stop : position
    }
}

extension CharacterUnit {
    fileprivate var isDigit: Bool { (0x30...0x39).contains(code) }
    fileprivate var isEastAsian: Bool {
        guard !isWhitespace else { return false }
        return switch code {
        case 0x4E00...0x9FA5, 0x0800...0x4E00, 0xAC00...0xD7FF: true
        default: false
        }
    }
}
