import DejaVuCore

/// `json.dumps`
struct JSONText {
    let isASCII: Bool
    /// What one level of indentation is; nil puts everything on one line.
    let indent: TemplateString?
    let itemSeparator: TemplateString
    let keySeparator: TemplateString
    let sortsKeys: Bool
    let renderer: Renderer
    var text = TemplateString()

    mutating func write(_ value: TemplateValue, level: Int = 0) throws(DejaVuError) {
        if text.count > renderer.limits.stringBytes {
            throw renderer.limit("stringBytes", renderer.limits.stringBytes)
        }
        try renderer.step()
        switch value {
        case .none: text.append(literal: "null")
        case .bool(let bool): text.append(bool ? "true" : "false", isTemplate: true)
        case .int(let int): text.append(String(int), isTemplate: true)
        case .double(let double): text.append(Self.number(double), isTemplate: true)
        case .string(let string): write(string)
        case .list(let list), .tuple(let list): try write(list.items, level: level)
        case .dict(let dict): try write(dict, level: level)
        case .undefined, .object:
            throw renderer.typeError("Object of type \(value.typeName) is not JSON serializable")
        }
    }

    private static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Infinity" : "Infinity" }
        return FloatText.shortest(value)
    }

    private mutating func newLine(_ level: Int) throws(DejaVuError) {
        guard let indent else { return }
        text.append(literal: "\n")
        try renderer.charge(bytes: indent.count * level)
        for _ in 0..<level { text.append(indent) }
    }

    private mutating func write(_ items: [TemplateValue], level: Int) throws(DejaVuError) {
        if level > renderer.limits.valueDepth { throw renderer.limit("valueDepth", renderer.limits.valueDepth) }
        text.append(literal: "[")
        for (index, item) in items.enumerated() {
            if index > 0 { text.append(itemSeparator) }
            try newLine(level + 1)
            try write(item, level: level + 1)
        }
        if !items.isEmpty { try newLine(level) }
        text.append(literal: "]")
    }

    private mutating func write(_ dict: TemplateDict, level: Int) throws(DejaVuError) {
        if level > renderer.limits.valueDepth { throw renderer.limit("valueDepth", renderer.limits.valueDepth) }
        var order = Array(0..<dict.count)
        if sortsKeys { order = try renderer.sorted(order, reverse: false) { dict.keys[$0] } }
        text.append(literal: "{")
        for (index, place) in order.enumerated() {
            if index > 0 { text.append(itemSeparator) }
            try newLine(level + 1)
            write(try keyText(dict.keys[place]))
            text.append(keySeparator)
            try write(dict.values[place], level: level + 1)
        }
        if dict.count > 0 { try newLine(level) }
        text.append(literal: "}")
    }

    private func keyText(_ key: TemplateValue) throws(DejaVuError) -> TemplateString {
        switch key {
        case .string(let string): return string
        case .none: return TemplateString(literal: "null")
        case .bool(let bool): return TemplateString(literal: bool ? "true" : "false")
        case .int(let int): return TemplateString(literal: String(int))
        case .double(let double): return TemplateString(literal: Self.number(double))
        default: throw renderer.typeError("keys must be str, int, float, bool or None, not \(key.typeName)")
        }
    }

    private mutating func write(_ string: TemplateString) {
        text.append(literal: "\"")
        for run in string.runs(in: 0..<string.count) {
            var offset = run.range.lowerBound
            var start = offset
            while offset < run.range.upperBound {
                let (scalar, length) = string.scalar(at: offset)
                if let escape = escape(scalar) {
                    text.append(string.bytes[start..<offset], isTemplate: run.isTemplate)
                    text.append(escape, isTemplate: run.isTemplate)
                    start = offset + length
                }
                offset += length
            }
            text.append(string.bytes[start..<offset], isTemplate: run.isTemplate)
        }
        text.append(literal: "\"")
    }

    private func escape(_ scalar: Unicode.Scalar) -> String? {
        switch scalar.value {
        case 0x22: return "\\\""
        case 0x5C: return "\\\\"
        case 0x0A: return "\\n"
        case 0x0D: return "\\r"
        case 0x09: return "\\t"
        case 0x0C: return "\\f"
        case 0x08: return "\\b"
        case 0..<0x20: return Self.unit(UInt16(scalar.value))
        case 0x20..<0x7F: return nil
        default:
            if !isASCII { return nil }
            return UTF16.encode(scalar)?.map(Self.unit).joined()
        }
    }

    private static func unit(_ value: UInt16) -> String {
        let digits = String(value, radix: 16)
        return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    }
}
