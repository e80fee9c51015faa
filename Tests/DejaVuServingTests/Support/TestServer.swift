import DejaVuControl
import DejaVuCore
import DejaVuMetrics
import DejaVuServing
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import NIOPosix

/// A server over fakes.
struct TestServer: Sendable {
    let backend: FakeBackend
    let registry = MetricsRegistry()
    let app: Application<ServingResponder>

    init(
        _ backend: FakeBackend = FakeBackend(), model: FakeModel = FakeModel(), restored: [RestoredRequest] = [],
        _ change: (inout ServingConfiguration) -> Void = { _ in }
    ) throws {
        var configuration = ServingConfiguration()
        configuration.port = 0
        configuration.version = "1.2.3"
        change(&configuration)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        self.backend = backend
        app = try makeServingApplication(
            configuration: configuration, model: model, backend: backend, restored: restored, metrics: registry,
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: logger)
    }

    /// Runs a test against the routes, without sockets.
    func test<Value>(_ body: @Sendable (any TestClientProtocol) async throws -> Value) async throws -> Value {
        try await app.test(.router, body)
    }

    /// Runs a test against the real server on a port of its own.
    func testLive<Value>(_ body: @Sendable (any TestClientProtocol) async throws -> Value) async throws -> Value {
        try await app.test(.live, body)
    }
}

/// An answer with its body read.
struct Answer: Sendable {
    let status: Int
    let headers: [String: String]
    let text: String

    init(_ response: TestResponse) {
        status = response.status.code
        headers = Dictionary(response.headers.map { ($0.name.canonicalName, $0.value) }) { first, _ in first }
        text = String(buffer: response.body)
    }

    var json: JSONValue { (try? JSONParser.parse(Array(text.utf8))) ?? .null }
    var error: JSONValue? { json["error"] }
    func errorText(_ key: String) -> String? { error?[key]?.text }

    /// The data of each event of a stream; comments are left out.
    var events: [String] {
        text.components(separatedBy: "\n\n").compactMap { block in
            block.split(separator: "\n").first { $0.hasPrefix("data: ") }.map { String($0.dropFirst(6)) }
        }
    }
    var chunks: [JSONValue] {
        events.filter { $0 != "[DONE]" }.compactMap { try? JSONParser.parse(Array($0.utf8)) }
    }
}

extension JSONValue {
    var text: String? { if case .string(let text) = self { text } else { nil } }
    var int: Int? { if case .integer(let integer) = self { Int(integer) } else { nil } }
    var list: [JSONValue] { if case .array(let list) = self { list } else { [] } }
    var double: Double? {
        switch self {
        case .integer(let integer): Double(integer)
        case .number(let number): number
        default: nil
        }
    }
    subscript(index: Int) -> JSONValue? { list.indices.contains(index) ? list[index] : nil }
}

extension TestClientProtocol {
    func post(_ path: String, _ body: String, headers: HTTPFields = [:]) async throws -> Answer {
        var headers = headers
        if headers[.contentType] == nil { headers[.contentType] = "application/json" }
        return try await execute(uri: path, method: .post, headers: headers, body: ByteBuffer(string: body)) {
            Answer($0)
        }
    }
    func send(_ method: HTTPRequest.Method, _ path: String, headers: HTTPFields = [:]) async throws -> Answer {
        try await execute(uri: path, method: method, headers: headers) { Answer($0) }
    }
    func chat(_ fields: String = "", content: String = "hello") async throws -> Answer {
        let more = fields.isEmpty ? "" : "," + fields
        return try await post(
            "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"\(content)\"}]\(more)}")
    }
    func complete(_ fields: String = "", prompt: String = "\"hello\"") async throws -> Answer {
        let more = fields.isEmpty ? "" : "," + fields
        return try await post("/v1/completions", "{\"prompt\":\(prompt)\(more)}")
    }
}
