import FoundationEssentials

/// JSON at the edges of the module, where speed does not matter.
enum JSONText {
    /// What stands between the braces of a JSON object; nil if the text is none.
    static func objectMembers(_ text: String) -> String? {
        var trimmed = Substring(text)
        while let first = trimmed.first, first.isWhitespace { trimmed = trimmed.dropFirst() }
        while let last = trimmed.last, last.isWhitespace { trimmed = trimmed.dropLast() }
        guard trimmed.first == "{", trimmed.last == "}",
            (try? JSONDecoder().decode([String: Anything].self, from: Data(trimmed.utf8))) != nil
        else { return nil }
        return String(trimmed.dropFirst().dropLast())
    }

    /// Accepts any value.
    private struct Anything: Decodable {
        init(from decoder: any Decoder) throws {}
    }

    /// Reads what servers send, whose names are in snake case.
    static var decoder: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return decoder
    }

    static func encode(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
    }
}
