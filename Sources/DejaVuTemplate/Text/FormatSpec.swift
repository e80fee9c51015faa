import DejaVuCore

/// Python's format specification: `[[fill]align][sign][z][#][0][width][grouping][.precision][type]`.
struct FormatSpec {
    var fill: Unicode.Scalar = " "
    /// `<`, `>`, `^` or `=`
    var align: Unicode.Scalar?
    var sign: Unicode.Scalar = "-"
    var isAlternate = false
    var width = 0
    var grouping: Unicode.Scalar?
    var precision: Int?
    var type: Unicode.Scalar?

    /// Widths and precisions above this are refused.
    static let sizeMax = 100_000

    /// Nil if `text` is not a specification.
    init?(_ text: String) {
        var rest = Array(text.unicodeScalars)[...]
        let aligns: [Unicode.Scalar] = ["<", ">", "^", "="]
        if rest.count >= 2, aligns.contains(rest[1]) {
            fill = rest.removeFirst()
            align = rest.removeFirst()
        } else if let first = rest.first, aligns.contains(first) {
            align = rest.removeFirst()
        }
        if let first = rest.first, first == "+" || first == "-" || first == " " { sign = rest.removeFirst() }
        if rest.first == "#" {
            isAlternate = true
            rest.removeFirst()
        }
        if rest.first == "0" {
            if align == nil { (fill, align) = ("0", "=") }
            rest.removeFirst()
        }
        guard let width = Self.number(&rest) else { return nil }
        self.width = width.value
        if let first = rest.first, first == "," || first == "_" { grouping = rest.removeFirst() }
        if rest.first == "." {
            rest.removeFirst()
            guard let precision = Self.number(&rest), precision.digits > 0 else { return nil }
            self.precision = precision.value
        }
        if !rest.isEmpty { type = rest.removeFirst() }
        guard rest.isEmpty else { return nil }
    }

    private static func number(_ rest: inout ArraySlice<Unicode.Scalar>) -> (value: Int, digits: Int)? {
        var value = 0
        var digits = 0
        while let first = rest.first, first >= "0", first <= "9" {
            value = value * 10 + Int(first.value - 0x30)
            if value > sizeMax { return nil }
            digits += 1
            rest.removeFirst()
        }
        return (value, digits)
    }
}

extension Renderer {
    /// Python's `format(value, spec)`.
    func formatted(_ value: TemplateValue, _ specification: String) throws(DejaVuError) -> TemplateString {
        if specification.isEmpty { return try text(of: value) }
        guard let spec = FormatSpec(specification) else { throw valueError("Invalid format specifier") }
        switch value {
        case .string(let string): return try format(string, spec)
        case .bool where spec.type == nil: return try format(try text(of: value), spec)
        case .int, .bool:
            guard let int = Self.integer(value) else { preconditionFailure("bool and int are integers") }
            return try format(int, spec)
        case .double(let double): return try format(double, spec)
        default:
            throw typeError("unsupported format string passed to \(value.typeName).__format__")
        }
    }

    private func format(_ string: TemplateString, _ spec: FormatSpec) throws(DejaVuError) -> TemplateString {
        guard spec.type == nil || spec.type == "s", spec.sign == "-", !spec.isAlternate, spec.grouping == nil,
            spec.align != "=" || spec.fill == "0"
        else { throw valueError("Invalid format specifier for a string") }
        var text = string.plain
        if let precision = spec.precision, precision < text.scalarCount {
            text = text.slice(0..<text.offset(ofScalar: precision))
        }
        return pad(text, spec, standard: "<")
    }

    private func pad(_ text: TemplateString, _ spec: FormatSpec, standard: Unicode.Scalar) -> TemplateString {
        let missing = spec.width - text.scalarCount
        guard missing > 0 else { return text }
        let align = spec.align == "=" ? standard : spec.align ?? standard
        let left = align == "<" ? 0 : align == "^" ? missing / 2 : missing
        var result = TemplateString(literal: String(repeating: String(spec.fill), count: left))
        result.append(text)
        result.append(String(repeating: String(spec.fill), count: missing - left), isTemplate: true)
        return result
    }

    private func format(_ int: Int, _ spec: FormatSpec) throws(DejaVuError) -> TemplateString {
        let type = spec.type ?? "d"
        if ["e", "E", "f", "F", "g", "G", "%"].contains(type) { return try format(Double(int), spec) }
        guard spec.precision == nil else { throw valueError("Precision not allowed in integer format specifier") }
        let magnitude = int.magnitude
        let digits: String
        var prefix = ""
        switch type {
        case "d", "n": digits = String(magnitude)
        case "x": (digits, prefix) = (String(magnitude, radix: 16), "0x")
        case "X": (digits, prefix) = (String(magnitude, radix: 16, uppercase: true), "0X")
        case "o": (digits, prefix) = (String(magnitude, radix: 8), "0o")
        case "b": (digits, prefix) = (String(magnitude, radix: 2), "0b")
        case "c":
            guard let scalar = UInt32(exactly: int).flatMap(Unicode.Scalar.init) else { throw overflow() }
            return pad(TemplateString(String(scalar), isTemplate: false), spec, standard: "<")
        default: throw valueError("Unknown format code '\(type)' for object of type 'int'")
        }
        guard spec.grouping != "," || type == "d" else { throw valueError("Cannot specify ',' with '\(type)'.") }
        let group = type == "d" || type == "n" ? 3 : 4
        return number(isNegative: int < 0, spec.isAlternate ? prefix : "", digits, "", spec, group: group)
    }

    private func format(_ double: Double, _ spec: FormatSpec) throws(DejaVuError) -> TemplateString {
        let type = spec.type
        let magnitude = abs(double)
        var text: String
        switch type {
        case nil:
            text = spec.precision.map { Self.general(magnitude, max($0, 1)) } ?? FloatText.shortest(magnitude)
        case "f", "F", "e", "E", "g", "G", "n":
            let conversion = type == "n" ? "g" : Character(type ?? "g")
            var precision = spec.precision ?? 6
            if conversion.lowercased() == "g" { precision = max(precision, 1) }
            text = FloatText.printed(
                magnitude, Character(conversion.lowercased()), precision: precision, alternate: spec.isAlternate)
            if conversion.isUppercase { text = text.uppercased() }
        case "%":
            text = FloatText.printed(magnitude * 100, "f", precision: spec.precision ?? 6) + "%"
        default: throw valueError("Unknown format code for object of type 'float'")
        }
        let whole = text.prefix { $0.isASCII && $0.isNumber }
        let isNegative = double.sign == .minus && !double.isNaN
        return number(isNegative: isNegative, "", String(whole), String(text.dropFirst(whole.count)), spec, group: 3)
    }

    /// A float with a precision and no type: like `g`, but with at least one digit after the point.
    private static func general(_ magnitude: Double, _ precision: Int) -> String {
        let text = FloatText.printed(magnitude, "g", precision: precision)
        guard magnitude.isFinite, !text.contains("."), !text.contains("e") else { return text }
        // An exponent is used as soon as no place is left for the digit after the point.
        if text.count >= precision {
            return FloatText.printed(magnitude, "e", precision: precision - 1).trimmedExponent
        }
        return text + ".0"
    }

    private func number(
        isNegative: Bool, _ prefix: String, _ whole: String, _ rest: String, _ spec: FormatSpec, group: Int
    ) -> TemplateString {
        let sign = isNegative ? "-" : spec.sign == "-" ? "" : String(spec.sign)
        let isZeroFilled = spec.align == "=" && spec.fill == "0"
        var digits = whole
        if let grouping = spec.grouping {
            let used = sign.count + prefix.count + rest.count
            digits = Self.grouped(whole, Character(grouping), group, width: isZeroFilled ? spec.width - used : 0)
        }
        let body = digits + rest
        let missing = spec.width - sign.count - prefix.count - body.count
        if spec.align == "=", missing > 0 {
            let fill = String(repeating: String(spec.fill), count: missing)
            return TemplateString(literal: sign + prefix + fill + body)
        }
        return pad(TemplateString(literal: sign + prefix + body), spec, standard: ">")
    }

    /// Digits with a separator between groups, led by zeros up to `width` characters.
    private static func grouped(_ digits: String, _ separator: Character, _ group: Int, width: Int) -> String {
        var reversed: [Character] = []
        var source = Array(digits.reversed())
        var count = 0
        var index = 0
        while index < source.count {
            if count > 0, count % group == 0 { reversed.append(separator) }
            reversed.append(source[index])
            count += 1
            index += 1
            if index == source.count {
                let next = count % group == 0 ? 2 : 1
                if reversed.count + next <= width || (next == 2 && reversed.count < width) { source.append("0") }
            }
        }
        return String(reversed.reversed())
    }
}

extension String {
    /// A mantissa without zeros at its end, as `g` writes it.
    fileprivate var trimmedExponent: String {
        guard let e = firstIndex(of: "e"), self[..<e].contains(".") else { return self }
        var mantissa = self[..<e]
        while mantissa.last == "0" { mantissa.removeLast() }
        if mantissa.last == "." { mantissa.removeLast() }
        return String(mantissa + self[e...])
    }
}
