import DejaVuControl
import DejaVuCore
import DejaVuMetrics
import Hummingbird
import Logging
import NIOCore

/// What the routes need: the model's text side, the generation behind it, and the figures of both.
struct ServingService: Sendable {
    let configuration: ServingConfiguration
    let model: any TextModel
    let backend: any GenerationBackend
    let metrics: ServingMetrics
    let numbers = RequestNumbers()
    let eventLoopGroup: any EventLoopGroup
    let answers: AnswerRegistry

    init(
        configuration: ServingConfiguration, model: any TextModel, backend: any GenerationBackend,
        metrics: ServingMetrics, eventLoopGroup: any EventLoopGroup
    ) {
        self.configuration = configuration
        self.model = model
        self.backend = backend
        self.metrics = metrics
        self.eventLoopGroup = eventLoopGroup
        answers = AnswerRegistry(configuration, metrics: metrics, eventLoop: eventLoopGroup.next())
    }

    func handle(_ route: Route, _ request: HummingbirdCore.Request, _ exchange: Exchange) async throws(APIError)
        -> Reply
    {
        switch route {
        case .page: return Page.reply()
        case .openAPI: return OpenAPI.reply()
        case .health: return .json { $0.key("status", "ok") }
        case .ready: return await ready()
        case .metrics: return await metricsText()
        case .cluster: return await cluster()
        case .clusterDrain: return try await clusterDrain(request)
        case .models: return models()
        case .model: return try oneModel(exchange.argument)
        case .tokenize: return try await tokenize(request)
        case .detokenize: return try await detokenize(request)
        case .request: return try self.request(exchange)
        case .requestEvents: return try requestEvents(request, exchange)
        case .requestCancel: return try requestCancel(exchange)
        case .demoKill: return try await demoKill(request)
        case .chat, .completions: return try await generate(route, request, exchange)
        }
    }

    /// Reads a body to its end.
    ///
    /// - Throws: 413 over the limit, 415 for another type of content, `clientGone` if it was cut.
    func body(_ request: HummingbirdCore.Request) async throws(APIError) -> [UInt8] {
        let limit = configuration.limits.bodyBytesMax
        let tooLarge = APIError(
            status: 413, code: "request_too_large", message: "The request's body is larger than \(limit) bytes.")
        if let type = request.headers[.contentType], !isJSON(type) {
            throw APIError(
                status: 415, code: "unsupported_media_type",
                message: "The request's content-type must be application/json.")
        }
        let length = request.headers[.contentLength].flatMap { Int($0) }
        if let length, length > limit { throw tooLarge }
        let buffer: ByteBuffer
        do {
            buffer = try await request.body.collect(upTo: limit)
        } catch is NIOTooManyBytesError {
            throw tooLarge
        } catch {
            throw Generation.clientGone
        }
        guard !Task.isCancelled, length == nil || length == buffer.readableBytes else { throw Generation.clientGone }
        return Array(buffer.readableBytesView)
    }

    private func isJSON(_ type: String) -> Bool {
        let essence = type.prefix { $0 != ";" }.filter { !$0.isWhitespace }.lowercased()
        return essence == "application/json" || essence.hasSuffix("+json")
    }

    /// Parses a body.
    func parse(_ bytes: [UInt8]) throws(APIError) -> JSONValue {
        do {
            return try JSONParser.parse(bytes, limits: configuration.limits.json)
        } catch {
            throw .invalid(
                nil, code: "invalid_json", "We could not parse the JSON body of your request: \(error.description).")
        }
    }

    /// Checks the model that a request names, if it names one.
    func checkModel(_ name: String?) throws(APIError) {
        guard let name, !model.description.isNamed(name) else { return }
        throw APIError(
            status: 404, code: "model_not_found", parameter: "model",
            message: "The model '\(name.prefix(100))' does not exist; this server runs '\(model.description.name)'.")
    }

    // MARK: Texts and tokens

    private func tokenize(_ request: HummingbirdCore.Request) async throws(APIError) -> Reply {
        let bytes = try await body(request)
        return try await inPool { () throws(APIError) -> Reply in
            let request = try TokenizeRequest(parse(bytes))
            try checkModel(request.model)
            let tokens: [TokenID]
            do throws(DejaVuError) {
                tokens = try model.tokenize(
                    request.text, addsSpecial: request.addsSpecial, parsesSpecial: request.parsesSpecial)
            } catch { throw APIError(error) }
            return .json { json in
                json.key("tokens")
                json.array(tokens) { json, token in
                    guard request.withPieces else { return json.integer(token) }
                    var piece: [UInt8] = []
                    model.appendPiece(of: token, to: &piece)
                    json.object {
                        $0.key("id", Int(token))
                        $0.key("piece")
                        if let text = String(validating: piece, as: UTF8.self) {
                            $0.string(text)
                        } else {
                            $0.array(piece) { $0.integer($1) }
                        }
                    }
                }
                json.key("count", tokens.count)
                json.key("max_model_len", model.description.contextLength)
            }
        }
    }

    private func detokenize(_ request: HummingbirdCore.Request) async throws(APIError) -> Reply {
        let bytes = try await body(request)
        return try await inPool { () throws(APIError) -> Reply in
            let request = try DetokenizeRequest(
                parse(bytes), vocabularyCount: model.description.vocabularyCount)
            try checkModel(request.model)
            return .json { $0.key("content", model.detokenize(request.tokens)) }
        }
    }
}

/// Runs work that takes a while on the global pool: connections run on event loops, which must not be held up.
func inPool<Value: Sendable>(_ work: @Sendable () async throws(APIError) -> Value) async throws(APIError) -> Value {
    let result: Result<Value, APIError> = await withTaskExecutorPreference(globalConcurrentExecutor) {
        do throws(APIError) {
            return .success(try await work())
        } catch {
            return .failure(error)
        }
    }
    return try result.get()
}
