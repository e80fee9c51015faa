/// Operations on text that need no rendering.
enum TextTools {
    /// HTML escaping with Markup's entities.
    static func escaped(_ string: TemplateString) -> TemplateString {
        var result = TemplateString()
        for run in string.runs(in: 0..<string.count) {
            var start = run.range.lowerBound
            for offset in run.range {
                guard let entity = entity(string.bytes[offset]) else { continue }
                result.append(string.bytes[start..<offset], isTemplate: run.isTemplate)
                result.append(entity, isTemplate: run.isTemplate)
                start = offset + 1
            }
            result.append(string.bytes[start..<run.range.upperBound], isTemplate: run.isTemplate)
        }
        result.isMarkup = true
        return result
    }

    private static func entity(_ byte: UInt8) -> String? {
        switch byte {
        case UInt8(ascii: "&"): return "&amp;"
        case UInt8(ascii: "<"): return "&lt;"
        case UInt8(ascii: ">"): return "&gt;"
        case UInt8(ascii: "'"): return "&#39;"
        case UInt8(ascii: "\""): return "&#34;"
        default: return nil
        }
    }

    /// `repr` of a string.
    static func writeQuoted(_ string: TemplateString, into text: inout TemplateString) {
        let hasSingle = string.bytes.contains(0x27)
        let quote: UInt8 = hasSingle && !string.bytes.contains(0x22) ? 0x22 : 0x27
        text.append([quote][...], isTemplate: true)
        for run in string.runs(in: 0..<string.count) {
            var offset = run.range.lowerBound
            var start = offset
            while offset < run.range.upperBound {
                let (scalar, length) = string.scalar(at: offset)
                if let escape = pythonEscape(scalar, quote: quote) {
                    text.append(string.bytes[start..<offset], isTemplate: run.isTemplate)
                    text.append(escape, isTemplate: run.isTemplate)
                    start = offset + length
                }
                offset += length
            }
            text.append(string.bytes[start..<offset], isTemplate: run.isTemplate)
        }
        text.append([quote][...], isTemplate: true)
    }

    private static func pythonEscape(_ scalar: Unicode.Scalar, quote: UInt8) -> String? {
        switch scalar.value {
        case 0x5C: return "\\\\"
        case UInt32(quote): return "\\" + String(scalar)
        case 0x0A: return "\\n"
        case 0x0D: return "\\r"
        case 0x09: return "\\t"
        case 0x20..<0x7F: return nil
        default: break
        }
        if isPrintable(scalar) { return nil }
        let digits = String(scalar.value, radix: 16)
        let (prefix, width) = scalar.value < 0x100 ? ("\\x", 2) : scalar.value < 0x10000 ? ("\\u", 4) : ("\\U", 8)
        return prefix + String(repeating: "0", count: width - digits.count) + digits
    }

    static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        if scalar == " " { return true }
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
            .spaceSeparator:
            return false
        default: return true
        }
    }

    /// `separator` between all `parts`.
    static func joined(_ parts: [TemplateString], _ separator: TemplateString) -> TemplateString {
        var result = TemplateString()
        result.reserve(parts.reduce(0) { $0 + $1.count } + separator.count * max(0, parts.count - 1))
        for (index, part) in parts.enumerated() {
            if index > 0 { result.append(separator) }
            result.append(part)
        }
        return result
    }

    /// `str.splitlines`
    static func lines(_ string: TemplateString, keepEnds: Bool = false) -> [TemplateString] {
        var result: [TemplateString] = []
        var start = 0
        var offset = 0
        while offset < string.count {
            let (scalar, length) = string.scalar(at: offset)
            guard UTF8Text.isLineEnd(scalar) else {
                offset += length
                continue
            }
            var end = offset + length
            if scalar == "\r", end < string.count, string.bytes[end] == 0x0A { end += 1 }
            result.append(string.slice(start..<(keepEnds ? end : offset)))
            start = end
            offset = end
        }
        if start < string.count { result.append(string.slice(start..<string.count)) }
        return result
    }

    /// `str.replace`; `limit` below 0 means all.
    static func replaced(
        _ string: TemplateString, _ old: TemplateString, _ new: TemplateString, limit: Int
    ) -> TemplateString {
        var result = TemplateString()
        var left = limit < 0 ? Int.max : limit
        if old.isEmpty {
            let offsets = string.scalarOffsets
            for (index, offset) in offsets.enumerated() {
                if left > 0 { result.append(new) }
                left -= 1
                if index + 1 < offsets.count { result.append(string, offset..<offsets[index + 1]) }
            }
            return result
        }
        var start = 0
        while left > 0, let found = UTF8Text.find(old.bytes, in: string.bytes, start..<string.count) {
            result.append(string, start..<found)
            result.append(new)
            start = found + old.count
            left -= 1
        }
        result.append(string, start..<string.count)
        return result
    }

    /// How often `part` occurs without overlap.
    static func occurrences(of part: TemplateString, in string: TemplateString, _ range: Range<Int>) -> Int {
        if part.isEmpty {
            return string.bytes[range].reduce(into: 1) { $0 += ($1 & 0xC0) == 0x80 ? 0 : 1 }
        }
        var count = 0
        var start = range.lowerBound
        while let found = UTF8Text.find(part.bytes, in: string.bytes, start..<range.upperBound) {
            count += 1
            start = found + part.count
        }
        return count
    }
}
