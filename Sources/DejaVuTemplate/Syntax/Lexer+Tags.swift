import DejaVuCore

/// The inside of `{{ }}` and `{% %}`.
extension Lexer {
    mutating func lexTag(isBlock: Bool) throws(DejaVuError) {
        expected = []
        while position < source.count {
            if expected.isEmpty, let end = isBlock ? closing("%}", at: position) : variableEnd(at: position) {
                emit(isBlock ? .blockEnd : .variableEnd)
                advance(to: end)
                return
            }
            try lexToken()
        }
    }

    private func variableEnd(at offset: Int) -> Int? {
        if has("-}}", at: offset) { return skippingSpace(offset + 3) }
        return has("}}", at: offset) ? offset + 2 : nil
    }

    private mutating func lexToken() throws(DejaVuError) {
        let byte = source[position]
        let afterSpace = skippingSpace(position)
        if afterSpace > position {
            advance(to: afterSpace)
        } else if byte >= 0x30, byte <= 0x39 {
            try lexNumber()
        } else if byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
            try lexString(quote: byte)
        } else if let end = nameEnd() {
            emit(.name(String(decoding: source[position..<end], as: UTF8.self)))
            advance(to: end)
        } else {
            try lexSymbol()
        }
    }

    private func nameEnd() -> Int? {
        var end = position
        while end < source.count {
            let (scalar, length) = UTF8Text.scalar(in: source, at: end)
            let isASCIIWord = scalar == "_" || (scalar.isASCII && scalar.properties.isAlphabetic)
            let belongs: Bool
            if end == position {
                belongs = isASCIIWord || (!scalar.isASCII && scalar.properties.isXIDStart)
            } else {
                belongs = isASCIIWord || scalar.properties.isXIDContinue
            }
            if !belongs { break }
            end += length
        }
        return end > position ? end : nil
    }

    private mutating func lexSymbol() throws(DejaVuError) {
        for length in [2, 1] where position + length <= source.count {
            let text = String(decoding: source[position..<position + length], as: UTF8.self)
            guard let symbol = Token.Symbol(rawValue: text) else { continue }
            switch symbol {
            case .leftParenthesis: expected.append(.rightParenthesis)
            case .leftBracket: expected.append(.rightBracket)
            case .leftBrace: expected.append(.rightBrace)
            case .rightParenthesis, .rightBracket, .rightBrace:
                guard let last = expected.popLast() else { throw failure("unexpected '\(text)'") }
                guard last == symbol else { throw failure("unexpected '\(text)', expected '\(last.rawValue)'") }
            default: break
            }
            emit(.symbol(symbol))
            advance(to: position + length)
            return
        }
        let scalar = UTF8Text.scalar(in: source, at: position).scalar
        throw failure("unexpected character U+\(String(scalar.value, radix: 16, uppercase: true)) in a tag")
    }

    private mutating func lexString(quote: UInt8) throws(DejaVuError) {
        var end = position + 1
        while end < source.count, source[end] != quote { end += source[end] == UInt8(ascii: "\\") ? 2 : 1 }
        guard end < source.count else { throw failure("a string is not closed") }
        emit(.string(try unescaped(position + 1..<end)))
        advance(to: end + 1)
    }

    /// Python's escapes; an unknown one stays as it is.
    private func unescaped(_ range: Range<Int>) throws(DejaVuError) -> [UInt8] {
        guard source[range].contains(UInt8(ascii: "\\")) else { return Array(source[range]) }
        var result: [UInt8] = []
        var offset = range.lowerBound
        while offset < range.upperBound {
            guard source[offset] == UInt8(ascii: "\\") else {
                result.append(source[offset])
                offset += 1
                continue
            }
            let kind = source[offset + 1]
            offset += 2
            switch kind {
            case UInt8(ascii: "\n"): break
            case UInt8(ascii: "x"): result += try hexadecimal(&offset, digits: 2, end: range.upperBound)
            case UInt8(ascii: "u"): result += try hexadecimal(&offset, digits: 4, end: range.upperBound)
            case UInt8(ascii: "U"): result += try hexadecimal(&offset, digits: 8, end: range.upperBound)
            case UInt8(ascii: "N"): throw failure("the escape \\N{...} is not supported")
            case UInt8(ascii: "0")...UInt8(ascii: "7"):
                result += octal(first: kind, &offset, end: range.upperBound)
            default:
                if let byte = Self.simpleEscapes[kind] { result.append(byte) } else { result += [0x5C, kind] }
            }
        }
        return result
    }

    private static let simpleEscapes: [UInt8: UInt8] = [
        UInt8(ascii: "\\"): 0x5C, UInt8(ascii: "'"): 0x27, UInt8(ascii: "\""): 0x22, UInt8(ascii: "a"): 0x07,
        UInt8(ascii: "b"): 0x08, UInt8(ascii: "f"): 0x0C, UInt8(ascii: "n"): 0x0A, UInt8(ascii: "r"): 0x0D,
        UInt8(ascii: "t"): 0x09, UInt8(ascii: "v"): 0x0B,
    ]

    private func hexadecimal(_ offset: inout Int, digits: Int, end: Int) throws(DejaVuError) -> [UInt8] {
        guard offset + digits <= end,
            source[offset..<offset + digits].allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
            let value = UInt32(String(decoding: source[offset..<offset + digits], as: UTF8.self), radix: 16),
            let scalar = Unicode.Scalar(value)
        else { throw failure("a string has a broken or unsupported escape") }
        offset += digits
        return Array(String(scalar).utf8)
    }

    private func octal(first: UInt8, _ offset: inout Int, end: Int) -> [UInt8] {
        var value = UInt32(first - 0x30)
        let last = min(offset + 2, end)
        while offset < last, source[offset] >= 0x30, source[offset] <= 0x37 {
            value = value * 8 + UInt32(source[offset] - 0x30)
            offset += 1
        }
        return Array(String(Unicode.Scalar(value) ?? "\u{FFFD}").utf8)
    }
}

/// Numbers.
extension Lexer {
    private func isDigit(_ offset: Int) -> Bool {
        offset < source.count && source[offset] >= 0x30 && source[offset] <= 0x39
    }

    /// The end of digits with single underscores between them.
    private func digitsEnd(_ start: Int, where isDigit: (UInt8) -> Bool) -> Int {
        var end = start
        while end < source.count {
            if isDigit(source[end]) {
                end += 1
            } else if end > start, source[end] == UInt8(ascii: "_"), end + 1 < source.count, isDigit(source[end + 1]) {
                end += 2
            } else {
                break
            }
        }
        return end
    }

    private func decimalEnd(_ start: Int) -> Int { digitsEnd(start) { $0 >= 0x30 && $0 <= 0x39 } }

    private func text(_ end: Int) -> String {
        String(decoding: source[position..<end].filter { $0 != UInt8(ascii: "_") }, as: UTF8.self)
    }

    private func floatEnd() -> Int? {
        if position > 0, source[position - 1] == UInt8(ascii: ".") { return nil }
        var end = decimalEnd(position)
        var isFloat = false
        if end < source.count, source[end] == UInt8(ascii: "."), isDigit(end + 1) {
            end = decimalEnd(end + 1)
            isFloat = true
        }
        if end < source.count, source[end] | 0x20 == UInt8(ascii: "e") {
            var exponent = end + 1
            if exponent < source.count, source[exponent] == 0x2B || source[exponent] == 0x2D { exponent += 1 }
            if isDigit(exponent) {
                end = decimalEnd(exponent)
                isFloat = true
            }
        }
        return isFloat ? end : nil
    }

    mutating func lexNumber() throws(DejaVuError) {
        if let end = floatEnd() {
            guard let value = Double(text(end)) else { throw failure("a number cannot be read") }
            emit(.float(value))
            advance(to: end)
            return
        }
        var radix = 10
        var end = decimalEnd(position)
        if source[position] == 0x30 {
            end = digitsEnd(position) { $0 == 0x30 }
            if let (found, last) = prefixed() { (radix, end) = (found, last) }
        }
        let digits = radix == 10 ? text(end) : String(text(end).dropFirst(2))
        guard let value = Int(digits, radix: radix) else { throw failure("a number needs more than 64 bits") }
        emit(.integer(value))
        advance(to: end)
    }

    /// The base and the end of a number such as `0x1F`.
    private func prefixed() -> (radix: Int, end: Int)? {
        guard position + 2 < source.count else { return nil }
        let radix: Int
        switch source[position + 1] | 0x20 {
        case UInt8(ascii: "x"): radix = 16
        case UInt8(ascii: "o"): radix = 8
        case UInt8(ascii: "b"): radix = 2
        default: return nil
        }
        let start = position + 2
        let first = source[start] == UInt8(ascii: "_") ? start + 1 : start
        let end = digitsEnd(first) { byte in
            Character(Unicode.Scalar(byte)).hexDigitValue.map { $0 < radix } ?? false
        }
        return end > first ? (radix, end) : nil
    }
}
