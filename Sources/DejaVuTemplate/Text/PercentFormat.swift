import DejaVuCore

/// `"..." % values`
extension Renderer {
    private struct Conversion {
        var flags: [UInt8] = []
        var width = 0
        var precision: Int?
        var kind: UInt8 = 0
        func has(_ flag: Unicode.Scalar) -> Bool { flags.contains(UInt8(ascii: flag)) }
    }

    /// The values still to be used up.
    private struct Source {
        let items: [TemplateValue]
        let dict: TemplateDict?
        let isTuple: Bool
        var next = 0
        var usedDict = false
    }

    func percentFormat(_ format: TemplateString, _ values: TemplateValue) throws(DejaVuError) -> TemplateValue {
        var source: Source
        if case .tuple(let tuple) = values {
            source = Source(items: tuple.items, dict: nil, isTuple: true)
        } else if case .dict(let dict) = values {
            source = Source(items: [values], dict: dict, isTuple: false)
        } else {
            source = Source(items: [values], dict: nil, isTuple: false)
        }
        var result = TemplateString()
        result.isMarkup = format.isMarkup
        var offset = 0
        while offset < format.count {
            let end = UTF8Text.find([UInt8(ascii: "%")], in: format.bytes, offset..<format.count) ?? format.count
            result.append(format, offset..<end)
            guard end < format.count else { break }
            offset = end + 1
            let piece = try convert(format, &offset, &source)
            try charge(bytes: result.count + piece.count)
            result.append(format.isMarkup ? escapedForMarkup(piece) : piece)
        }
        let isMapping: Bool
        switch values {
        case .dict, .list: isMapping = true
        default: isMapping = false
        }
        if source.next < source.items.count, !source.usedDict, !isMapping {
            throw typeError("not all arguments converted during string formatting")
        }
        return try string(result)
    }

    private func convert(
        _ format: TemplateString, _ offset: inout Int, _ source: inout Source
    ) throws(DejaVuError) -> TemplateString {
        var conversion = Conversion()
        var keyed: TemplateValue?
        let bytes = format.bytes
        func peek() throws(DejaVuError) -> UInt8 {
            guard offset < bytes.count else { throw valueError("incomplete format") }
            return bytes[offset]
        }
        if try peek() == UInt8(ascii: "(") {
            keyed = try key(format, &offset, source)
            source.usedDict = true
        }
        while "#0- +".utf8.contains(try peek()) {
            conversion.flags.append(bytes[offset])
            offset += 1
        }
        conversion.width = try size(bytes, &offset, &source)
        if conversion.width < 0 {
            conversion.flags.append(UInt8(ascii: "-"))
            conversion.width = -conversion.width
        }
        if try peek() == UInt8(ascii: ".") {
            offset += 1
            conversion.precision = max(0, try size(bytes, &offset, &source))
        }
        while "hlL".utf8.contains(try peek()) { offset += 1 }
        conversion.kind = try peek()
        offset += 1
        if conversion.kind == UInt8(ascii: "%") { return TemplateString(literal: "%") }
        let value: TemplateValue
        if let keyed { value = keyed } else { value = try take(&source) }
        return try convert(value, conversion)
    }

    private func take(_ source: inout Source) throws(DejaVuError) -> TemplateValue {
        guard source.next < source.items.count else { throw typeError("not enough arguments for format string") }
        source.next += 1
        return source.items[source.next - 1]
    }

    private func key(
        _ format: TemplateString, _ offset: inout Int, _ source: Source
    ) throws(DejaVuError) -> TemplateValue {
        guard let dict = source.dict else { throw typeError("format requires a mapping") }
        var depth = 0
        let start = offset + 1
        while offset < format.count {
            if format.bytes[offset] == UInt8(ascii: "(") { depth += 1 }
            if format.bytes[offset] == UInt8(ascii: ")") { depth -= 1 }
            offset += 1
            if depth == 0 { break }
        }
        guard depth == 0 else { throw valueError("incomplete format key") }
        let name = Array(format.bytes[start..<offset - 1])
        guard let value = dict.value(named: name) else { throw failure("KeyError", "a format key is missing") }
        return value
    }

    private func size(_ bytes: [UInt8], _ offset: inout Int, _ source: inout Source) throws(DejaVuError) -> Int {
        if offset < bytes.count, bytes[offset] == UInt8(ascii: "*") {
            offset += 1
            guard case .int(let size) = try take(&source) else { throw typeError("* wants int") }
            guard abs(size.clamped) <= FormatSpec.sizeMax else { throw limit("stringBytes", limits.stringBytes) }
            return size
        }
        var value = 0
        while offset < bytes.count, bytes[offset] >= 0x30, bytes[offset] <= 0x39 {
            value = value * 10 + Int(bytes[offset] - 0x30)
            guard value <= FormatSpec.sizeMax else { throw limit("stringBytes", limits.stringBytes) }
            offset += 1
        }
        return value
    }

    private func convert(_ value: TemplateValue, _ conversion: Conversion) throws(DejaVuError) -> TemplateString {
        switch conversion.kind {
        case UInt8(ascii: "s"), UInt8(ascii: "r"), UInt8(ascii: "a"):
            guard conversion.kind != UInt8(ascii: "a") else { throw notSupported("the conversion %a") }
            var text =
                conversion.kind == UInt8(ascii: "s") ? try text(of: value) : try representation(of: value)
            if let precision = conversion.precision, precision < text.scalarCount {
                text = text.slice(0..<text.offset(ofScalar: precision))
            }
            return padded(text, conversion)
        case UInt8(ascii: "c"):
            if case .string(let text) = value, text.scalarCount == 1 { return padded(text.plain, conversion) }
            guard let int = Self.integer(value), let scalar = UInt32(exactly: int).flatMap(Unicode.Scalar.init) else {
                throw typeError("%c requires int or char")
            }
            return padded(TemplateString(String(scalar), isTemplate: false), conversion)
        case UInt8(ascii: "d"), UInt8(ascii: "i"), UInt8(ascii: "u"), UInt8(ascii: "x"), UInt8(ascii: "X"),
            UInt8(ascii: "o"):
            return try convertInteger(value, conversion)
        case UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: "f"), UInt8(ascii: "F"), UInt8(ascii: "g"),
            UInt8(ascii: "G"):
            guard let double = Self.number(value) else {
                try requireDefined(value)
                throw typeError("must be real number, not \(value.typeName)")
            }
            let kind = Character(Unicode.Scalar(conversion.kind | 0x20))
            let precision = conversion.precision ?? 6
            var text = FloatText.printed(
                abs(double), kind, precision: kind == "g" ? max(1, precision) : precision,
                alternate: conversion.has("#"))
            if conversion.kind & 0x20 == 0 { text = text.uppercased() }
            return signed(isNegative: double.sign == .minus && !double.isNaN, "", text, conversion)
        default: throw valueError("unsupported format character")
        }
    }

    private func convertInteger(_ value: TemplateValue, _ conversion: Conversion) throws(DejaVuError) -> TemplateString
    {
        let isDecimal = "diu".utf8.contains(conversion.kind)
        let int: Int
        if let integer = Self.integer(value) {
            int = integer
        } else if isDecimal, case .double(let double) = value {
            guard let truncated = Int(exactly: double.rounded(.towardZero)) else { throw overflow() }
            int = truncated
        } else {
            let wanted = isDecimal ? "a real number" : "an integer"
            throw typeError("a format needs \(wanted), not \(value.typeName)")
        }
        let radix = isDecimal ? 10 : conversion.kind == UInt8(ascii: "o") ? 8 : 16
        let isUpper = conversion.kind == UInt8(ascii: "X")
        var digits = String(int.magnitude, radix: radix, uppercase: isUpper)
        if let precision = conversion.precision, digits.count < precision {
            digits = String(repeating: "0", count: precision - digits.count) + digits
        }
        var prefix = ""
        if conversion.has("#"), radix != 10 { prefix = radix == 8 ? "0o" : isUpper ? "0X" : "0x" }
        return signed(isNegative: int < 0, prefix, digits, conversion)
    }

    private func signed(
        isNegative: Bool, _ prefix: String, _ digits: String, _ conversion: Conversion
    ) -> TemplateString {
        let sign = isNegative ? "-" : conversion.has("+") ? "+" : conversion.has(" ") ? " " : ""
        let missing = conversion.width - sign.count - prefix.count - digits.count
        if conversion.has("0"), !conversion.has("-"), missing > 0 {
            return TemplateString(literal: sign + prefix + String(repeating: "0", count: missing) + digits)
        }
        return padded(TemplateString(literal: sign + prefix + digits), conversion)
    }

    private func padded(_ text: TemplateString, _ conversion: Conversion) -> TemplateString {
        let missing = conversion.width - text.scalarCount
        guard missing > 0 else { return text }
        let spaces = String(repeating: " ", count: missing)
        if conversion.has("-") {
            var result = text
            result.append(spaces, isTemplate: true)
            return result
        }
        var result = TemplateString(literal: spaces)
        result.append(text)
        return result
    }
}

extension Int {
    /// The same number, or the nearest one whose magnitude is an Int.
    fileprivate var clamped: Int { Swift.max(self, -Int.max) }
}
