import DejaVuControl

/// What all parts of one answer have in common, and how each is written: OpenAI's chat or completion objects.
struct AnswerFormat: Sendable {
    enum Kind: Sendable { case chat, completion }

    let kind: Kind
    /// `chatcmpl-…` or `cmpl-…`.
    let id: String
    /// Seconds since 1970-01-01.
    let created: Int
    let model: String
    let fingerprint: String

    init(kind: Kind, id: String, created: Int, model: ModelDescription) {
        self.kind = kind
        self.id = (kind == .chat ? "chatcmpl-" : "cmpl-") + id
        self.created = created
        self.model = model.name
        self.fingerprint = model.fingerprint
    }

    /// That of an answer that was begun elsewhere.
    init(kind: Kind, fullID: String, created: Int, model: String, fingerprint: String) {
        self.kind = kind
        id = fullID
        self.created = created
        self.model = model
        self.fingerprint = fingerprint
    }

    /// The whole answer of a request that did not ask for a stream.
    func answer(_ generation: Generation, _ log: AnswerLog) -> [UInt8] {
        var json = JSONWriter(capacity: 1024)
        json.object { json in
            writeHead(&json, object: kind == .chat ? "chat.completion" : "text_completion")
            json.key("choices")
            json.array(log.collected().enumerated()) { json, element in
                let (index, choice) = element
                json.object {
                    $0.key("index", index)
                    writeContent(&$0, choice.text)
                    $0.key("logprobs")
                    writeLogprobs(&$0, choice.reports[...])
                    $0.key("finish_reason", generation.choices[index].finish?.openAIName)
                }
            }
            json.key("usage")
            Self.writeUsage(&json, generation)
        }
        return json.bytes
    }

    func writeHead(_ json: inout JSONWriter, object: String) {
        json.key("id", id)
        json.key("object", object)
        json.key("created", created)
        json.key("model", model)
        json.key("system_fingerprint", fingerprint)
    }

    private func writeContent(_ json: inout JSONWriter, _ text: [UInt8]) {
        switch kind {
        case .completion:
            json.key("text")
            json.string(utf8: text)
        case .chat:
            json.key("message")
            json.object {
                $0.key("role", "assistant")
                $0.key("content")
                $0.string(utf8: text)
                $0.keyNull("refusal")
            }
        }
    }

    func writeLogprobs(_ json: inout JSONWriter, _ reports: ArraySlice<TokenReport>) {
        guard !reports.isEmpty else { return json.null() }
        switch kind {
        case .chat: writeChatLogprobs(&json, reports)
        case .completion: writeCompletionLogprobs(&json, reports)
        }
    }

    /// The usage as an object of its own.
    static func usage(_ generation: Generation) -> [UInt8] {
        var json = JSONWriter()
        writeUsage(&json, generation)
        return json.bytes
    }

    static func writeUsage(_ json: inout JSONWriter, _ generation: Generation) {
        json.object {
            $0.key("prompt_tokens", generation.promptTokenCount)
            $0.key("completion_tokens", generation.outputTokenCount)
            $0.key("total_tokens", generation.promptTokenCount + generation.outputTokenCount)
        }
    }
}

extension FinishReason {
    /// OpenAI's word for a proper end.
    var openAIName: String? {
        switch self {
        case .stop: "stop"
        case .length: "length"
        case .cancelled, .deadline, .poisoned, .shutdown: nil
        }
    }
}
