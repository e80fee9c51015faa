/// Writes the JSON of completion requests.
struct RequestBody {
    enum Prompt {
        case tokens([Int])
        case text(String)
    }

    let endpoint: Endpoint
    let model: String?
    let temperature: Double
    let ignoresEndOfText: Bool
    /// Members of a JSON object without its braces.
    let extraMembers: String?

    func json(_ prompt: Prompt, outputTokenCount: Int, seed: UInt64, streams: Bool = true) -> String {
        var members: [String] = []
        if let model { members.append("\"model\":\(Self.quoted(model))") }
        switch (endpoint, prompt) {
        case (.chat, .text(let text)):
            members.append("\"messages\":[{\"role\":\"user\",\"content\":\(Self.quoted(text))}]")
        case (.completions, .text(let text)): members.append("\"prompt\":\(Self.quoted(text))")
        case (.completions, .tokens(let tokens)):
            members.append("\"prompt\":[\(tokens.map(String.init).joined(separator: ","))]")
        case (.chat, .tokens): preconditionFailure("a chat message is text")
        }
        members.append("\"max_tokens\":\(outputTokenCount)")
        members.append("\"temperature\":\(temperature)")
        // Some servers read seeds as signed 32 bits.
        members.append("\"seed\":\(seed & 0x7FFF_FFFF)")
        if ignoresEndOfText { members.append("\"ignore_eos\":true") }
        if streams { members.append("\"stream\":true,\"stream_options\":{\"include_usage\":true}") }
        if let extraMembers, !extraMembers.isEmpty { members.append(extraMembers) }
        return "{" + members.joined(separator: ",") + "}"
    }

    /// A JSON string.
    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            default:
                if scalar.value < 0x20 {
                    let digits = String(scalar.value, radix: 16)
                    result += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return result + "\""
    }
}
