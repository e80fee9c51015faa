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

    /// Sends the conversation and hands over the answer piece by piece. Cancelling the task ends the generation.
    func answer(
        to turns: [Turn], over client: HTTPClient, receive: (Piece) -> Void
    ) async throws {
        var request = HTTPClientRequest(url: baseURL + "/v1/chat/completions")
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json")
        if let apiKey { request.headers.add(name: "authorization", value: "Bearer \(apiKey)") }
        let body = Body(model: model, messages: turns, temperature: temperature, maxTokens: outputCountMax)
        request.body = .bytes(try Self.encoder.encode(body))
        let response = try await client.execute(request, timeout: .hours(1))
        guard response.status.code == 200 else {
            let body = Data(try await response.body.collect(upTo: 1 << 20).readableBytesView)
            throw Self.failure(status: Int(response.status.code), body: body)
        }
        var parser = EventStreamParser()
        for try await buffer in response.body {
            var events: [Data] = []
            let isWhole = buffer.withUnsafeReadableBytes { bytes in
                parser.feed(bytes) { events.append(Data($0)) }
            }
            guard isWhole else { throw DejaVuError(.network, "the server sent a line without end") }
            for event in events where event != Data("[DONE]".utf8) { try Self.read(event, receive) }
        }
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
