import DejaVuCore
import DejaVuServing
import HTTPTypes
import Testing

private let key = "sk-0123456789"

@Test func keys_protectEverythingThatTellsOrDoes() async throws {
    let server = try TestServer { $0.apiKeys = ["another-key", key] }
    try await server.test { client in
        for path in ["/", "/openapi.json", "/health", "/ready"] {
            #expect(try await client.send(.get, path).status == 200)
        }
        for path in ["/metrics", "/cluster", "/v1/models", "/v1/models/fake", "/nowhere"] {
            let answer = try await client.send(.get, path)
            #expect(answer.status == 401 && answer.headers["www-authenticate"] == "Bearer", "\(path)")
            #expect(answer.errorText("code") == "missing_api_key")
        }
        for wrong in ["", "Bearer", "Bearer ", "Bearer sk-012345678", "Bearer sk-01234567890", "Basic \(key)", key] {
            #expect(try await client.send(.get, "/v1/models", headers: [.authorization: wrong]).status == 401)
        }
        for right in ["Bearer \(key)", "bearer another-key"] {
            #expect(try await client.send(.get, "/v1/models", headers: [.authorization: right]).status == 200)
        }
        let refused = try await client.post("/v1/completions", "{\"prompt\":\"a\"}")
        #expect(refused.status == 401)
    }
    #expect(server.backend.snapshot.submissions.isEmpty)
}

@Test func requestID_isTheClientsIfItIsSane() async throws {
    let server = try TestServer()
    let name = try #require(HTTPField.Name("x-request-id"))
    try await server.test { client in
        let echoed = try await client.send(.get, "/health", headers: [name: "abc-1.2:3"])
        #expect(echoed.headers["x-request-id"] == "abc-1.2:3")
        for bad in ["a b", "a\"b", String(repeating: "x", count: 129), "é"] {
            let answer = try await client.send(.get, "/health", headers: [name: bad])
            #expect(answer.headers["x-request-id"]?.hasPrefix("req_") == true)
        }
    }
}

@Test func cors_isOffUnlessAsked() async throws {
    let origin = "https://chat.example"
    let closed = try TestServer()
    try await closed.test { client in
        let answer = try await client.send(.get, "/v1/models", headers: [.origin: origin])
        #expect(answer.status == 200 && answer.headers["access-control-allow-origin"] == nil)
        let post = try await client.post("/v1/completions", "{\"prompt\":\"a\"}", headers: [.origin: origin])
        #expect(post.status == 403 && post.errorText("code") == "origin_not_allowed")
        let own = try await client.post(
            "/v1/completions", "{\"prompt\":\"a\"}", headers: [.origin: "http://localhost"])
        #expect(own.status == 200)
    }
    let open = try TestServer { $0.corsOrigins = [origin] }
    try await open.test { client in
        let preflight = try await client.send(.options, "/v1/chat/completions", headers: [.origin: origin])
        #expect(preflight.status == 204)
        #expect(preflight.headers["access-control-allow-origin"] == origin)
        #expect(preflight.headers["access-control-allow-headers"]?.contains("authorization") == true)
        let post = try await client.post("/v1/completions", "{\"prompt\":\"a\"}", headers: [.origin: origin])
        #expect(post.status == 200 && post.headers["access-control-allow-origin"] == origin)
        let other = try await client.post(
            "/v1/completions", "{\"prompt\":\"a\"}", headers: [.origin: "https://evil.example"])
        #expect(other.status == 403)
    }
}

@Test(arguments: [
    ("127.0.0.1", [String](), false, true), ("localhost", [], false, true), ("::1", [], false, true),
    ("0.0.0.0", [], false, false), ("192.168.1.5", [], false, false), ("127.evil.example", [], false, false),
    ("0.0.0.0", ["a-long-key"], false, true), ("0.0.0.0", [], true, true), ("127.0.0.1", ["short"], false, false),
    ("127.0.0.1", ["with space"], false, false),
])
func configuration_ofWhoMayListen_isChecked(host: String, keys: [String], insecure: Bool, isFine: Bool) {
    var configuration = ServingConfiguration()
    configuration.host = host
    configuration.apiKeys = keys
    configuration.isInsecure = insecure
    if isFine {
        #expect(throws: Never.self) { try configuration.validate() }
    } else {
        let error = #expect(throws: DejaVuError.self) { try configuration.validate() }
        #expect(error?.code == .invalidArgument)
        if keys.isEmpty { #expect(error?.message.contains("--insecure") == true) }
    }
}

@Test func keyFile_commentsAndSpaces_areSkipped() {
    #expect(ServingConfiguration.keys(inFile: "# mine\n\n key-one-1 \r\nkey-two-2\n") == ["key-one-1", "key-two-2"])
}

@Test func page_isSelfContained() async throws {
    let server = try TestServer()
    try await server.test { client in
        let first = try await client.send(.get, "/")
        #expect(first.headers["content-type"] == "text/html; charset=utf-8")
        let policy = first.headers["content-security-policy"] ?? ""
        #expect(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"))
        #expect(!first.text.contains("__NONCE__"))
        for word in ["http://", "https://", "//cdn", "@import", "innerHTML", "eval("] {
            #expect(!first.text.contains(word), "\(word)")
        }
        let nonce = try #require(policy.split(separator: "'nonce-").dropFirst().first?.prefix { $0 != "'" })
        #expect(first.text.contains("<script nonce=\"\(nonce)\">"))
        let second = try await client.send(.get, "/")
        #expect(second.headers["content-security-policy"] != policy)
    }
}
