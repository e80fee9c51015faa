import DejaVuControl
import DejaVuCore

/// An answer that says why there is none, as an OpenAI error object.
package struct APIError: Error, Hashable, Sendable {
    /// The HTTP status.
    package let status: Int
    /// OpenAI's class of error: `invalid_request_error`, `server_error`, …
    package let type: String
    /// For programs; a bounded set.
    package let code: String
    /// The parameter at fault, as a path from the body's root: `messages[0].content`.
    package let parameter: String?
    /// For people.
    package let message: String
    /// Seconds after which it may work.
    package let retryAfter: Int?

    package init(
        status: Int, type: String = "invalid_request_error", code: String, parameter: String? = nil, message: String,
        retryAfter: Int? = nil
    ) {
        self.status = status
        self.type = type
        self.code = code
        self.parameter = parameter
        self.message = message
        self.retryAfter = retryAfter
    }

    /// 400 for a parameter whose value is wrong.
    static func invalid(_ parameter: String?, code: String = "invalid_value", _ message: String) -> APIError {
        APIError(status: 400, code: code, parameter: parameter, message: message)
    }

    /// 400 for what OpenAI's API has and this server has not.
    static func unsupported(_ parameter: String, _ what: String? = nil) -> APIError {
        let what = what ?? "'\(parameter)'"
        return APIError(
            status: 400, code: "unsupported_parameter", parameter: parameter,
            message: "\(what) is not supported by this server.")
    }

    /// The refusal of a request by the controller or the text model.
    init(_ error: DejaVuError, retryAfter: TimeSpan? = nil) {
        let seconds = retryAfter.map { max(1, Int($0.seconds.rounded(.up))) }
        switch error.code {
        case .invalidArgument, .invalidFile, .unsupported, .mismatch:
            self.init(status: 400, code: "invalid_value", parameter: error.subject, message: error.message)
        case .notFound:
            self.init(status: 404, code: "not_found", parameter: error.subject, message: error.message)
        case .resourceExhausted where retryAfter == nil:
            // Without a time to come back it never fits, however empty the server is.
            self.init(status: 400, code: "request_too_large", parameter: error.subject, message: error.message)
        case .resourceExhausted:
            self.init(
                status: 429, type: "rate_limit_error", code: "server_busy", message: error.message, retryAfter: seconds)
        case .unavailable, .cancelled, .deadlineExceeded, .network, .refused:
            self.init(
                status: 503, type: "server_error", code: "unavailable", message: error.message,
                retryAfter: seconds ?? 1)
        default:
            self.init(status: 500, type: "server_error", code: "internal_error", message: error.message)
        }
    }

    /// `{"error": {…}}`, the body of the answer and the data of an SSE error event.
    package func write(_ json: inout JSONWriter) {
        json.object { writeMember(&$0) }
    }

    /// The same without the braces.
    func writeMember(_ json: inout JSONWriter) {
        json.key("error")
        json.object {
            $0.key("message", message)
            $0.key("type", type)
            $0.key("param", parameter)
            $0.key("code", code)
        }
    }
}
