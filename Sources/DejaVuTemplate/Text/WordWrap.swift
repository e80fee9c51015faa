/// Python's `textwrap.wrap` of one paragraph, as Jinja2's `wordwrap` calls it.
struct WordWrap {
    let width: Int
    let breaksLongWords: Bool
    let breaksOnHyphens: Bool

    /// Only ASCII white space parts words here.
    private static func isSpace(_ byte: UInt8) -> Bool { (byte >= 0x09 && byte <= 0x0D) || byte == 0x20 }

    private static func isWord(_ scalar: Unicode.Scalar) -> Bool {
        scalar == "_" || scalar.properties.isAlphabetic || scalar.properties.numericType != nil
    }

    private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
        isWord(scalar) && scalar.properties.numericType == nil && scalar != "_"
    }

    /// How many runs of word characters there are.
    static func wordCount(_ string: TemplateString) -> Int {
        var count = 0
        var inWord = false
        for scalar in string.text.unicodeScalars {
            let isWord = isWord(scalar)
            if isWord, !inWord { count += 1 }
            inWord = isWord
        }
        return count
    }

    func lines(of paragraph: TemplateString) -> [TemplateString] {
        var chunks = Array(chunks(of: paragraph).reversed())
        var lines: [TemplateString] = []
        while !chunks.isEmpty {
            if Self.isBlank(chunks[chunks.count - 1]), !lines.isEmpty { chunks.removeLast() }
            var current: [TemplateString] = []
            var length = 0
            while let chunk = chunks.last, length + chunk.scalarCount <= width {
                length += chunk.scalarCount
                current.append(chunks.removeLast())
            }
            if let chunk = chunks.last, chunk.scalarCount > width {
                takeLongWord(&chunks, &current, space: width < 1 ? 1 : width - length)
            }
            if let last = current.last, Self.isBlank(last) { current.removeLast() }
            if !current.isEmpty { lines.append(TextTools.joined(current, TemplateString())) }
        }
        return lines
    }

    private static func isBlank(_ string: TemplateString) -> Bool {
        string.strippedRange(left: true, right: false, where: UTF8Text.isSpace).isEmpty
    }

    private func takeLongWord(_ chunks: inout [TemplateString], _ current: inout [TemplateString], space: Int) {
        guard let chunk = chunks.last else { return }
        if breaksLongWords {
            var end = space
            if breaksOnHyphens, chunk.scalarCount > space {
                let head = chunk.slice(0..<chunk.offset(ofScalar: space))
                if let hyphen = UTF8Text.findLast([UInt8(ascii: "-")], in: head.bytes, 0..<head.count), hyphen > 0,
                    head.bytes[..<hyphen].contains(where: { $0 != UInt8(ascii: "-") })
                {
                    end = head.scalarIndex(ofByte: hyphen) + 1
                }
            }
            let cut = chunk.offset(ofScalar: end)
            current.append(chunk.slice(0..<cut))
            chunks[chunks.count - 1] = chunk.slice(cut..<chunk.count)
        } else if current.isEmpty {
            current.append(chunks.removeLast())
        }
    }

    /// Words, white space, and, if they may be broken there, the parts of words around hyphens.
    private func chunks(of string: TemplateString) -> [TemplateString] {
        var result: [TemplateString] = []
        var start = 0
        while start < string.count {
            let isSpace = Self.isSpace(string.bytes[start])
            var end = start
            while end < string.count, Self.isSpace(string.bytes[end]) == isSpace { end += 1 }
            let chunk = string.slice(start..<end)
            result += isSpace || !breaksOnHyphens ? [chunk] : Self.parts(of: chunk)
            start = end
        }
        return result
    }

    /// A word cut after hyphens between letters and around dashes of two or more hyphens.
    private static func parts(of word: TemplateString) -> [TemplateString] {
        let scalars = word.scalars
        let offsets = word.scalarOffsets
        let count = scalars.count
        func isLetterAt(_ index: Int) -> Bool { index >= 0 && index < count && isLetter(scalars[index]) }
        func isHyphenAt(_ index: Int) -> Bool { index >= 0 && index < count && scalars[index] == "-" }
        func endsWord(_ index: Int) -> Bool {
            index >= 0 && (isWord(scalars[index]) || ["!", "\"", "'", "&", ".", ",", "?"].contains(scalars[index]))
        }
        var cuts: [Int] = []
        var index = 0
        while index < count {
            guard isHyphenAt(index) else {
                index += 1
                continue
            }
            var end = index
            while isHyphenAt(end) { end += 1 }
            if end - index >= 2, endsWord(index - 1), end < count, isWord(scalars[end]) {
                cuts += [index, end]
                index = end
                continue
            }
            let letterBefore =
                isLetterAt(index - 1)
                && (isLetterAt(index - 2)
                    || (isHyphenAt(index - 2) && isLetterAt(index - 3)))
            let next = index + 1
            let letterAfter =
                isLetterAt(next)
                && (isLetterAt(next + 1)
                    || (isHyphenAt(next + 1) && isLetterAt(next + 2)))
            if letterBefore, letterAfter { cuts.append(next) }
            index += 1
        }
        var result: [TemplateString] = []
        var start = 0
        for cut in cuts + [count] where cut > start {
            result.append(word.slice(offsets[start]..<offsets[cut]))
            start = cut
        }
        return result
    }
}

/// What `Markup` does beyond escaping.
enum Markup {
    /// The text without comments and tags, entities resolved, white space as single spaces.
    static func striptags(_ string: TemplateString) -> TemplateString {
        let withoutComments = removing(string, "<!--", "-->")
        let withoutTags = removing(withoutComments, "<", ">")
        var words: [TemplateString] = []
        var start = 0
        while start < withoutTags.count {
            let space = UTF8Text.spaceLength(in: withoutTags.bytes, at: start)
            if space > 0 {
                start += space
                continue
            }
            var end = start
            while end < withoutTags.count, UTF8Text.spaceLength(in: withoutTags.bytes, at: end) == 0 {
                end += withoutTags.scalar(at: end).length
            }
            words.append(withoutTags.slice(start..<end))
            start = end
        }
        var text = TextTools.joined(words, TemplateString(literal: " "))
        let entities = [
            ("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&#34;", "\""), ("&quot;", "\""), ("&amp;", "&"),
        ]
        for (entity, character) in entities {
            // What comes out of an entity may be half of a special token, so it counts as data.
            text = TextTools.replaced(
                text, TemplateString(literal: entity), TemplateString(character, isTemplate: false), limit: -1)
        }
        return text
    }

    private static func removing(_ string: TemplateString, _ open: String, _ close: String) -> TemplateString {
        var result = TemplateString()
        var start = 0
        while let from = UTF8Text.find(Array(open.utf8), in: string.bytes, start..<string.count),
            let to = UTF8Text.find(Array(close.utf8), in: string.bytes, from..<string.count)
        {
            result.append(string, start..<from)
            start = to + close.utf8.count
        }
        result.append(string, start..<string.count)
        return result
    }
}
