import DejaVuCore

/// Cuts a template's source into tokens as Jinja2 does with `trim_blocks` and `lstrip_blocks` on: the newline after a
/// block or comment goes, as does white space between the start of a line and a block or comment; `-` takes all white
/// space on its side, `+` keeps it. The last newline of the source is dropped.
struct Lexer {
    let source: [UInt8]
    var position = 0
    var line = 1
    /// Whether what came before ended a line.
    var lineStarting = true
    var tokens: [Token] = []
    /// The closing brackets that are still to come in this tag.
    var expected: [Token.Symbol] = []
    let limits: TemplateLimits

    static func tokens(_ source: String, limits: TemplateLimits) throws(DejaVuError) -> [Token] {
        guard source.utf8.count <= limits.sourceBytes else {
            throw .templateLimit("sourceBytes", limits.sourceBytes, line: 0)
        }
        var lexer = Lexer(source: normalized(source), limits: limits)
        while lexer.position < lexer.source.count { try lexer.lexText() }
        lexer.emit(.end)
        return lexer.tokens
    }

    private init(source: [UInt8], limits: TemplateLimits) {
        self.source = source
        self.limits = limits
    }

    /// Every line end as `\n`, and none at the very end.
    private static func normalized(_ source: String) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(source.utf8.count)
        var afterReturn = false
        for byte in source.utf8 {
            if byte == 0x0A, afterReturn {
                afterReturn = false
                continue
            }
            afterReturn = byte == 0x0D
            bytes.append(afterReturn ? 0x0A : byte)
        }
        if bytes.last == 0x0A { bytes.removeLast() }
        return bytes
    }

    mutating func emit(_ kind: Token.Kind) { tokens.append(Token(kind: kind, line: line)) }

    func failure(_ message: String) -> DejaVuError {
        DejaVuError(.invalidFile, "chat template, line \(line): \(message)", subject: "chat_template")
    }

    func has(_ text: StaticString, at offset: Int) -> Bool {
        text.withUTF8Buffer { wanted in
            guard offset + wanted.count <= source.count else { return false }
            for index in 0..<wanted.count where source[offset + index] != wanted[index] { return false }
            return true
        }
    }

    /// `offset` moved past white space.
    func skippingSpace(_ offset: Int) -> Int {
        var offset = offset
        while offset < source.count {
            let length = UTF8Text.spaceLength(in: source, at: offset)
            if length == 0 { break }
            offset += length
        }
        return offset
    }

    /// Moves on to `end`, counting lines.
    mutating func advance(to end: Int) {
        for index in position..<end where source[index] == 0x0A { line += 1 }
        if end > position { lineStarting = source[end - 1] == 0x0A }
        position = end
    }

    private enum Opening { case raw(end: Int), comment, block, variable }

    /// Text up to the next tag, and then that tag.
    private mutating func lexText() throws(DejaVuError) {
        var start = position
        while start + 1 < source.count {
            if source[start] == 0x7B, let opening = opening(at: start) {
                try lex(opening, at: start)
                return
            }
            start += 1
        }
        emitData(position..<source.count)
        advance(to: source.count)
    }

    private func opening(at offset: Int) -> Opening? {
        switch source[offset + 1] {
        case UInt8(ascii: "{"): return .variable
        case UInt8(ascii: "#"): return .comment
        case UInt8(ascii: "%"): return rawBegin(at: offset).map { .raw(end: $0) } ?? .block
        default: return nil
        }
    }

    /// The end of a `{% raw %}` that starts at `offset`.
    private func rawBegin(at offset: Int) -> Int? {
        let sign = skippingSign(offset + 2)
        let name = skippingSpace(sign)
        guard has("raw", at: name) else { return nil }
        let end = skippingSpace(name + 3)
        if has("-%}", at: end) { return skippingSpace(end + 3) }
        return has("%}", at: end) ? end + 2 : nil
    }

    private func skippingSign(_ offset: Int) -> Int {
        offset < source.count && (source[offset] == UInt8(ascii: "-") || source[offset] == UInt8(ascii: "+"))
            ? offset + 1 : offset
    }

    private mutating func lex(_ opening: Opening, at start: Int) throws(DejaVuError) {
        var strips = true
        if case .variable = opening { strips = false }
        emitText(upTo: start, stripsLine: strips)
        switch opening {
        case .raw(let end):
            advance(to: end)
            try lexRaw()
        case .comment:
            advance(to: skippingSign(start + 2))
            try lexComment()
        case .block:
            emit(.blockBegin)
            advance(to: skippingSign(start + 2))
            try lexTag(isBlock: true)
        case .variable:
            emit(.variableBegin)
            advance(to: skippingSign(start + 2))
            try lexTag(isBlock: false)
        }
    }

    private mutating func emitData(_ range: Range<Int>) {
        if !range.isEmpty { emit(.data(Array(source[range]))) }
    }

    /// The text before the tag at `start`, without the white space that the tag takes away.
    private mutating func emitText(upTo start: Int, stripsLine: Bool) {
        let sign = start + 2 < source.count ? source[start + 2] : 0
        var end = start
        if sign == UInt8(ascii: "-") {
            end = strippedEnd(position..<start)
        } else if sign != UInt8(ascii: "+"), stripsLine {
            let lineStart = source[position..<start].lastIndex(of: 0x0A).map { $0 + 1 } ?? position
            if lineStart > position || lineStarting, skippingSpace(lineStart) >= start { end = lineStart }
        }
        emitData(position..<end)
        advance(to: start)
    }

    /// The end of `range` without the white space at its end.
    private func strippedEnd(_ range: Range<Int>) -> Int {
        var end = range.upperBound
        while end > range.lowerBound {
            var last = end - 1
            while last > range.lowerBound, (source[last] & 0xC0) == 0x80 { last -= 1 }
            guard UTF8Text.spaceLength(in: source, at: last) > 0 else { break }
            end = last
        }
        return end
    }

    /// The end of a closing tag such as `%}` at `offset`, with the white space that belongs to it.
    func closing(_ text: StaticString, at offset: Int) -> Int? {
        let length = text.utf8CodeUnitCount
        if source[offset] == UInt8(ascii: "-"), has(text, at: offset + 1) { return skippingSpace(offset + 1 + length) }
        if source[offset] == UInt8(ascii: "+"), has(text, at: offset + 1) { return offset + 1 + length }
        guard has(text, at: offset) else { return nil }
        let end = offset + length
        return end < source.count && source[end] == 0x0A ? end + 1 : end
    }

    private mutating func lexComment() throws(DejaVuError) {
        for offset in position..<max(position, source.count) {
            if let end = closing("#}", at: offset) {
                advance(to: end)
                return
            }
        }
        throw failure("a comment is not closed")
    }

    private mutating func lexRaw() throws(DejaVuError) {
        var start = position
        while start + 1 < source.count {
            if has("{%", at: start), let end = rawEnd(at: start) {
                emitText(upTo: start, stripsLine: true)
                advance(to: end)
                return
            }
            start += 1
        }
        throw failure("a raw block is not closed")
    }

    private func rawEnd(at offset: Int) -> Int? {
        let name = skippingSpace(skippingSign(offset + 2))
        guard has("endraw", at: name) else { return nil }
        let end = skippingSpace(name + 6)
        return end < source.count ? closing("%}", at: end) : nil
    }
}
