import HTTPTypes
package import Hummingbird
import Logging
import NIOCore

/// Answers every HTTP request: finds the route, checks who asks, and puts on what all answers have.
package struct ServingResponder: HTTPResponder {
    package typealias Context = ServingContext

    let configuration: ServingConfiguration
    let service: ServingService
    private let gatekeeper: Gatekeeper
    private let logger: Logger

    init(configuration: ServingConfiguration, service: ServingService, logger: Logger) {
        self.logger = logger
        self.configuration = configuration
        self.service = service
        gatekeeper = Gatekeeper(configuration)
    }

    package func respond(to request: Request, context: ServingContext) async throws -> Response {
        let started = ContinuousClock.now
        let number = service.numbers.take()
        var found = Route.find(request.uri.path)
        if found?.route == .demoKill, !configuration.isDemo { found = nil }
        var exchange = Exchange(
            route: found?.route, argument: found?.argument ?? "", number: number,
            name: RequestIdentity.name(request.headers[Self.requestID], number: number), started: started,
            logger: logger)
        exchange.logger[metadataKey: "request_id"] = "\(exchange.name)"

        var reply: Reply
        do {
            reply = try await answer(request, &exchange)
        } catch {
            reply = Reply(error)
            if error.status >= 500 { exchange.logger.error("\(error.code): \(error.message)") }
            if error.status == 405, let route = found?.route { reply.headers[.allow] = route.allowedMethods }
        }
        return finish(reply, request, exchange, peer: context.peer)
    }

    private static let requestID: HTTPField.Name = {
        guard let name = HTTPField.Name("x-request-id") else { preconditionFailure("a valid field name") }
        return name
    }()

    private func answer(_ request: Request, _ exchange: inout Exchange) async throws(APIError) -> Reply {
        guard let route = exchange.route else {
            _ = try gatekeeper.check(request.head, needsKey: true)
            throw APIError(
                status: 404, code: "unknown_url",
                message: "Unknown request URL. GET /openapi.json lists those there are.")
        }
        if request.method == .options {
            return Reply(status: 204, headers: [.allow: route.allowedMethods], body: .bytes([]))
        }
        guard request.method == route.method || (request.method == .head && route.method == .get) else {
            throw APIError(
                status: 405, code: "method_not_allowed",
                message: "\(route.rawValue) takes \(route.allowedMethods) only.")
        }
        exchange.owner = try gatekeeper.check(request.head, needsKey: route.needsKey)
        return try await service.handle(route, request, exchange)
    }

    private func finish(_ reply: Reply, _ request: Request, _ exchange: Exchange, peer: String?) -> Response {
        var headers = reply.headers
        headers[Self.requestID] = exchange.name
        headers[.xContentTypeOptions] = "nosniff"
        if !configuration.corsOrigins.isEmpty { addCORS(&headers, request, exchange.route) }
        let log = AccessLog(
            exchange: exchange, method: request.method.rawValue, path: request.uri.path, peer: peer,
            metrics: service.metrics)
        let body: ResponseBody
        switch reply.body {
        case .bytes(let bytes):
            headers[.contentLength] = reply.status == 204 ? nil : String(bytes.count)
            body =
                request.method == .head || bytes.isEmpty
                ? ResponseBody() : ResponseBody(byteBuffer: .init(bytes: bytes))
            log.write(status: reply.status, notes: reply.notes)
        case .stream where request.method == .head: body = ResponseBody()
        case .stream(let write):
            body = ResponseBody { writer in
                do {
                    let end = try await write(&writer)
                    log.write(status: end.status, notes: end.notes)
                } catch {
                    log.write(status: 499, notes: [])
                    throw error
                }
            }
        }
        return Response(status: .init(code: reply.status), headers: headers, body: body)
    }

    private func addCORS(_ headers: inout HTTPFields, _ request: Request, _ route: Route?) {
        headers[.vary] = "origin"
        guard let origin = request.headers[.origin], let allowed = gatekeeper.allowedOrigin(origin) else { return }
        headers[.accessControlAllowOrigin] = allowed
        headers[.accessControlExposeHeaders] = "x-request-id, retry-after"
        guard request.method == .options else { return }
        headers[.accessControlAllowMethods] = route?.allowedMethods ?? "GET, POST, OPTIONS"
        headers[.accessControlAllowHeaders] =
            "authorization, content-type, x-request-id, idempotency-key, last-event-id"
        headers[.accessControlMaxAge] = "600"
    }
}

/// One request on its way through the server.
struct Exchange: Sendable {
    let route: Route?
    /// What stands for `{id}` in the route's path.
    let argument: Substring
    let number: UInt64
    /// The value of `x-request-id`.
    let name: String
    let started: ContinuousClock.Instant
    var logger: Logger
    /// Whose it is; see `Gatekeeper`.
    var owner = ""
}
