import AsyncHTTPClient
import DejaVuCore
import FoundationEssentials
import NIOCore
import NIOHTTP1

/// The few questions that are asked of a server before the load begins.
struct ServerClient {
    /// No answer to them may be longer.
    private static let answerBytesMax = 16 << 20

    let http: HTTPClient
    /// Without a path and without a slash at the end.
    let base: String
    let apiKey: String?

    init(http: HTTPClient, configuration: LoadConfiguration) {
        self.http = http
        var base = configuration.url[...]
        while base.hasSuffix("/") { base = base.dropLast() }
        if base.hasSuffix("/v1") { base = base.dropLast(3) }
        while base.hasSuffix("/") { base = base.dropLast() }
        self.base = String(base)
        apiKey = configuration.apiKey
    }

    /// The status and the body of an answer.
    func send(_ path: String, body: String? = nil, seconds: Int64 = 30) async throws -> (status: Int, body: ByteBuffer)
    {
        var request = HTTPClientRequest(url: base + path)
        request.headers.add(name: "accept", value: "application/json")
        if let apiKey { request.headers.add(name: "authorization", value: "Bearer " + apiKey) }
        if let body {
            request.method = .POST
            request.headers.add(name: "content-type", value: "application/json")
            request.body = .bytes(ByteBuffer(string: body))
        }
        do {
            let response = try await http.execute(request, timeout: .seconds(seconds))
            return (Int(response.status.code), try await response.body.collect(upTo: Self.answerBytesMax))
        } catch {
            throw DejaVuError(.network, "\(base)\(path) does not answer: \(ErrorKind.name(of: error))", subject: base)
        }
    }

    private func decode<Answer: Decodable>(_ type: Answer.Type, _ path: String, body: String? = nil) async throws
        -> Answer?
    {
        let (status, body) = try await send(path, body: body)
        guard status == 200 else { return nil }
        return try? JSONText.decoder.decode(Answer.self, from: Data(body.readableBytesView))
    }

    /// The models that the server names, with their contexts as far as it tells.
    func models() async throws -> [(name: String, contextTokens: Int?)] {
        struct Models: Decodable {
            struct Model: Decodable {
                struct Meta: Decodable {
                    let nCtx: Int?
                    let nCtxTrain: Int?
                }
                let id: String
                let maxModelLen: Int?
                let contextLength: Int?
                let meta: Meta?
            }
            let data: [Model]
        }
        guard let models = try await decode(Models.self, "/v1/models") else { return [] }
        return models.data.map { model in
            (model.id, model.maxModelLen ?? model.contextLength ?? model.meta?.nCtx ?? model.meta?.nCtxTrain)
        }
    }

    /// The context of one of llama-server's slots, which is less than the model's; nil for other servers.
    func slotContextTokens() async throws -> Int? {
        struct Properties: Decodable {
            struct Settings: Decodable { let nCtx: Int? }
            let defaultGenerationSettings: Settings?
        }
        return try await decode(Properties.self, "/props")?.defaultGenerationSettings?.nCtx
    }

    /// The tokens of a text, nil if the server has no `/tokenize`. Understands llama-server's form and vLLM's.
    func tokenize(_ text: String, model: String?) async throws -> [Int]? {
        struct Tokens: Decodable { let tokens: [Int] }
        let quoted = RequestBody.quoted(text)
        if let answer = try await decode(
            Tokens.self, "/tokenize", body: "{\"content\":\(quoted),\"add_special\":false}")
        {
            return answer.tokens
        }
        let modelMember = model.map { "\"model\":\(RequestBody.quoted($0))," } ?? ""
        return try await decode(
            Tokens.self, "/tokenize", body: "{\(modelMember)\"prompt\":\(quoted),\"add_special_tokens\":false}")?.tokens
    }

    /// How many prompt tokens the server counts for a request with this body, not streamed.
    func promptTokenCount(_ endpoint: Endpoint, body: String) async throws -> Int? {
        struct Answer: Decodable {
            struct Usage: Decodable { let promptTokens: Int }
            let usage: Usage?
        }
        let (status, bytes) = try await send(endpoint.path, body: body, seconds: 120)
        guard status == 200 else {
            throw DejaVuError(
                .refused, "\(base)\(endpoint.path) answered \(status): \(ErrorKind.excerpt(bytes))", subject: base)
        }
        return try? JSONText.decoder.decode(Answer.self, from: Data(bytes.readableBytesView)).usage?.promptTokens
    }
}
