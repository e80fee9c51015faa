import DejaVuCore

/// One turn of a conversation.
package struct ChatMessage: Hashable, Sendable {
    /// `system`, `user` or `assistant`.
    package let role: String
    package let content: String
    package init(role: String, content: String) {
        self.role = role
        self.content = content
    }
}

/// The body of `POST /v1/chat/completions`.
struct ChatRequest: Sendable {
    private static let names = GenerationOptions.names.union([
        "messages", "max_completion_tokens", "logprobs", "top_logprobs",
    ])

    var messages: [ChatMessage]
    var options: GenerationOptions

    init(_ body: JSONValue, limits: RequestLimits, vocabularyCount: Int) throws(APIError) {
        let fields = try RequestFields(body)
        try ParameterNames.check(fields, known: Self.names)
        options = try GenerationOptions(fields, limits: limits, vocabularyCount: vocabularyCount)
        if let count = try fields.integer("max_completion_tokens", in: 1...Int(Int32.max)) {
            if let other = options.outputCountMax, other != count {
                throw .invalid(
                    "max_completion_tokens", "'max_tokens' and 'max_completion_tokens' are both given and differ.")
            }
            options.outputCountMax = count
        }
        let reports = try fields.bool("logprobs") ?? false
        if let count = try fields.integer("top_logprobs", in: 0...20) {
            guard reports else {
                throw .invalid("top_logprobs", "'top_logprobs' is only allowed when 'logprobs' is enabled.")
            }
            options.sampling.topLogprobs = count
        } else if reports {
            options.sampling.topLogprobs = 0
        }
        messages = try Self.messages(fields, limits: limits)
    }

    private static func messages(_ fields: RequestFields, limits: RequestLimits) throws(APIError) -> [ChatMessage] {
        _ = try fields.required("messages")
        let elements = try fields.array("messages") ?? []
        guard !elements.isEmpty else {
            throw .invalid(
                "messages", code: "empty_array",
                "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array.")
        }
        guard elements.count <= limits.messageCountMax else {
            throw .invalid(
                "messages", code: "array_above_max_length",
                "Invalid 'messages': at most \(limits.messageCountMax) messages, but got \(elements.count).")
        }
        var messages: [ChatMessage] = []
        for (index, element) in elements.enumerated() {
            messages.append(try message(RequestFields(element, prefix: "messages[\(index)]")))
        }
        return messages
    }

    private static func message(_ fields: RequestFields) throws(APIError) -> ChatMessage {
        for name in ["tool_calls", "function_call", "audio"] {
            if let value = fields.value(name), value != .array([]) { throw .unsupported(fields.path(name)) }
        }
        _ = try fields.string("name")
        _ = try fields.required("role")
        let role = try fields.string("role") ?? ""
        let known: String
        switch role {
        case "system", "user", "assistant": known = role
        // OpenAI's newer name for what templates call the system's message.
        case "developer": known = "system"
        case "tool", "function": throw .unsupported(fields.path("role"), "The role '\(role)'")
        default:
            throw .invalid(
                fields.path("role"),
                "Invalid value for '\(fields.path("role"))': expected 'system', 'developer', 'user' or 'assistant'.")
        }
        return ChatMessage(role: known, content: try content(fields))
    }

    private static func content(_ fields: RequestFields) throws(APIError) -> String {
        switch try fields.required("content") {
        case .string(let string): return string
        case .array(let parts):
            var text = ""
            for (index, part) in parts.enumerated() {
                let part = try RequestFields(part, prefix: fields.path("content[\(index)]"))
                _ = try part.required("type")
                let type = try part.string("type") ?? ""
                switch type {
                case "text":
                    _ = try part.required("text")
                    text += try part.string("text") ?? ""
                case "image_url", "input_audio", "file", "refusal":
                    throw .unsupported(part.path("type"), "Content of type '\(type)'")
                default:
                    throw .invalid(
                        part.path("type"), "Invalid value for '\(part.path("type"))': the one type here is 'text'.")
                }
            }
            return text
        case let other:
            throw fields.wrongType("content", other, "a string or an array of content parts")
        }
    }
}
