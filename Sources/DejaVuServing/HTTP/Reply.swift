import HTTPTypes
import Hummingbird
import NIOCore

/// An answer on its way to the client, before the headers that all answers have.
struct Reply: Sendable {
    enum Body: Sendable {
        case bytes([UInt8])
        /// Writes the body to its end.
        case stream(@concurrent @Sendable (inout any ResponseBodyWriter) async throws -> End)
    }

    /// What the log says of a stream: it can still fail after its head.
    struct End: Sendable {
        let status: Int
        let notes: [(String, String)]
    }

    var status: Int
    var headers: HTTPFields
    var body: Body
    /// What the log line says besides method, path, status and time.
    var notes: [(String, String)] = []

    static func json(_ bytes: [UInt8], status: Int = 200) -> Reply {
        Reply(
            status: status, headers: [.contentType: "application/json", .cacheControl: "no-store"], body: .bytes(bytes))
    }

    static func json(status: Int = 200, _ body: (inout JSONWriter) -> Void) -> Reply {
        var json = JSONWriter()
        json.object(body)
        return .json(json.bytes, status: status)
    }

    init(status: Int, headers: HTTPFields, body: Body) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    init(_ error: APIError) {
        var json = JSONWriter()
        error.write(&json)
        self = .json(json.bytes, status: error.status)
        if let seconds = error.retryAfter { headers[.retryAfter] = String(seconds) }
        if error.status == 401 { headers[.wwwAuthenticate] = "Bearer" }
        // What is left of a body that was not read to its end must not be taken for the next request.
        if error.status == 413 || error.status == 408 { headers[.connection] = "close" }
    }
}
