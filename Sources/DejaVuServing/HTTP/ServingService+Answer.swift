import DejaVuCore
import HTTPTypes
import Hummingbird
import NIOCore

/// How answers go out, to those who asked for them and to those who come back.
extension ServingService {
    /// Answers who has posted a generation request: with a stream or with the whole.
    func reply(_ reader: AnswerReader, after lastEvent: EventID?) async throws(APIError) -> Reply {
        reader.answer.isStream ? try await stream(reader, after: lastEvent) : try await whole(reader)
    }

    private func whole(_ reader: AnswerReader) async throws(APIError) -> Reply {
        let answer = reader.answer
        while true {
            let version = answer.mailbox.version
            let progress = answer.progress()
            if let error = progress.error { throw error }
            if progress.isEnded {
                var reply = Reply.json(try answer.whole())
                reply.notes = notes(progress)
                return reply
            }
            guard await answer.mailbox.wait(after: version) != .cancelled else { throw leave(reader) }
        }
    }

    /// Waits until it is clear that there will be an answer, for until the first byte an error has its status; but not
    /// longer than the keep-alive interval, for then the client should hear something.
    private func stream(_ reader: AnswerReader, after lastEvent: EventID?) async throws(APIError) -> Reply {
        let answer = reader.answer
        let events = try reader.events(after: lastEvent)
        loop: while true {
            let version = answer.mailbox.version
            let progress = answer.progress()
            if let error = progress.error { throw error }
            if progress.isAdmitted || progress.hasBegun { break }
            switch await answer.mailbox.wait(after: version) {
            case .news: continue
            case .tapped: break loop
            case .cancelled: throw leave(reader)
            }
        }
        return stream(reader, events)
    }

    /// The events of an answer, from those that the writer has not written on.
    func stream(_ reader: AnswerReader, _ events: EventWriter) -> Reply {
        Reply(
            status: 200,
            headers: Self.streamHeaders,
            body: .stream { writer in try await send(reader, events, &writer) })
    }

    static let streamHeaders: HTTPFields = [
        .contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache",
    ]

    private func leave(_ reader: AnswerReader) -> APIError {
        reader.leave()
        return Generation.clientGone
    }

    /// Writes a stream to its end.
    ///
    /// - Returns: what to log; an error after the first byte has its own status here.
    @concurrent private func send(
        _ reader: AnswerReader, _ first: EventWriter, _ writer: inout any ResponseBodyWriter
    ) async throws -> Reply.End {
        var events = first
        let mailbox = reader.answer.mailbox
        while true {
            let version = mailbox.version
            let reading = reader.read(&events)
            if !events.bytes.isEmpty { try await flush(reader, &events, &writer) }
            guard reading.isCaughtUp else { continue }
            if reading.isComplete { break }
            switch await mailbox.wait(after: version) {
            case .news: break
            case .tapped: events.writeKeepAlive()
            case .cancelled: throw leave(reader)
            }
        }
        reader.leave()
        let progress = reader.answer.progress()
        try await writer.finish(nil)
        return Reply.End(status: progress.error?.status ?? 200, notes: notes(progress))
    }

    @concurrent private func flush(
        _ reader: AnswerReader, _ events: inout EventWriter, _ writer: inout any ResponseBodyWriter
    ) async throws(APIError) {
        do {
            try await writer.write(ByteBuffer(bytes: events.bytes))
        } catch {
            throw leave(reader)
        }
        events.clear()
    }

    private func notes(_ progress: LiveAnswer.Progress) -> [(String, String)] {
        [
            ("prompt_tokens", String(progress.promptTokenCount)),
            ("output_tokens", String(progress.outputTokenCount)),
        ]
    }
}
