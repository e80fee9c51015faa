import DejaVuControl
import DejaVuCore
import HTTPTypes
import Hummingbird
import Synchronization

/// The routes for those who come back to a request.
extension ServingService {
    /// What a client says about an earlier try.
    struct Resumption {
        let key: String?
        private let lastEventText: String?

        init(_ request: HummingbirdCore.Request) {
            key = request.headers[Self.keyName]
            lastEventText = request.headers[Self.lastEventName]
        }

        private static let keyName = name("idempotency-key")
        private static let lastEventName = name("last-event-id")

        private static func name(_ text: String) -> HTTPField.Name {
            guard let name = HTTPField.Name(text) else { preconditionFailure("a valid field name") }
            return name
        }

        /// - Throws: 400 for what was never an event's id.
        func lastEvent() throws(APIError) -> EventID? {
            // Browsers send an empty one when they have had no id.
            guard let text = lastEventText, !text.isEmpty else { return nil }
            guard let id = EventID(text) else {
                throw .invalid("Last-Event-ID", "Invalid 'Last-Event-ID': this was never an event's id.")
            }
            return id
        }
    }

    /// How a request is and what it has said so far.
    func request(_ exchange: Exchange) throws(APIError) -> Reply {
        try named(exchange).report()
    }

    /// Ends a request that still runs, whoever reads it.
    func requestCancel(_ exchange: Exchange) throws(APIError) -> Reply {
        let answer = try named(exchange)
        answer.cancel()
        return try answer.report()
    }

    private func named(_ exchange: Exchange) throws(APIError) -> LiveAnswer {
        let name = percentDecoded(exchange.argument) ?? String(exchange.argument)
        return try answers.find(name, owner: exchange.owner)
    }

    /// The events of a request behind the client's last one.
    func requestEvents(_ request: HummingbirdCore.Request, _ exchange: Exchange) throws(APIError) -> Reply {
        let lastEvent = try Resumption(request).lastEvent()
        let answer = try named(exchange)
        if request.method == .head { return Reply(status: 200, headers: Self.streamHeaders, body: .bytes([])) }
        let reader = answer.attach()
        var events = try reader.events(after: lastEvent)
        metrics.countResumed("events")
        let reading = reader.read(&events)
        if reading.isComplete, reading.isCaughtUp, events.bytes.isEmpty {
            // So an EventSource knows that it need not come again.
            return Reply(status: 204, headers: [.cacheControl: "no-store"], body: .bytes([]))
        }
        return stream(reader, events)
    }
}

extension LiveAnswer {
    /// The answer's state for its owner.
    ///
    /// - Throws: 404 if a part of it was dropped.
    fileprivate func report() throws(APIError) -> Reply {
        let progress = progress()
        let (generation, log) = state.withLock { ($0.generation, $0.log) }
        guard log.startIndex == 0 else { throw .droppedForMemory }
        return .json { json in
            json.key("id", id)
            json.key("object", "request")
            json.key("created", format.created)
            json.key("model", format.model)
            json.key("state", Self.stateName(progress))
            json.key("choices")
            json.array(log.collected().enumerated()) { json, element in
                json.object {
                    $0.key("index", element.offset)
                    $0.key("text")
                    $0.string(utf8: element.element.text)
                    $0.key("finish_reason", generation.choices[element.offset].finish?.openAIName)
                }
            }
            json.key("usage")
            AnswerFormat.writeUsage(&json, generation)
            json.key("last_event_id")
            json.string(utf8: lastEventID(log))
            if let error = progress.error { error.writeMember(&json) } else { json.keyNull("error") }
        }
    }

    private func lastEventID(_ log: AnswerLog) -> [UInt8] {
        var bytes = Array((id + ":").utf8)
        EventID.append(log.counts, to: &bytes)
        return bytes
    }

    private static func stateName(_ progress: Progress) -> String {
        guard progress.isEnded else { return progress.isAdmitted || progress.hasBegun ? "running" : "queued" }
        guard let error = progress.error else { return "completed" }
        return error.code == "cancelled" ? "cancelled" : "failed"
    }
}

extension APIError {
    static let nothingToResume = APIError(
        status: 404, code: "request_not_found",
        message: "There is nothing behind this Last-Event-ID: no request has this Idempotency-Key any more. Send the "
            + "request without Last-Event-ID to begin anew.")
}
