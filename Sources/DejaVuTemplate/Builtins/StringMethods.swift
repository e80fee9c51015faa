import DejaVuCore

/// The methods of `str`.
extension Renderer {
    func callStringMethod(
        _ name: String, _ string: TemplateString, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        try charge(bytes: string.count)
        switch name {
        case "format": return .string(marked(try braceFormat(string, arguments), like: string))
        case "format_map":
            guard case .dict(let dict)? = try arguments.bind(["mapping"], required: 1, in: name, self)[0] else {
                throw typeError("format_map() needs a dict")
            }
            var named = Arguments()
            for (key, value) in zip(dict.keys, dict.values) {
                if case .string(let key) = key { named.named.append((key.text, value)) }
            }
            return .string(marked(try braceFormat(string, named), like: string))
        case "split", "rsplit", "splitlines", "partition", "rpartition", "join":
            return try callSplitting(name, string, arguments)
        case "strip", "lstrip", "rstrip":
            let chars = try arguments.bind(["chars"], in: name, self)[0] ?? .none
            return .string(try strip(string, chars, left: name != "rstrip", right: name != "lstrip"))
        case "find", "rfind", "index", "rindex", "count", "startswith", "endswith":
            return try callSearching(name, string, arguments)
        case "replace":
            let bound = try arguments.bind(["old", "new", "count"], required: 2, in: name, self)
            let count = try integer(bound[2], standard: -1, name)
            let new = try text(bound[1], name)
            return .string(
                marked(
                    try replace(
                        string, try text(bound[0], name), string.isMarkup ? escapedForMarkup(new) : new, limit: count),
                    like: string))
        case "removeprefix", "removesuffix":
            let part = try text(try arguments.bind(["part"], required: 1, in: name, self)[0], name)
            if name == "removeprefix", string.bytes.starts(with: part.bytes) {
                return .string(string.slice(part.count..<string.count))
            }
            if name == "removesuffix", string.bytes.reversed().starts(with: part.bytes.reversed()) {
                return .string(string.slice(0..<string.count - part.count))
            }
            return .string(string)
        case "center", "ljust", "rjust", "zfill", "expandtabs": return try callPadding(name, string, arguments)
        default: break
        }
        _ = try arguments.bind([], in: "str.\(name)()", self)
        if let changed = Self.changedCase(name, string) { return .string(marked(changed, like: string)) }
        if let answer = Self.question(name, string) { return .bool(answer) }
        throw notSupported("the method '\(name)' of str")
    }

    private static func changedCase(_ name: String, _ string: TemplateString) -> TemplateString? {
        switch name {
        case "upper": return TextTools.uppercased(string)
        case "lower": return TextTools.lowercased(string)
        case "title": return TextTools.titled(string)
        case "capitalize": return TextTools.capitalized(string)
        case "swapcase": return TextTools.swappedCase(string)
        case "casefold" where string.isASCII: return TextTools.lowercased(string)
        default: return nil
        }
    }

    private static func question(_ name: String, _ string: TemplateString) -> Bool? {
        func all(_ test: (Unicode.Scalar) -> Bool) -> Bool {
            !string.isEmpty && string.text.unicodeScalars.allSatisfy(test)
        }
        func isAlphabetic(_ scalar: Unicode.Scalar) -> Bool {
            switch scalar.properties.generalCategory {
            case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return true
            default: return false
            }
        }
        func isNumeric(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.numericType != nil }
        func isDigit(_ scalar: Unicode.Scalar) -> Bool {
            scalar.properties.numericType == .decimal || scalar.properties.numericType == .digit
        }
        switch name {
        case "isdigit": return all(isDigit)
        case "isdecimal": return all { $0.properties.numericType == .decimal }
        case "isnumeric": return all(isNumeric)
        case "isalpha": return all(isAlphabetic)
        case "isalnum": return all { isAlphabetic($0) || isNumeric($0) }
        case "isspace": return all(UTF8Text.isSpace)
        case "isascii": return string.isASCII
        case "isprintable": return string.text.unicodeScalars.allSatisfy(TextTools.isPrintable)
        case "isupper": return TextTools.isCased(string, upper: true)
        case "islower": return TextTools.isCased(string, upper: false)
        case "istitle": return TextTools.isTitle(string)
        case "isidentifier":
            guard let first = string.text.unicodeScalars.first, first == "_" || first.properties.isXIDStart else {
                return false
            }
            return string.text.unicodeScalars.allSatisfy { $0.properties.isXIDContinue }
        default: return nil
        }
    }

    /// The result of a method of markup is markup.
    func marked(_ result: TemplateString, like string: TemplateString) -> TemplateString {
        var result = result
        result.isMarkup = string.isMarkup
        return result
    }

    func text(_ value: TemplateValue?, _ function: String) throws(DejaVuError) -> TemplateString {
        guard case .string(let string)? = value else {
            throw typeError("\(function) needs a string, not \((value ?? .none).typeName)")
        }
        return string
    }

    func integer(_ value: TemplateValue?, standard: Int, _ function: String) throws(DejaVuError) -> Int {
        guard let value else { return standard }
        guard let integer = Self.integer(value) else {
            throw typeError("\(function) needs an integer, not \(value.typeName)")
        }
        return integer
    }

    func strip(
        _ string: TemplateString, _ chars: TemplateValue, left: Bool, right: Bool
    ) throws(DejaVuError) -> TemplateString {
        if chars.isNone { return string.slice(string.strippedRange(left: left, right: right, where: UTF8Text.isSpace)) }
        let set = Set(try text(chars, "strip").text.unicodeScalars)
        return string.slice(string.strippedRange(left: left, right: right) { set.contains($0) })
    }

    /// `str.replace`, with the size of the result checked before it is made.
    func replace(
        _ string: TemplateString, _ old: TemplateString, _ new: TemplateString, limit: Int
    ) throws(DejaVuError) -> TemplateString {
        try charge(items: string.count / 64)
        if new.count > old.count {
            let all = TextTools.occurrences(of: old, in: string, 0..<string.count)
            let times = limit < 0 ? all : min(all, limit)
            let (growth, overflowed) = times.multipliedReportingOverflow(by: new.count)
            try charge(bytes: overflowed ? .max : min(growth, .max - string.count) + string.count)
        } else {
            try charge(bytes: string.count)
        }
        return TextTools.replaced(string, old, new, limit: limit).plain
    }

    /// The byte range that optional `start` and `end` choose, nil if they exclude everything.
    private func range(
        _ string: TemplateString, _ start: TemplateValue?, _ end: TemplateValue?, _ function: String
    ) throws(DejaVuError) -> Range<Int>? {
        if start == nil, end == nil { return 0..<string.count }
        let count = string.scalarCount
        func clamp(_ index: Int) -> Int { index < 0 ? max(0, index + count) : index }
        let startIndex = start?.isNone ?? true ? 0 : clamp(try integer(start, standard: 0, function))
        let endIndex = end?.isNone ?? true ? count : min(count, clamp(try integer(end, standard: 0, function)))
        guard startIndex <= endIndex else { return nil }
        return string.offset(ofScalar: startIndex)..<string.offset(ofScalar: endIndex)
    }

    private func callSearching(
        _ name: String, _ string: TemplateString, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        guard arguments.named.isEmpty else { throw typeError("str.\(name)() takes no keyword arguments") }
        let bound = try arguments.bind(["part", "start", "end"], required: 1, in: name, self)
        let range = try range(string, bound[1], bound[2], name)
        try charge(items: string.count / 64)
        if name == "startswith" || name == "endswith" {
            var parts = [bound[0] ?? .none]
            if case .tuple(let tuple)? = bound[0] { parts = tuple.items }
            for part in parts {
                let part = try text(part, name).bytes
                guard let range, part.count <= range.count else { continue }
                let slice =
                    name == "startswith"
                    ? string.bytes[range].prefix(part.count)
                    : string.bytes[range].suffix(part.count)
                if slice.elementsEqual(part) { return .bool(true) }
            }
            return .bool(false)
        }
        let part = try text(bound[0], name)
        if name == "count" {
            return .int(range.map { TextTools.occurrences(of: part, in: string, $0) } ?? 0)
        }
        let found = range.flatMap {
            name.hasPrefix("r")
                ? UTF8Text.findLast(part.bytes, in: string.bytes, $0)
                : UTF8Text.find(part.bytes, in: string.bytes, $0)
        }
        if let found { return .int(string.scalarIndex(ofByte: found)) }
        guard name.hasSuffix("find") else { throw valueError("substring not found") }
        return .int(-1)
    }

    private func callPadding(
        _ name: String, _ string: TemplateString, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        if name == "expandtabs" {
            let size = try integer(try arguments.bind(["tabsize"], in: name, self)[0], standard: 8, name)
            return .string(marked(try expandTabs(string, size), like: string))
        }
        let bound = try arguments.bind(["width", "fillchar"], required: 1, in: name, self)
        let width = try integer(bound[0], standard: 0, name)
        let fill =
            try bound[1].map { (fill) throws(DejaVuError) in try text(fill, name) } ?? TemplateString(literal: " ")
        guard fill.scalarCount == 1 else { throw typeError("The fill character must be exactly one character long") }
        if name == "zfill" { return .string(marked(try zeroFilled(string, width), like: string)) }
        return .string(marked(try padded(string, to: width, fill, name), like: string))
    }

    /// `center`, `ljust` or `rjust`
    func padded(
        _ string: TemplateString, to width: Int, _ fill: TemplateString, _ method: String
    ) throws(DejaVuError) -> TemplateString {
        let missing = width.subtractingReportingOverflow(string.scalarCount)
        guard !missing.overflow, missing.partialValue > 0 else { return string }
        let count = missing.partialValue
        let (bytes, overflowed) = count.multipliedReportingOverflow(by: fill.count)
        try charge(bytes: overflowed ? .max : bytes)
        // Python puts the odd one to the left if the width is odd too.
        let left = method == "ljust" ? 0 : method == "rjust" ? count : count / 2 + (count & width & 1)
        var result = TemplateString()
        for _ in 0..<left { result.append(fill) }
        result.append(string)
        for _ in left..<count { result.append(fill) }
        return result
    }

    private func zeroFilled(_ string: TemplateString, _ width: Int) throws(DejaVuError) -> TemplateString {
        let hasSign = string.bytes.first == UInt8(ascii: "-") || string.bytes.first == UInt8(ascii: "+")
        let split = hasSign ? 1 : 0
        let rest = string.slice(split..<string.count)
        var result = string.slice(0..<split)
        let zeros = try padded(rest, to: max(width, .min + 1) - split, TemplateString(literal: "0"), "rjust")
        result.append(zeros)
        return result
    }

    private func expandTabs(_ string: TemplateString, _ size: Int) throws(DejaVuError) -> TemplateString {
        let tabs = string.bytes.reduce(into: 0) { $0 += $1 == 0x09 ? 1 : 0 }
        let (growth, overflowed) = tabs.multipliedReportingOverflow(by: max(0, size))
        try charge(bytes: overflowed ? .max : growth)
        var column = 0
        return string.mapScalars { scalar in
            switch scalar {
            case "\t":
                let width = size > 0 ? size - column % size : 0
                column += width
                return String(repeating: " ", count: width)
            case "\n", "\r":
                column = 0
            default: column += 1
            }
            return String(scalar)
        }
    }
}

/// Taking text apart and putting it together.
extension Renderer {
    private func callSplitting(
        _ name: String, _ string: TemplateString, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        switch name {
        case "join":
            var parts: [TemplateString] = []
            for item in try items(of: try arguments.bind(["iterable"], required: 1, in: name, self)[0] ?? .none) {
                if string.isMarkup {
                    parts.append(escapedForMarkup(try softText(item)))
                } else {
                    guard case .string(let part) = item else {
                        throw typeError("sequence item: expected str instance, \(item.typeName) found")
                    }
                    parts.append(part)
                }
            }
            return .string(marked(try join(parts, string), like: string))
        case "splitlines":
            let keep = try arguments.bind(["keepends"], in: name, self)[0]
            let keepEnds = try keep.map { (keep) throws(DejaVuError) in try isTrue(keep) } ?? false
            return .list(try makeList(TextTools.lines(string, keepEnds: keepEnds).map { .string($0) }))
        case "partition", "rpartition":
            let separator = try text(try arguments.bind(["sep"], required: 1, in: name, self)[0], name)
            guard !separator.isEmpty else { throw valueError("empty separator") }
            let isLast = name == "rpartition"
            let whole = 0..<string.count
            let found =
                isLast
                ? UTF8Text.findLast(separator.bytes, in: string.bytes, whole)
                : UTF8Text.find(separator.bytes, in: string.bytes, whole)
            let empty = string.slice(0..<0)
            var parts = isLast ? [empty, empty, string] : [string, empty, empty]
            if let found {
                let end = found + separator.count
                parts = [string.slice(0..<found), string.slice(found..<end), string.slice(end..<string.count)]
            }
            return .tuple(try makeList(parts.map { .string($0) }))
        default:
            let bound = try arguments.bind(["sep", "maxsplit"], in: name, self)
            let limit = try integer(bound[1], standard: -1, name)
            return .list(try makeList(try split(string, bound[0] ?? .none, limit, name)))
        }
    }

    func join(_ parts: [TemplateString], _ separator: TemplateString) throws(DejaVuError) -> TemplateString {
        let content = parts.reduce(0) { $0 + $1.count }
        let (between, overflowed) = separator.count.multipliedReportingOverflow(by: max(0, parts.count - 1))
        try charge(bytes: overflowed ? .max : min(between, .max - content) + content)
        return TextTools.joined(parts, separator)
    }

    private func split(
        _ string: TemplateString, _ separator: TemplateValue, _ limit: Int, _ name: String
    ) throws(DejaVuError) -> [TemplateValue] {
        let limit = limit < 0 ? Int.max : limit
        var ranges: [Range<Int>]
        if separator.isNone {
            ranges = name == "split" ? words(string, limit) : lastWords(string, limit)
        } else {
            let separator = try text(separator, name)
            guard !separator.isEmpty else { throw valueError("empty separator") }
            ranges = name == "split" ? pieces(string, separator, limit) : lastPieces(string, separator, limit)
        }
        try charge(items: ranges.count)
        return ranges.map { .string(string.slice($0)) }
    }

    private func pieces(_ string: TemplateString, _ separator: TemplateString, _ limit: Int) -> [Range<Int>] {
        var result: [Range<Int>] = []
        var start = 0
        while result.count < limit,
            let found = UTF8Text.find(separator.bytes, in: string.bytes, start..<string.count)
        {
            result.append(start..<found)
            start = found + separator.count
        }
        return result + [start..<string.count]
    }

    private func lastPieces(_ string: TemplateString, _ separator: TemplateString, _ limit: Int) -> [Range<Int>] {
        let reversed = TemplateString(bytes: string.bytes.reversed(), isTemplate: true)
        let pattern = TemplateString(bytes: separator.bytes.reversed(), isTemplate: true)
        let count = string.count
        return pieces(reversed, pattern, limit).reversed().map { count - $0.upperBound..<count - $0.lowerBound }
    }

    private func words(_ string: TemplateString, _ limit: Int) -> [Range<Int>] {
        var result: [Range<Int>] = []
        var start = string.strippedRange(left: true, right: false, where: UTF8Text.isSpace).lowerBound
        while start < string.count {
            if result.count == limit {
                result.append(start..<string.count)
                break
            }
            var end = start
            while end < string.count, UTF8Text.spaceLength(in: string.bytes, at: end) == 0 {
                end += string.scalar(at: end).length
            }
            result.append(start..<end)
            start = end
            while start < string.count {
                let length = UTF8Text.spaceLength(in: string.bytes, at: start)
                if length == 0 { break }
                start += length
            }
        }
        return result
    }

    private func lastWords(_ string: TemplateString, _ limit: Int) -> [Range<Int>] {
        let all = words(string, .max)
        guard all.count > limit else { return all }
        // What stays whole reaches from the start to the last word that is not split off, stripped at its end only.
        let rest = all.count - limit
        return [0..<all[rest - 1].upperBound] + all[rest...]
    }
}
