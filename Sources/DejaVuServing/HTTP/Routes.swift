import HTTPTypes

/// What the server has to offer, by path.
enum Route: String, Sendable, CaseIterable {
    case page = "/"
    case openAPI = "/openapi.json"
    case health = "/health"
    case ready = "/ready"
    case metrics = "/metrics"
    case cluster = "/cluster"
    case clusterDrain = "/cluster/drain"
    case models = "/v1/models"
    case model = "/v1/models/{id}"
    case chat = "/v1/chat/completions"
    case completions = "/v1/completions"
    case request = "/v1/requests/{id}"
    case requestEvents = "/v1/requests/{id}/events"
    case requestCancel = "/v1/requests/{id}/cancel"
    /// Only with `--demo`.
    case demoKill = "/demo/kill"
    case tokenize = "/tokenize"
    case detokenize = "/detokenize"

    private static let byPath = Dictionary(uniqueKeysWithValues: allCases.map { ($0.rawValue, $0) })

    /// The route of a path and what stands for `{id}` in it, still percent-encoded.
    static func find(_ path: String) -> (route: Route, argument: Substring)? {
        if path.contains("{") { return nil }
        if let route = byPath[path] { return (route, "") }
        if let name = path.dropping("/v1/models/") { return (.model, name) }
        guard let rest = path.dropping("/v1/requests/") else { return nil }
        if !rest.contains("/") { return (.request, rest) }
        let id = rest.prefix { $0 != "/" }
        guard !id.isEmpty else { return nil }
        switch rest.dropFirst(id.count) {
        case "/events": return (.requestEvents, id)
        case "/cancel": return (.requestCancel, id)
        default: return nil
        }
    }

    /// The method besides HEAD and OPTIONS.
    var method: HTTPRequest.Method {
        switch self {
        case .chat, .completions, .tokenize, .detokenize, .requestCancel, .clusterDrain,
            .demoKill:
            .post
        default: .get
        }
    }

    var allowedMethods: String { method == .get ? "GET, HEAD, OPTIONS" : "POST, OPTIONS" }

    /// Whether the route tells or does anything that keys protect.
    var needsKey: Bool {
        switch self {
        // The page and the API's description are the same for everyone; the other two are for probes.
        case .page, .openAPI, .health, .ready: false
        default: true
        }
    }

    /// Asked for so often by programs that a log line each would drown the others.
    var isPolled: Bool {
        switch self {
        case .health, .ready, .metrics, .cluster: true
        default: false
        }
    }
}

extension String {
    /// What is behind a prefix, if there is anything.
    fileprivate func dropping(_ prefix: String) -> Substring? {
        guard hasPrefix(prefix), utf8.count > prefix.utf8.count else { return nil }
        return dropFirst(prefix.count)
    }
}
