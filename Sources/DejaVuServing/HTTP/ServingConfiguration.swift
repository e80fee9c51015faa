package import DejaVuCore

/// How the HTTP server behaves. Every wait has a timeout and every size a limit.
package struct ServingConfiguration: Sendable {
    package var host = "127.0.0.1"
    /// 0 takes a free one.
    package var port = 8080

    /// With keys, everything but `/`, `/openapi.json`, `/health` and `/ready` asks for one as a bearer token.
    package var apiKeys: [String] = []
    /// Listen on other addresses than loopback without keys.
    package var isInsecure = false
    /// Origins whose pages may call the API from a browser; `*` is all. None by default.
    package var corsOrigins: [String] = []
    /// Names under which clients may call a server on loopback without keys, besides `localhost` and its addresses.
    /// Others are refused: a web page could have pointed its own name here (DNS rebinding).
    package var allowedHosts: [String] = []

    package var limits = RequestLimits()
    package var connectionCountMax = 1024
    /// Parts of further requests that a client may send before its first is answered.
    package var pipelinedPartCountMax = 16
    package var headerBytesMax = 32 * 1024
    /// What the system may hold for a client that does not read.
    package var sendBufferBytes = 256 * 1024

    /// For the first request's head after a connection is made.
    package var headerTimeout = TimeSpan.seconds(10)
    /// For a whole body after its head.
    package var bodyTimeout = TimeSpan.seconds(60)
    /// Between two requests on one connection.
    package var idleTimeout = TimeSpan.seconds(75)
    /// How long a client may read nothing while something waits for it.
    package var writeTimeout = TimeSpan.seconds(30)
    /// For a generation, queue included; it becomes the request's deadline.
    package var requestTimeout = TimeSpan.seconds(1800)
    /// How long an answer can still be had after its end, and a request that was given a key runs on without a client.
    package var resumeGrace = TimeSpan.seconds(60)
    /// What may be kept for that, over all answers.
    package var resumeBytesMax = 64 << 20
    /// How often a waiting client is told that the server is still there.
    package var keepAliveInterval = TimeSpan.seconds(10)
    /// How often timeouts are looked at.
    package var tickInterval = TimeSpan.milliseconds(500)

    /// Let the page kill workers, to show what happens then; on loopback only.
    package var isDemo = false
    /// Write prompts to the log; for debugging, never by default.
    package var logsPrompts = false
    package var version = "0"

    package init() {}

    /// Whether only this machine can reach the server.
    package var isLoopback: Bool { Self.isLoopback(host) }

    package static func isLoopback(_ host: String) -> Bool {
        if host == "localhost" || host == "::1" || host == "[::1]" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }

    /// Checks what can be wrong.
    ///
    /// - Throws: `.invalidArgument` with what to do about it.
    package func validate() throws(DejaVuError) {
        guard isLoopback || !apiKeys.isEmpty || isInsecure else {
            throw DejaVuError(
                .invalidArgument,
                "listening on \(host) lets others use this server: give an API key file, or say --insecure to serve "
                    + "everyone who can reach it",
                subject: "listen")
        }
        guard isLoopback || !isDemo else {
            throw DejaVuError(
                .invalidArgument, "a demo lets anyone kill workers, so it listens on loopback only, not on \(host)",
                subject: "demo")
        }
        guard (0...65535).contains(port) else {
            throw DejaVuError(.invalidArgument, "a port is from 0 to 65535, not \(port)", subject: "listen")
        }
        for key in apiKeys where key.utf8.count < 8 || !key.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) {
            throw DejaVuError(
                .invalidArgument, "an API key has at least 8 printable ASCII characters and no spaces",
                subject: "api-key-file")
        }
        for origin in corsOrigins where origin != "*" && !origin.contains("://") {
            throw DejaVuError(
                .invalidArgument, "a CORS origin reads like https://example.org, not '\(origin)'",
                subject: "cors-origin")
        }
        let times = [
            headerTimeout, bodyTimeout, idleTimeout, writeTimeout, requestTimeout, keepAliveInterval, tickInterval,
        ]
        guard times.allSatisfy({ $0 > .zero }), connectionCountMax > 0, limits.bodyBytesMax > 0, resumeBytesMax > 0
        else {
            throw DejaVuError(.invalidArgument, "timeouts and limits must be greater than 0")
        }
        guard (TimeSpan.zero...TimeSpan.seconds(86400)).contains(resumeGrace) else {
            throw DejaVuError(.invalidArgument, "the resume grace is at most a day", subject: "resume-grace")
        }
    }

    /// The keys in a file's text: one a line; empty lines and lines that start with # are skipped.
    package static func keys(inFile text: String) -> [String] {
        text.split(whereSeparator: \.isNewline).map { line in
            String(line.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
        }.filter { !$0.isEmpty && !$0.hasPrefix("#") }
    }
}
