/// Upper case, lower case, title case.
extension TextTools {
    static func uppercased(_ string: TemplateString) -> TemplateString {
        if string.isASCII {
            return TemplateString(bytes: string.bytes.map { $0 >= 0x61 && $0 <= 0x7A ? $0 - 32 : $0 }, like: string)
        }
        return string.mapScalars { $0.properties.uppercaseMapping }
    }

    static func lowercased(_ string: TemplateString) -> TemplateString {
        if string.isASCII {
            return TemplateString(bytes: string.bytes.map { $0 >= 0x41 && $0 <= 0x5A ? $0 + 32 : $0 }, like: string)
        }
        guard string.bytes.contains(0xCE) else { return string.mapScalars { $0.properties.lowercaseMapping } }
        // A sigma at the end of a word has a form of its own.
        let scalars = string.scalars
        var index = -1
        return string.mapScalars { scalar in
            index += 1
            guard scalar == "\u{3A3}" else { return scalar.properties.lowercaseMapping }
            return isFinalSigma(index, in: scalars) ? "\u{3C2}" : "\u{3C3}"
        }
    }

    private static func isFinalSigma(_ index: Int, in scalars: [Unicode.Scalar]) -> Bool {
        var before = index - 1
        while before >= 0, scalars[before].properties.isCaseIgnorable { before -= 1 }
        guard before >= 0, scalars[before].properties.isCased else { return false }
        var after = index + 1
        while after < scalars.count, scalars[after].properties.isCaseIgnorable { after += 1 }
        return after == scalars.count || !scalars[after].properties.isCased
    }

    static func swappedCase(_ string: TemplateString) -> TemplateString {
        string.mapScalars { scalar in
            let properties = scalar.properties
            if properties.isUppercase { return properties.lowercaseMapping }
            return properties.isLowercase ? properties.uppercaseMapping : String(scalar)
        }
    }

    static func capitalized(_ string: TemplateString) -> TemplateString {
        guard !string.isEmpty else { return string }
        let end = string.scalar(at: 0).length
        var result = string.slice(0..<end).mapScalars { $0.properties.titlecaseMapping }
        result.append(lowercased(string.slice(end..<string.count)))
        result.isMarkup = string.isMarkup
        return result
    }

    /// `str.title`: the first cased letter of every word is a title letter.
    static func titled(_ string: TemplateString) -> TemplateString {
        var afterCased = false
        return string.mapScalars { scalar in
            let properties = scalar.properties
            defer { afterCased = properties.isCased }
            return afterCased ? properties.lowercaseMapping : properties.titlecaseMapping
        }
    }

    /// Jinja2's `title` filter: words begin after white space, hyphens and opening brackets.
    static func titledWords(_ string: TemplateString) -> TemplateString {
        var result = TemplateString()
        var start = 0
        func isBreak(_ scalar: Unicode.Scalar) -> Bool {
            UTF8Text.isSpace(scalar) || ["-", "(", "{", "[", "<"].contains(scalar)
        }
        while start < string.count {
            let wordStart = isBreak(string.scalar(at: start).scalar)
            var end = start
            while end < string.count, isBreak(string.scalar(at: end).scalar) == wordStart {
                end += string.scalar(at: end).length
            }
            let first = start + string.scalar(at: start).length
            result.append(uppercased(string.slice(start..<first)))
            result.append(lowercased(string.slice(first..<end)))
            start = end
        }
        return result
    }

    /// At least one cased letter, and all of them so.
    static func isCased(_ string: TemplateString, upper: Bool) -> Bool {
        var found = false
        for scalar in string.text.unicodeScalars {
            let properties = scalar.properties
            let isTitle = properties.generalCategory == .titlecaseLetter
            if properties.isUppercase || properties.isLowercase || isTitle {
                guard upper ? properties.isUppercase : properties.isLowercase, !isTitle else { return false }
                found = true
            }
        }
        return found
    }

    /// `str.istitle`
    static func isTitle(_ string: TemplateString) -> Bool {
        var afterCased = false
        var found = false
        for scalar in string.text.unicodeScalars {
            let properties = scalar.properties
            if properties.isUppercase || properties.generalCategory == .titlecaseLetter {
                if afterCased { return false }
                (afterCased, found) = (true, true)
            } else if properties.isLowercase {
                if !afterCased { return false }
                found = true
            } else {
                afterCased = false
            }
        }
        return found
    }
}
