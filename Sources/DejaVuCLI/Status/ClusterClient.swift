import AsyncHTTPClient
import DejaVuCore
import Foundation
import NIOCore
import NIOHTTP1

/// Asks a running server about its cluster.
struct ClusterClient: Sendable {
    let url: String
    let apiKey: String?
    private let client: HTTPClient

    /// Runs something with a client that is gone afterwards.
    static func with<Value>(
        url: String, apiKey: String?, _ body: (ClusterClient) async throws -> Value
    ) async throws -> Value {
        let client = HTTPClient(eventLoopGroupProvider: .singleton)
        let value: Value
        do { value = try await body(ClusterClient(url: url, apiKey: apiKey, client: client)) } catch {
            try? await client.shutdown()
            throw error
        }
        try await client.shutdown()
        return value
    }

    func cluster() async throws -> Data { try await send(HTTPClientRequest(url: url + "/cluster")) }

    func post(_ path: String, _ body: some Encodable) async throws -> Data {
        var request = HTTPClientRequest(url: url + path)
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json")
        request.body = .bytes(ByteBuffer(bytes: try JSONEncoder().encode(body)))
        return try await send(request)
    }

    /// - Throws: `.unavailable` if nobody answers, `.refused` with the server's own words if it does not want to.
    private func send(_ request: HTTPClientRequest) async throws -> Data {
        var request = request
        if let apiKey { request.headers.add(name: "authorization", value: "Bearer \(apiKey)") }
        let response: HTTPClientResponse
        do { response = try await client.execute(request, timeout: .seconds(10)) } catch {
            throw DejaVuError(.unavailable, "no server answers at \(url): \(error)")
        }
        let data = Data(try await response.body.collect(upTo: 16 << 20).readableBytesView)
        guard response.status.code == 200 else {
            let words = try? JSONDecoder().decode(Failure.self, from: data).error.message
            throw DejaVuError(.refused, words ?? "\(url) answered with status \(response.status.code)")
        }
        return data
    }

    private struct Failure: Decodable {
        struct Words: Decodable { let message: String }
        let error: Words
    }
}
