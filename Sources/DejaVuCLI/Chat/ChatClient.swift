import AsyncHTTPClient
import DejaVuBench
import DejaVuCore
import Foundation
import NIOCore
import NIOHTTP1

/// Talks to any OpenAI-compatible server: one conversation, streamed.
struct ChatClient: Sendable {
    /// One turn of a conversation.
    struct Turn: Codable, Sendable {
        let role: String
        var content: String
    }

    /// What arrives while an answer is made.
    enum Piece: Sendable {
        case text(String)
        case finished(reason: String)
    }

    let baseURL: String
    let model: String
    let apiKey: String?
    let temperature: Double?
    let outputCountMax: Int?

    private struct Body: Encodable {
        let model: String
        let messages: [Turn]
        let stream = true
        let temperature: Double?
        let maxTokens: Int?
    }

    private struct Chunk: Decodable {
        struct Choice: Decodable {
            struct Delta: Decodable { let content: String? }
            let delta: Delta
            let finishReason: String?
        }
        let choices: [Choice]?
        let error: Failure?
    }

    private struct Failure: Decodable { let message: String }
    private struct FailureBody: Decodable { let error: Failure }
    private struct Models: Decodable {
        struct Model: Decodable { let id: String }
        let data: [Model]
    }

    private static var encoder: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return encoder
    }

    private static var decoder: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return decoder
    }

    /// The name of the model that the server serves.
    static func modelName(baseURL: String, apiKey: String?, over client: HTTPClient) async throws -> String {
        var request = HTTPClientRequest(url: baseURL + "/v1/models")
        if let apiKey { request.headers.add(name: "authorization", value: "Bearer \(apiKey)") }
        let response = try await client.execute(request, timeout: .seconds(10))
        let body = Data(try await response.body.collect(upTo: 1 << 20).readableBytesView)
        guard response.status.code == 200 else { throw failure(status: Int(response.status.code), body: body) }
        guard let name = try JSONDecoder().decode(Models.self, from: body).data.first?.id else {
            throw DejaVuError(.notFound, "\(baseURL) serves no model")
        }
        return name
    }

    /// How long a broken connection is tried again without any news.
    private static let patience = Duration.seconds(60)

    /// Sends the conversation and hands over the answer piece by piece. Cancelling the task ends the generation.
    ///
    /// When the connection breaks, the answer goes on behind the last event that came, if the server names its events.
    func answer(
        to turns: [Turn], over client: HTTPClient, receive: (Piece) -> Void
    ) async throws {
        let body = Body(model: model, messages: turns, temperature: temperature, maxTokens: outputCountMax)
        var stream = ResumableStream(body: try Self.encoder.encode(body))
        var giveUpAt = ContinuousClock.now + Self.patience
        var pause = Duration.milliseconds(200)
        while !stream.isDone {
            let seen = stream.eventCount
            do {
                try await follow(&stream, over: client, receive)
                if !stream.isDone { throw DejaVuError(.network, "the connection ended before the answer did") }
            } catch {
                if Task.isCancelled {
                    await cancel(stream.key, over: client)
                    throw error
                }
                if stream.eventCount > seen {
                    giveUpAt = .now + Self.patience
                    pause = .milliseconds(200)
                }
                guard stream.canResume, Self.isPassing(error), .now < giveUpAt else { throw error }
            }
            guard !stream.isDone else { return }
            do { try await Task.sleep(for: pause) } catch {
                await cancel(stream.key, over: client)
                throw error
            }
            pause = min(pause * 2, .seconds(4))
        }
    }

    /// Where a stream stands over all its connections.
    private struct ResumableStream {
        let body: Data
        let key = UUID().uuidString.lowercased()
        var hasBegun = false
        var lastEventID: String?
        var eventCount = 0
        var isDone = false

        /// A server that does not name its events would begin anew.
        var canResume: Bool { hasBegun && (eventCount == 0 || lastEventID != nil) }
    }

    /// What the server says for good is not asked again.
    private static func isPassing(_ error: any Error) -> Bool {
        guard let error = error as? DejaVuError else { return true }
        return error.code == .network
    }

    private func follow(
        _ stream: inout ResumableStream, over client: HTTPClient, _ receive: (Piece) -> Void
    ) async throws {
        var request = self.request("/v1/chat/completions")
        request.headers.add(name: "content-type", value: "application/json")
        request.headers.add(name: "idempotency-key", value: stream.key)
        if let id = stream.lastEventID { request.headers.add(name: "last-event-id", value: id) }
        request.body = .bytes(stream.body)
        let response = try await client.execute(request, timeout: .hours(1))
        if stream.hasBegun, [502, 503, 504].contains(response.status.code) {
            throw DejaVuError(.network, "the server is not back yet")
        }
        guard response.status.code == 200 else {
            let body = Data(try await response.body.collect(upTo: 1 << 20).readableBytesView)
            throw Self.failure(status: Int(response.status.code), body: body)
        }
        stream.hasBegun = true
        var parser = EventStreamParser()
        for try await buffer in response.body {
            var events: [Data] = []
            let isWhole = buffer.withUnsafeReadableBytes { bytes in
                parser.feed(bytes) { events.append(Data($0)) }
            }
            guard isWhole else { throw DejaVuError(.unavailable, "the server sent a line without end") }
            stream.lastEventID = parser.lastEventID ?? stream.lastEventID
            stream.eventCount += events.count
            for event in events {
                if event == Data("[DONE]".utf8) { stream.isDone = true } else { try Self.read(event, receive) }
            }
        }
    }

    private func request(_ path: String) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: baseURL + path)
        request.method = .POST
        if let apiKey { request.headers.add(name: "authorization", value: "Bearer \(apiKey)") }
        return request
    }

    /// Ends a generation that would otherwise wait for this client. Other servers do not know it, and need not.
    private func cancel(_ key: String, over client: HTTPClient) async {
        let request = request("/v1/requests/\(key)/cancel")
        // The task at hand is cancelled, and with it all that it would ask.
        await Task.detached { _ = try? await client.execute(request, timeout: .seconds(2)) }.value
    }

    private static func read(_ event: Data, _ receive: (Piece) -> Void) throws {
        let chunk = try Self.decoder.decode(Chunk.self, from: event)
        if let error = chunk.error { throw DejaVuError(.unavailable, error.message) }
        for choice in chunk.choices ?? [] {
            if let text = choice.delta.content, !text.isEmpty { receive(.text(text)) }
            if let reason = choice.finishReason { receive(.finished(reason: reason)) }
        }
    }

    private static func failure(status: Int, body: Data) -> DejaVuError {
        let message = (try? JSONDecoder().decode(FailureBody.self, from: body))?.error.message
        return DejaVuError(.refused, message ?? "the server answered with status \(status)")
    }
}
