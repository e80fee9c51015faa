import DejaVuCore

extension Builtins {
    /// Filters whose result is text.
    static let textFilters: [String: Filter] = [
        "upper": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "upper", renderer)
            return try renderer.string(TextTools.uppercased(try renderer.softText(value)))
        },
        "lower": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "lower", renderer)
            return try renderer.string(TextTools.lowercased(try renderer.softText(value)))
        },
        "capitalize": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "capitalize", renderer)
            return try renderer.string(TextTools.capitalized(try renderer.softText(value)))
        },
        "title": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "title", renderer)
            return try renderer.string(TextTools.titledWords(try renderer.softText(value)))
        },
        "string": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "string", renderer)
            return .string(try renderer.softText(value))
        },
        "trim": { (renderer, value, arguments) throws(DejaVuError) in
            let chars = try arguments.bind(["chars"], in: "trim", renderer)[0] ?? .none
            return try renderer.string(try renderer.strip(try renderer.softText(value), chars, left: true, right: true))
        },
        "safe": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "safe", renderer)
            var text = try renderer.text(of: value)
            text.isMarkup = true
            return .string(text)
        },
        "escape": escape,
        "e": escape,
        "forceescape": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "forceescape", renderer)
            return try renderer.string(TextTools.escaped(try renderer.text(of: value)))
        },
        "striptags": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "striptags", renderer)
            return try renderer.string(Markup.striptags(try renderer.text(of: value)))
        },
        "replace": replace,
        "format": { (renderer, value, arguments) throws(DejaVuError) in
            guard arguments.positional.isEmpty || arguments.named.isEmpty else {
                throw renderer.failure("FilterArgumentError", "positional and keyword arguments at the same time")
            }
            let text = try renderer.softText(value)
            if arguments.named.isEmpty {
                return try renderer.percentFormat(text, .tuple(try renderer.makeList(arguments.positional)))
            }
            return try renderer.percentFormat(text, .dict(of: arguments.named.map { ($0.name, $0.value) }))
        },
        "center": { (renderer, value, arguments) throws(DejaVuError) in
            let bound = try arguments.bind(["width"], in: "center", renderer)
            let text = try renderer.softText(value)
            let width = try renderer.integer(bound[0], standard: 80, "center")
            let centred = try renderer.padded(text, to: width, TemplateString(literal: " "), "center")
            return .string(renderer.marked(centred, like: text))
        },
        "indent": indent,
        "truncate": truncate,
        "wordwrap": wordwrap,
        "wordcount": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "wordcount", renderer)
            return .int(WordWrap.wordCount(try renderer.softText(value)))
        },
        "urlencode": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "urlencode", renderer)
            return try urlencode(renderer, value)
        },
        "xmlattr": xmlattr,
        "filesizeformat": filesize,
        "tojson": tojson,
    ]

    private static func escape(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        _ = try arguments.bind([], in: "escape", renderer)
        if case .string(let string) = value, string.isMarkup { return value }
        return try renderer.string(TextTools.escaped(try renderer.text(of: value)))
    }

    private static func replace(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["old", "new", "count"], required: 2, in: "replace", renderer)
        let count = bound[2].flatMap { $0.isNone ? nil : $0 }
        return .string(
            try renderer.replace(
                try renderer.text(of: value), try renderer.text(of: bound[0] ?? .none),
                try renderer.text(of: bound[1] ?? .none), limit: try renderer.integer(count, standard: -1, "replace")))
    }

    private static func indent(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["width", "first", "blank"], in: "indent", renderer)
        let string = try renderer.text(value, "indent")
        let indention: TemplateString
        if case .string(let text)? = bound[0] {
            indention = text
        } else {
            let width = max(0, try renderer.integer(bound[0], standard: 4, "indent"))
            try renderer.charge(bytes: width)
            indention = TemplateString(literal: String(repeating: " ", count: width))
        }
        let first = try renderer.isTrue(bound[1] ?? .bool(false))
        let blank = try renderer.isTrue(bound[2] ?? .bool(false))
        var source = string
        source.append(literal: "\n")
        let lines = TextTools.lines(source)
        let (added, overflowed) = indention.count.multipliedReportingOverflow(by: lines.count + 1)
        try renderer.charge(bytes: overflowed ? .max : min(added, .max - source.count) + source.count)
        var result = first ? indention.plain : TemplateString()
        for (index, line) in lines.enumerated() {
            if index > 0 {
                result.append(literal: "\n")
                if blank || !line.isEmpty { result.append(indention) }
            }
            result.append(line)
        }
        return .string(renderer.marked(result, like: string))
    }

    private static func truncate(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["length", "killwords", "end", "leeway"], in: "truncate", renderer)
        let length = try renderer.integer(bound[0], standard: 255, "truncate")
        let end = try renderer.text(bound[2] ?? .literal("..."), "truncate")
        let leewayValue = bound[3].flatMap { $0.isNone ? nil : $0 }
        let leeway = try renderer.integer(leewayValue, standard: 5, "truncate")
        guard length >= end.scalarCount, leeway >= 0 else {
            throw renderer.failure("AssertionError", "expected length >= the end's length and leeway >= 0")
        }
        let (limit, overflowed) = length.addingReportingOverflow(leeway)
        if let count = try renderer.length(of: value), overflowed || count <= limit { return value }
        let string = try renderer.text(value, "truncate")
        var kept = string.slice(0..<string.offset(ofScalar: length - end.scalarCount))
        if !(try renderer.isTrue(bound[1] ?? .bool(false))),
            let space = UTF8Text.findLast([0x20], in: kept.bytes, 0..<kept.count)
        {
            kept = kept.slice(0..<space)
        }
        kept.append(end)
        return try renderer.string(kept)
    }

    private static func wordwrap(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"]
        let bound = try arguments.bind(names, in: "wordwrap", renderer)
        let width = try renderer.integer(bound[0], standard: 79, "wordwrap")
        guard width > 0 else { throw renderer.valueError("invalid width (must be > 0)") }
        let wrap = WordWrap(
            width: width, breaksLongWords: try renderer.isTrue(bound[1] ?? .bool(true)),
            breaksOnHyphens: try renderer.isTrue(bound[3] ?? .bool(true)))
        let between = bound[2].flatMap { $0.isNone ? nil : $0 } ?? .literal("\n")
        let separator = try renderer.text(between, "wordwrap")
        var paragraphs: [TemplateString] = []
        for line in TextTools.lines(try renderer.text(value, "wordwrap")) {
            try renderer.charge(items: line.count)
            paragraphs.append(try renderer.join(wrap.lines(of: line), separator))
        }
        return .string(try renderer.join(paragraphs, separator))
    }

    private static func tojson(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let names = ["ensure_ascii", "indent", "separators", "sort_keys"]
        let bound = try arguments.bind(names, in: "tojson", renderer)
        var indent: TemplateString?
        if case .string(let text)? = bound[1] {
            indent = text
        } else if let width = bound[1], !width.isNone {
            let count = max(0, try renderer.integer(width, standard: 0, "tojson"))
            try renderer.charge(bytes: count)
            indent = TemplateString(literal: String(repeating: " ", count: count))
        }
        var separators = [TemplateString(literal: indent == nil ? ", " : ","), TemplateString(literal: ": ")]
        if let given = bound[2], !given.isNone {
            let items = try renderer.items(of: given)
            guard items.count == 2 else { throw renderer.valueError("separators needs two items") }
            separators = [try renderer.text(items[0], "tojson"), try renderer.text(items[1], "tojson")]
        }
        var json = JSONText(
            isASCII: try renderer.isTrue(bound[0] ?? .bool(false)), indent: indent, itemSeparator: separators[0],
            keySeparator: separators[1], sortsKeys: try renderer.isTrue(bound[3] ?? .bool(false)), renderer: renderer)
        try json.write(value)
        return try renderer.string(json.text)
    }

    private static func urlencode(_ renderer: Renderer, _ value: TemplateValue) throws(DejaVuError) -> TemplateValue {
        func quoted(_ value: TemplateValue, isQuery: Bool) throws(DejaVuError) -> TemplateString {
            let text = try renderer.text(of: value)
            try renderer.charge(bytes: text.count * 3)
            var result = TemplateString()
            for run in text.runs(in: 0..<text.count) {
                for byte in text.bytes[run.range] {
                    let isKept =
                        (byte < 0x80 && Character(Unicode.Scalar(byte)).isLetter) || (byte >= 0x30 && byte <= 0x39)
                        || "_.-~".utf8.contains(byte) || (!isQuery && byte == UInt8(ascii: "/"))
                    if isKept {
                        result.append([byte][...], isTemplate: run.isTemplate)
                    } else if isQuery, byte == 0x20 {
                        result.append("+", isTemplate: run.isTemplate)
                    } else {
                        let digits = String(byte, radix: 16, uppercase: true)
                        result.append((byte < 16 ? "%0" : "%") + digits, isTemplate: run.isTemplate)
                    }
                }
            }
            return result
        }
        switch value {
        case .string, .none, .bool, .int, .double: return .string(try quoted(value, isQuery: false))
        default: break
        }
        var pairs: [TemplateValue] = []
        if case .dict(let dict) = value {
            pairs = (0..<dict.count).map { DictViewObject(dict, .items).item($0) }
        } else {
            pairs = try renderer.items(of: value)
        }
        var parts: [TemplateString] = []
        for pair in pairs {
            let pair = try renderer.items(of: pair)
            guard pair.count == 2 else { throw renderer.valueError("urlencode needs pairs") }
            var part = try quoted(pair[0], isQuery: true)
            part.append(literal: "=")
            part.append(try quoted(pair[1], isQuery: true))
            parts.append(part)
        }
        return .string(try renderer.join(parts, TemplateString(literal: "&")))
    }

    private static func xmlattr(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let autospace = try renderer.isTrue(
            try arguments.bind(["autospace"], in: "xmlattr", renderer)[0] ?? .bool(true))
        guard case .dict(let dict) = value else { throw renderer.typeError("xmlattr needs a dict") }
        var result = TemplateString()
        for (key, value) in zip(dict.keys, dict.values) where !value.isNone && !value.isUndefined {
            let key = try renderer.text(key, "xmlattr")
            let refused = key.bytes.contains { ($0 >= 0x09 && $0 <= 0x0D) || [0x20, 0x2F, 0x3E, 0x3D].contains($0) }
            guard !refused else { throw renderer.valueError("Invalid character in attribute name") }
            if !result.isEmpty || autospace { result.append(literal: " ") }
            result.append(renderer.escapedForMarkup(key))
            result.append(literal: "=\"")
            if case .string(let text) = value {
                result.append(renderer.escapedForMarkup(text))
            } else {
                result.append(TextTools.escaped(try renderer.text(of: value)))
            }
            result.append(literal: "\"")
        }
        return try renderer.string(result)
    }

    private static func filesize(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let binary = try renderer.isTrue(try arguments.bind(["binary"], in: "filesizeformat", renderer)[0] ?? .none)
        let size = try renderer.float(value)
        guard let size else { throw renderer.valueError("could not convert to float") }
        let base: Double = binary ? 1024 : 1000
        if size == 1 { return .literal("1 Byte") }
        if size < base {
            guard size > -0x1p63 else { throw renderer.overflow() }
            return .literal("\(Int(size)) Bytes")
        }
        guard !size.isNaN else { throw renderer.valueError("cannot convert float NaN to integer") }
        var unit = base
        let letters = ["k", "M", "G", "T", "P", "E", "Z", "Y"]
        for (index, letter) in letters.enumerated() {
            unit *= base
            if size < unit || index == letters.count - 1 {
                let number = FloatText.printed(base * size / unit, "f", precision: 1)
                return .literal(number + " " + (binary ? letter.uppercased() + "iB" : letter + "B"))
            }
        }
        preconditionFailure("the last unit takes everything")
    }
}

extension Renderer {
    /// `soft_str`: markup stays markup.
    func softText(_ value: TemplateValue) throws(DejaVuError) -> TemplateString {
        if case .string(let string) = value { return string }
        return try text(of: value)
    }

    /// Python's `float(value)`, nil where it raises a TypeError or ValueError.
    func float(_ value: TemplateValue) throws(DejaVuError) -> Double? {
        if case .string(let string) = value { return FloatText.parse(string.text) }
        try requireDefined(value)
        return Self.number(value)
    }
}
