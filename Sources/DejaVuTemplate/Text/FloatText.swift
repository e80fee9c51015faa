#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Floats as text.
enum FloatText {
    /// Python's `repr`: the shortest digits that give the same float back, with an exponent below 1e-4 and from 1e16.
    static func shortest(_ value: Double) -> String {
        if value.isNaN { return "nan" }
        if value.isInfinite { return value < 0 ? "-inf" : "inf" }
        if value == 0 { return value.sign == .minus ? "-0.0" : "0.0" }
        let sign = value < 0 ? "-" : ""
        let (digits, point) = decimal(abs(value))
        if point > 16 || point < -3 {
            let exponent = point - 1
            let mantissa = digits.count == 1 ? digits : digits.prefix(1) + "." + digits.dropFirst()
            let size = String(abs(exponent))
            return sign + mantissa + (exponent < 0 ? "e-" : "e+") + (size.count < 2 ? "0" + size : size)
        }
        if point <= 0 { return sign + "0." + String(repeating: "0", count: -point) + digits }
        if digits.count <= point {
            return sign + digits + String(repeating: "0", count: point - digits.count) + ".0"
        }
        return sign + digits.prefix(point) + "." + digits.dropFirst(point)
    }

    /// The shortest digits of a positive float, and how many of them stand before the point.
    private static func decimal(_ value: Double) -> (digits: String, point: Int) {
        let parts = value.description.split(separator: "e", omittingEmptySubsequences: false)
        let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        var point = mantissa[0].count + (parts.count > 1 ? Int(parts[1]) ?? 0 : 0)
        var digits = mantissa[0] + (mantissa.count > 1 ? mantissa[1] : "")
        while digits.count > 1, digits.first == "0" {
            digits.removeFirst()
            point -= 1
        }
        while digits.count > 1, digits.last == "0" { digits.removeLast() }
        return (String(digits), point)
    }

    /// What C's printf makes of a float with a conversion (`e`, `f`, `g`), correctly rounded.
    static func printed(_ value: Double, _ conversion: Character, precision: Int, alternate: Bool = false) -> String {
        if value.isNaN { return "nan" }
        if value.isInfinite { return value < 0 ? "-inf" : "inf" }
        let format = "%\(alternate ? "#" : "").\(precision)\(conversion)"
        // A float has at most 309 digits before the point.
        var buffer = [CChar](repeating: 0, count: precision + 400)
        let length = withVaList([value]) { vsnprintf(&buffer, buffer.count, format, $0) }
        return String(decoding: buffer.prefix(max(0, Int(length))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Python's `float(text)`, or nil if it refuses.
    static func parse(_ text: String) -> Double? {
        let trimmed = trimmed(text)
        guard let digits = withoutUnderscores(trimmed) else { return nil }
        let allowed = digits.utf8.allSatisfy { byte in
            (byte >= 0x30 && byte <= 0x39) || byte == 0x2B || byte == 0x2D || byte == 0x2E || byte | 0x20 == 0x65
        }
        if allowed { return Double(digits) }
        switch digits.lowercased() {
        case "inf", "+inf", "infinity", "+infinity": return .infinity
        case "-inf", "-infinity": return -.infinity
        case "nan", "+nan", "-nan": return .nan
        default: return nil
        }
    }

    /// Python's `int(text, base)`: nil if it refuses, an overflow if the number needs more than 64 bits.
    static func parseInteger(_ text: String, base: Int) -> (value: Int, overflow: Bool)? {
        var digits = Substring(trimmed(text)).lowercased()[...]
        var sign = ""
        if let first = digits.first, first == "-" || first == "+" {
            sign = first == "-" ? "-" : ""
            digits.removeFirst()
        }
        var base = base
        let prefixes = ["0x": 16, "0o": 8, "0b": 2]
        if let prefixed = prefixes[String(digits.prefix(2))], base == prefixed || base == 0 {
            base = prefixed
            digits = digits.dropFirst(2)
            if digits.first == "_" { digits.removeFirst() }
        } else if base == 0 {
            base = 10
            if digits.first == "0", digits.contains(where: { $0 != "0" && $0 != "_" }) { return nil }
        }
        guard base >= 2, base <= 36, let plain = withoutUnderscores(String(digits)), !plain.isEmpty,
            plain.allSatisfy({ character in
                guard character.isASCII, let byte = character.asciiValue else { return false }
                let value = byte >= 0x61 ? Int(byte) - 0x61 + 10 : Int(byte) - 0x30
                return (byte >= 0x30 && byte <= 0x39 || byte >= 0x61 && byte <= 0x7A) && value < base
            })
        else { return nil }
        return Int(sign + plain, radix: base).map { ($0, false) } ?? (0, true)
    }

    private static func trimmed(_ text: String) -> String {
        let string = TemplateString(literal: text)
        return string.slice(string.strippedRange(left: true, right: true, where: UTF8Text.isSpace)).text
    }

    /// The text without single underscores between digits; nil if one stands elsewhere.
    private static func withoutUnderscores(_ text: String) -> String? {
        guard text.utf8.contains(UInt8(ascii: "_")) else { return text }
        let characters = Array(text)
        for (index, character) in characters.enumerated() where character == "_" {
            guard index > 0, index + 1 < characters.count, characters[index - 1].isHexDigit,
                characters[index + 1].isHexDigit
            else { return nil }
        }
        return String(characters.filter { $0 != "_" })
    }
}
