extension TextPart {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    func splitAsGPT2(into ends: inout [Int]) {
        var position = start
        while position < end {
            let contraction = contraction(at: position, ignoringCase: false)
            if contraction > 0 {
                position += contraction
            } else {
                let word = units[position].is(" ") ? position + 1 : position
                let first = self[word]
                if first.isLetter {
                    position = run(from: word) { $0.isLetter }
                } else if first.isNumber {
                    position = run(from: word) { $0.isNumber }
                } else if first.isOther {
                    position = run(from: word) { $0.isOther }
                } else {
                    position = whitespaceEnd(at: position)
                }
            }
            ends.append(position)
        }
    }

    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|`
    /// `\s+(?!\S)|\s+`
    ///
    /// Qwen 2 has `\p{N}` alone; Qwen 3.5 also `[\p{L}\p{M}]+` for `\p{L}+`, and `[^\s\p{L}\p{M}\p{N}]+`.
    func splitAsLlama3(_ rules: PreTokenizer.WordRules, into ends: inout [Int]) {
        let withMarks = rules.marksAreLetters
        func inWord(_ unit: CharacterUnit) -> Bool { unit.isLetter || (withMarks && unit.isMark) }
        func inSymbols(_ unit: CharacterUnit) -> Bool { unit.isOther && !(withMarks && unit.isMark) }
        var position = start
        while position < end {
            let unit = units[position]
            let contraction = rules.contractions ? contraction(at: position, ignoringCase: true) : 0
            if contraction > 0 {
                position += contraction
            } else if !unit.isLineBreak, !unit.isNumber, inWord(unit) || inWord(self[position + 1]) {
                position = run(from: position + 1, inWord)
            } else if unit.isNumber {
                position = numberEnd(at: position, rules)
            } else if let stop = symbolsEnd(at: position, inSymbols) {
                position = run(from: stop) { $0.isLineBreak }
            } else {
                position = lineBreakEnd(at: position) ?? whitespaceEnd(at: position)
            }
            ends.append(position)
        }
    }

    /// `[^\r\n\p{L}\p{N}]?U*L+|[^\r\n\p{L}\p{N}]?U+L*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    /// where U is any letter but a-z and L any but A-Z.
    ///
    /// GPT-4o has `\p{N}{1,3}`, and both kinds of words may end with a contraction.
    func splitAtCases(_ rules: PreTokenizer.WordRules, into ends: inout [Int]) {
        var position = start
        while position < end {
            let unit = units[position]
            if !unit.isLineBreak, !unit.isNumber, unit.isLetter || self[position + 1].isLetter {
                position = casedWordEnd(at: unit.isLetter ? position : position + 1)
                if rules.contractions { position += contraction(at: position, ignoringCase: true) }
            } else if unit.isNumber {
                position = numberEnd(at: position, rules)
            } else if let stop = symbolsEnd(at: position, \.isOther) {
                position = run(from: stop) { $0.isLineBreak || $0.is("/") }
            } else {
                position = lineBreakEnd(at: position) ?? whitespaceEnd(at: position)
            }
            ends.append(position)
        }
    }

    /// The end of a word that starts with a letter: `U*L+`, and if there is no such word, `U+`.
    private func casedWordEnd(at first: Int) -> Int {
        var lastUncased = -1
        var position = first
        while self[position].isLetter, !(0x61...0x7A).contains(units[position].code) {
            if !(0x41...0x5A).contains(units[position].code) { lastUncased = position }
            position += 1
        }
        // A small letter follows: the word goes on to the next capital.
        if self[position].isLetter {
            return run(from: position) { $0.isLetter && !(0x41...0x5A).contains($0.code) }
        }
        // Else the expression gives back capitals until a letter without case can end the word.
        return lastUncased >= 0 ? lastUncased + 1 : position
    }

    private func numberEnd(at position: Int, _ rules: PreTokenizer.WordRules) -> Int {
        var stop = position + 1
        while stop < end, stop - position < rules.numbers, units[stop].isNumber { stop += 1 }
        return stop
    }

    /// The end of ` ?[^\s\p{L}\p{N}]+`, or nil if there is no such thing here.
    private func symbolsEnd(at position: Int, _ inSymbols: (CharacterUnit) -> Bool) -> Int? {
        let first = units[position].is(" ") ? position + 1 : position
        guard inSymbols(self[first]) else { return nil }
        return run(from: first, inSymbols)
    }
}
