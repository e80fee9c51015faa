import Crypto
import HTTPTypes

/// Decides who may ask at all: hosts, origins and keys.
struct Gatekeeper: Sendable {
    /// Each with the name under which its owner's requests are kept: a digest, so that it is no secret.
    private let keys: [(key: [UInt8], owner: String)]
    private let corsOrigins: [String]
    private let checksHost: Bool
    private let allowedHosts: Set<String>

    init(_ configuration: ServingConfiguration) {
        keys = configuration.apiKeys.map { (Array($0.utf8), Self.owner(ofKey: $0)) }
        corsOrigins = configuration.corsOrigins
        checksHost = configuration.isLoopback && configuration.apiKeys.isEmpty && !configuration.isInsecure
        allowedHosts = Set((configuration.allowedHosts + [configuration.host]).map { $0.lowercased() })
    }

    /// - Returns: whose the request is; the same for all where nobody needs a key.
    /// - Throws: 403 for a name or an origin that a stranger's page would show, 401 for a missing or wrong key.
    func check(_ head: HTTPRequest, needsKey: Bool) throws(APIError) -> String {
        let host = head.authority ?? ""
        if checksHost, !isAllowed(host: host) {
            throw APIError(
                status: 403, code: "host_not_allowed",
                message: "This server answers to localhost only; start it with --allowed-host to use another name.")
        }
        if head.method != .get, head.method != .head, let origin = head.headerFields[.origin],
            !Self.isSame(origin, host),
            allowedOrigin(origin) == nil
        {
            throw APIError(
                status: 403, code: "origin_not_allowed",
                message: "Web pages of other origins may not use this server; start it with --cors-origin to allow one."
            )
        }
        return needsKey && !keys.isEmpty ? try owner(head.headerFields[.authorization]) : ""
    }

    /// Lets only this server's own page pass: a browser names the page that a request comes from.
    ///
    /// - Throws: 403 for everyone else, pages that may use the API included.
    static func checkOwnPage(_ head: HTTPRequest) throws(APIError) {
        guard let origin = head.headerFields[.origin], isSame(origin, head.authority ?? "") else {
            throw APIError(
                status: 403, code: "origin_not_allowed", message: "Only this server's own page may do this.")
        }
    }

    /// What to answer in `access-control-allow-origin`; nil to say nothing.
    func allowedOrigin(_ origin: String) -> String? {
        if corsOrigins.contains("*") { return "*" }
        return corsOrigins.contains(origin) ? origin : nil
    }

    private func isAllowed(host: String) -> Bool {
        let name = Self.name(ofHost: host).lowercased()
        return ServingConfiguration.isLoopback(name) || allowedHosts.contains(name)
    }

    private static func isSame(_ origin: String, _ host: String) -> Bool {
        origin == "http://" + host || origin == "https://" + host
    }

    /// `host:port` without the port; IPv6 addresses stand in brackets.
    static func name(ofHost host: String) -> String {
        if host.hasPrefix("[") { return String(host.prefix { $0 != "]" }) + "]" }
        return String(host.prefix { $0 != ":" })
    }

    private static func owner(ofKey key: String) -> String {
        SHA256.hash(data: Array(key.utf8)).prefix(8).map { String($0, radix: 16) }.joined(separator: ".")
    }

    private func owner(_ header: String?) throws(APIError) -> String {
        guard let header, header.utf8.count > 7, header.prefix(7).lowercased() == "bearer " else {
            throw APIError(
                status: 401, code: "missing_api_key",
                message: "This server needs an API key: send it as 'Authorization: Bearer KEY'.")
        }
        let given = Array(header.utf8.dropFirst(7))
        // Every key is compared to its end, so that the time tells nothing about how close a guess is.
        var found: String?
        for (key, owner) in keys where Self.areEqual(given, key) { found = owner }
        guard let found else {
            throw APIError(status: 401, code: "invalid_api_key", message: "Incorrect API key provided.")
        }
        return found
    }

    /// Compares in a time that depends on the lengths alone.
    static func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        var difference = UInt(bitPattern: left.count ^ right.count)
        for index in right.indices {
            difference |= UInt((index < left.count ? left[index] : 0) ^ right[index])
        }
        return difference == 0
    }
}
