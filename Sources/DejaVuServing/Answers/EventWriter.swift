import DejaVuControl

/// Writes an answer as server-sent events for one reader, from any place on.
///
/// Everything but the text is the same in each event of a stream, so it is laid out once; a token then costs a few
/// copies into a buffer that is used again.
struct EventWriter {
    /// Events that have not been sent yet.
    private(set) var bytes: [UInt8] = []
    /// The next event of the log to look at.
    private(set) var index: Int

    /// At most so many bytes are written at once, so that a long answer does not take its size again.
    private static let batchBytes = 256 * 1024

    private let format: AnswerFormat
    private let includesUsage: Bool
    private let object: String
    private let idHead: [UInt8]
    private let head: [UInt8]
    private let tail: [UInt8]
    /// How many events the log has had before `index`, by choice.
    private var counts: [Int]
    /// How many events the client has, by choice.
    private var seen: [Int]

    /// - Parameters:
    ///   - includesUsage: whether the stream ends with the usage, so that every event says null of it.
    ///   - seen: how many events of each choice the client has.
    init(_ format: AnswerFormat, _ log: AnswerLog, includesUsage: Bool, seen: [Int] = []) {
        precondition(seen.count <= log.choiceCount + 1)
        self.format = format
        self.includesUsage = includesUsage
        index = log.startIndex
        counts = log.startCounts
        self.seen = seen + Array(repeating: 0, count: log.choiceCount + 1 - seen.count)
        object = format.kind == .chat ? "chat.completion.chunk" : "text_completion"
        idHead = Array("id: \(format.id):".utf8)
        var json = JSONWriter()
        let object = object
        json.object { format.writeHead(&$0, object: object) }
        head = Array("data: ".utf8) + json.bytes.dropLast() + Array(",\"choices\":[{\"index\":".utf8)
        tail = Array(((includesUsage ? "}],\"usage\":null}" : "}]}") + "\n\n").utf8)
    }

    /// Starts over with an empty buffer, whose memory is kept.
    mutating func clear() { bytes.removeAll(keepingCapacity: true) }

    /// Writes what the log has and the client has not.
    ///
    /// - Returns: whether that was everything.
    mutating func write(_ log: AnswerLog) -> Bool {
        while index < log.endIndex {
            if bytes.count >= Self.batchBytes { return false }
            let event = log[index]
            if counts[event.choice] >= seen[event.choice] {
                seen[event.choice] = counts[event.choice] + 1
                write(event)
            }
            counts[event.choice] += 1
            index += 1
        }
        return true
    }

    /// A comment, so that nothing on the way takes a long wait for a dead connection. No blank line ends it: OpenAI's
    /// own client would take that for an event without data once an event with an id has come.
    mutating func writeKeepAlive() { append(": keep-alive\n") }

    private mutating func write(_ event: AnswerLog.Event) {
        append(idHead)
        EventID.append(seen, to: &bytes)
        append("\n")
        switch event.kind {
        case .role: writeRole(event.choice)
        case .text, .finish: writeChoice(event)
        case .usage: writeUsage(event.text)
        case .done: append("data: [DONE]\n\n")
        case .error:
            append("event: error\ndata: ")
            bytes += event.text
            append("\n\n")
        }
    }

    private mutating func writeRole(_ choice: Int) {
        append(head)
        append("\(choice)")
        append(",\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}")
        append(",\"logprobs\":null,\"finish_reason\":null")
        append(tail)
    }

    private mutating func writeChoice(_ event: AnswerLog.Event) {
        let isEnd = event.kind == .finish
        append(head)
        append(event.choice < Self.digits.count ? Self.digits[event.choice] : "\(event.choice)")
        switch format.kind {
        case .chat where isEnd: append(",\"delta\":{}")
        case .chat:
            append(",\"delta\":{\"content\":\"")
            bytes.appendJSONEscaped(event.text)
            append("\"}")
        case .completion:
            append(",\"text\":\"")
            if !isEnd { bytes.appendJSONEscaped(event.text) }
            append("\"")
        }
        if event.reports.isEmpty {
            append(",\"logprobs\":null")
        } else {
            var json = JSONWriter()
            format.writeLogprobs(&json, event.reports)
            append(",\"logprobs\":")
            append(json.bytes)
        }
        if isEnd {
            append(",\"finish_reason\":\"")
            bytes += event.text
            append("\"")
        } else {
            append(",\"finish_reason\":null")
        }
        append(tail)
    }

    private static let digits = (0..<10).map { "\($0)" }

    private mutating func writeUsage(_ usage: ArraySlice<UInt8>) {
        var json = JSONWriter()
        json.object {
            format.writeHead(&$0, object: object)
            $0.key("choices")
            $0.array { _ in }
        }
        append("data: ")
        append(Array(json.bytes.dropLast()))
        append(",\"usage\":")
        bytes += usage
        append("}\n\n")
    }

    private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }
    private mutating func append(_ more: [UInt8]) { bytes.append(contentsOf: more) }
}
