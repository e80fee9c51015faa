import DejaVuControl

/// Writes an answer as server-sent events, a token at a time.
///
/// Everything but the text is the same in each event of a stream, so it is laid out once; a token then costs a few
/// copies into a buffer that is used again.
struct EventWriter {
    /// Events that have not been sent yet.
    private(set) var bytes: [UInt8] = []

    private let format: AnswerFormat
    private let head: [UInt8]
    private let tail: [UInt8]
    private let object: String
    private let includesUsage: Bool
    private var hasBegun: [Bool]

    init(_ format: AnswerFormat, choiceCount: Int, includesUsage: Bool) {
        self.format = format
        self.includesUsage = includesUsage
        object = format.kind == .chat ? "chat.completion.chunk" : "text_completion"
        hasBegun = Array(repeating: false, count: choiceCount)
        var json = JSONWriter()
        let object = object
        json.object { format.writeHead(&$0, object: object) }
        head = Array("data: ".utf8) + json.bytes.dropLast() + Array(",\"choices\":[{\"index\":".utf8)
        tail = Array(((includesUsage ? "}],\"usage\":null}" : "}]}") + "\n\n").utf8)
    }

    /// Starts over with an empty buffer, whose memory is kept.
    mutating func clear() { bytes.removeAll(keepingCapacity: true) }

    /// The text that stands before a completion's own.
    mutating func writeEcho(_ text: String, choice: Int) {
        writeEvent(choice, text: Array(text.utf8), reports: [], finish: nil)
    }

    /// Writes what a choice has to show, and its end if it has come, and takes it out of the choice.
    mutating func take(_ state: inout ChoiceState, _ choice: Int) {
        if format.kind == .chat, !hasBegun[choice] {
            hasBegun[choice] = true
            writeRole(choice)
        }
        if !state.text.isEmpty || !state.reports.isEmpty {
            writeEvent(choice, text: state.text, reports: state.reports, finish: nil)
        }
        if let reason = state.finish?.openAIName { writeEvent(choice, text: [], reports: [], finish: reason) }
        state.take()
    }

    private mutating func writeRole(_ choice: Int) {
        append(head)
        append("\(choice)")
        append(",\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}")
        append(",\"logprobs\":null,\"finish_reason\":null")
        append(tail)
    }

    private mutating func writeEvent(_ choice: Int, text: [UInt8], reports: [TokenReport], finish: String?) {
        append(head)
        append(choice < Self.digits.count ? Self.digits[choice] : "\(choice)")
        switch format.kind {
        case .chat where finish != nil: append(",\"delta\":{}")
        case .chat:
            append(",\"delta\":{\"content\":\"")
            bytes.appendJSONEscaped(text)
            append("\"}")
        case .completion:
            append(",\"text\":\"")
            bytes.appendJSONEscaped(text)
            append("\"")
        }
        if reports.isEmpty {
            append(",\"logprobs\":null")
        } else {
            var json = JSONWriter()
            format.writeLogprobs(&json, reports)
            append(",\"logprobs\":")
            append(json.bytes)
        }
        if let finish {
            append(",\"finish_reason\":\"")
            append(finish)
            append("\"")
        } else {
            append(",\"finish_reason\":null")
        }
        append(tail)
    }

    private static let digits = (0..<10).map { "\($0)" }

    /// The last events of a stream that went well.
    mutating func writeEnd(_ generation: Generation) {
        if includesUsage {
            var json = JSONWriter()
            json.object {
                format.writeHead(&$0, object: object)
                $0.key("choices")
                $0.array { _ in }
                $0.key("usage")
                AnswerFormat.writeUsage(&$0, generation)
            }
            append("data: ")
            append(json.bytes)
            append("\n\n")
        }
        append("data: [DONE]\n\n")
    }

    /// The last event of a stream that did not.
    mutating func writeError(_ error: APIError) {
        var json = JSONWriter()
        error.write(&json)
        append("event: error\ndata: ")
        append(json.bytes)
        append("\n\n")
    }

    /// A comment, so that nothing on the way takes a long wait for a dead connection.
    mutating func writeKeepAlive() { append(": keep-alive\n\n") }

    private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }
    private mutating func append(_ more: [UInt8]) { bytes.append(contentsOf: more) }
}
