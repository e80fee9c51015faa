/// A strict reader of the XML that we write: elements, attributes in double quotes, the five entities.
enum WellFormedness {
    /// What is wrong with a document, nil if nothing is.
    static func problem(in document: String) -> String? {
        var open: [String] = []
        var rest = Substring(document)
        while let start = rest.firstIndex(of: "<") {
            if let bad = badText(rest[..<start]) { return bad }
            guard let end = rest[start...].firstIndex(of: ">") else { return "tag without end" }
            let tag = rest[rest.index(after: start)..<end]
            rest = rest[rest.index(after: end)...]
            if tag.hasPrefix("/") {
                guard open.popLast() == String(tag.dropFirst()) else { return "closing \(tag)" }
                continue
            }
            let closed = tag.hasSuffix("/")
            let inner = closed ? tag.dropLast() : tag
            let name = inner.prefix { $0.isLetter }
            if name.isEmpty { return "tag without name: \(tag)" }
            if let bad = badAttributes(inner.dropFirst(name.count)) { return bad }
            if !closed { open.append(String(name)) }
        }
        if !open.isEmpty { return "left open: \(open)" }
        return rest.allSatisfy(\.isWhitespace) ? nil : "text after the end"
    }

    private static func badAttributes(_ text: Substring) -> String? {
        var rest = text
        var seen: Set<Substring> = []
        while true {
            rest = rest.drop(while: \.isWhitespace)
            if rest.isEmpty { return nil }
            let key = rest.prefix { $0.isLetter || $0.isNumber || $0 == "-" || $0 == ":" }
            rest = rest.dropFirst(key.count)
            guard !key.isEmpty, seen.insert(key).inserted, rest.hasPrefix("=\"") else { return "attribute at \(rest)" }
            rest = rest.dropFirst(2)
            guard let end = rest.firstIndex(of: "\"") else { return "attribute without end" }
            if let bad = badText(rest[..<end]) { return bad }
            rest = rest[rest.index(after: end)...]
        }
    }

    private static func badText(_ text: Substring) -> String? {
        for scalar in text.unicodeScalars where scalar.value < 0x20 && scalar != "\n" || scalar.value == 0xFFFE {
            return "a character that XML has not: \(scalar.value)"
        }
        var rest = text
        while let start = rest.firstIndex(of: "&") {
            rest = rest[start...]
            guard ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"].contains(where: { rest.hasPrefix($0) }) else {
                return "a bare &"
            }
            rest = rest.dropFirst()
        }
        return nil
    }
}
