import DejaVuControl
import DejaVuCore
import DejaVuMetrics
import DejaVuServing
import Foundation
import HTTPTypes
import HummingbirdTesting
import Testing

private let chat = "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}"
private let streamed = "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}],\"stream\":true}"

private func closed(_ server: TestServer, _ cause: String) -> Double {
    server.registry.counter(MetricTable.connectionsRefused, [cause]).value
}

@Test(.timeLimit(.minutes(1)), arguments: [chat, streamed])
func client_leavingTheQueue_cancelsItsRequest(body: String) async throws {
    let server = try TestServer(FakeBackend(.manual))
    try await server.testLive { http in
        let client = try await RawClient(port: http.port)
        client.post("/v1/chat/completions", body)
        await server.backend.wait { !$0.submissions.isEmpty }
        #expect(server.backend.snapshot.cancelled.isEmpty)
        client.close()
        await server.backend.wait { $0.cancelled.count == 1 }
    }
}

@Test(.timeLimit(.minutes(1)), arguments: [false, true])
func client_leavingMidStream_cancelsItsRequest(onlyHalf: Bool) async throws {
    let server = try TestServer(FakeBackend(.manual))
    try await server.testLive { http in
        let client = try await RawClient(port: http.port)
        client.post("/v1/chat/completions", streamed)
        await server.backend.wait { !$0.submissions.isEmpty }
        let submission = try #require(server.backend.snapshot.submissions.first)
        let id = submission.request.id
        submission.mailbox.deliver(.admitted(id))
        submission.mailbox.deliver(.token(id, choice: 0, server.backend.sampled(submission.request, 0, 0, 65)))
        await client.wait { text, _ in text.contains("\"content\":\"A\"") }
        if onlyHalf { client.closeOutput() } else { client.close() }
        await server.backend.wait { $0.cancelled == [id] }
    }
    #expect(
        server.registry.counter(MetricTable.requests, ["/v1/chat/completions", "cancelled"]).value == 1)
}

@Test(.timeLimit(.minutes(1)))
func client_leavingAmongOthers_harmsNobody() async throws {
    let backend = FakeBackend(.paced(.milliseconds(1)) { _, _ in tokens("a longer answer") + [FakeModel.end] })
    let server = try TestServer(backend)
    try await server.testLive { http in
        for _ in 0..<20 {
            let leaver = try await RawClient(port: http.port)
            leaver.post("/v1/chat/completions", streamed)
            async let answer = http.chat("\"stream\":true")
            await leaver.wait { text, _ in text.contains("data:") }
            leaver.close()
            #expect(try await answer.text.hasSuffix("data: [DONE]\n\n"))
        }
    }
}

@Test(.timeLimit(.minutes(1)))
func client_thatDoesNotRead_isCutOffAndCancelled() async throws {
    // Far more than sockets hold, so that the server must wait for the client.
    let backend = FakeBackend(.tokens { _, _ in Array(repeating: FakeModel.word, count: 100_000) })
    let server = try TestServer(backend, model: FakeModel(contextLength: 200_000)) {
        $0.writeTimeout = .milliseconds(300)
        $0.tickInterval = .milliseconds(50)
        $0.sendBufferBytes = 16 * 1024
    }
    try await server.testLive { http in
        let client = try await RawClient(port: http.port, reads: false)
        client.post("/v1/chat/completions", streamed)
        while closed(server, "slow_reader") == 0 { try await Task.sleep(for: .milliseconds(20)) }
    }
    #expect(closed(server, "slow_reader") == 1)
}

@Test(.timeLimit(.minutes(1)))
func client_thatSaysNothing_isCutOff() async throws {
    let server = try TestServer {
        $0.headerTimeout = .milliseconds(100)
        $0.tickInterval = .milliseconds(20)
    }
    try await server.testLive { http in
        let silent = try await RawClient(port: http.port)
        #expect(await silent.waitForClose().isEmpty)
    }
    #expect(closed(server, "slow_request") >= 1)
}

@Test(.timeLimit(.minutes(1)))
func client_sendingItsBodyTooSlowly_isAnsweredAndCutOff() async throws {
    let server = try TestServer {
        $0.bodyTimeout = .milliseconds(100)
        $0.tickInterval = .milliseconds(20)
    }
    try await server.testLive { http in
        let slow = try await RawClient(port: http.port)
        slow.post("/v1/chat/completions", "{\"mess", length: 1000)
        let answer = await slow.waitForClose()
        #expect(answer.hasPrefix("HTTP/1.1 408 ") && answer.contains("request_timeout"), "\(answer)")
        #expect(answer.components(separatedBy: "HTTP/1.1 ").count == 2)
    }
    #expect(closed(server, "slow_request") == 1)
}

@Test(.timeLimit(.minutes(1)))
func client_idleTooLong_isClosedAndServedBefore() async throws {
    let server = try TestServer {
        $0.idleTimeout = .milliseconds(100)
        $0.tickInterval = .milliseconds(20)
    }
    try await server.testLive { http in
        let client = try await RawClient(port: http.port)
        client.send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        #expect(await client.waitForClose().contains("{\"status\":\"ok\"}"))
    }
}

@Test(.timeLimit(.minutes(1)))
func requests_pipelined_areAnsweredInOrderWithinBounds() async throws {
    let server = try TestServer(FakeBackend(.manual))
    try await server.testLive { http in
        let few = try await RawClient(port: http.port)
        let request = "GET /v1/models/%@ HTTP/1.1\r\nhost: localhost\r\n\r\n"
        few.send((1...3).map { request.replacingOccurrences(of: "%@", with: "no\($0)") }.joined())
        await few.wait { text, _ in text.components(separatedBy: "HTTP/1.1 404").count == 4 }
        let order = (1...3).compactMap { few.text.range(of: "'no\($0)'")?.lowerBound }
        #expect(order.count == 3 && order == order.sorted())

        let many = try await RawClient(port: http.port)
        many.post("/v1/chat/completions", chat)
        await server.backend.wait { !$0.submissions.isEmpty }
        many.send(String(repeating: "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n", count: 200))
        #expect(await many.waitForClose().isEmpty)
        await server.backend.wait { $0.cancelled.count == 1 }
    }
    #expect(closed(server, "pipelining") == 1)
}

@Test(
    .timeLimit(.minutes(1)),
    arguments: [
        "\u{1}\u{2}\u{3}\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET\r\n\r\n",
        "GET /health HTTP/1.1\r\nbad header\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
    ])
func bytes_thatAreNoHTTP_areRefused(text: String) async throws {
    let server = try TestServer()
    try await server.testLive { http in
        let client = try await RawClient(port: http.port)
        client.send(text)
        let answer = await client.waitForClose()
        #expect(answer.hasPrefix("HTTP/1.1 400 "), "\(answer)")
        #expect(answer.components(separatedBy: "HTTP/1.1 ").count == 2)
        #expect(try await http.send(.get, "/health").status == 200)
    }
}

@Test(.timeLimit(.minutes(1)))
func headers_tooLong_areRefused() async throws {
    let server = try TestServer { $0.headerBytesMax = 2000 }
    try await server.testLive { http in
        let client = try await RawClient(port: http.port)
        client.send("GET /health HTTP/1.1\r\nhost: localhost\r\nx: \(String(repeating: "y", count: 5000))\r\n\r\n")
        let answer = await client.waitForClose()
        #expect(answer.hasPrefix("HTTP/1.1 431 ") && answer.contains("headers_too_large"), "\(answer)")
    }
}

@Test(.timeLimit(.minutes(1)))
func body_overTheLimit_isNotReadToItsEnd() async throws {
    let server = try TestServer { $0.limits.bodyBytesMax = 1000 }
    try await server.testLive { http in
        let announced = try await RawClient(port: http.port)
        announced.post("/v1/completions", "{", length: 1 << 40)
        #expect(await announced.waitForClose().hasPrefix("HTTP/1.1 413 "))

        let chunked = try await RawClient(port: http.port)
        chunked.send(
            "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                + "transfer-encoding: chunked\r\n\r\n")
        for _ in 0..<20 { chunked.send("64\r\n\(String(repeating: " ", count: 100))\r\n") }
        #expect(await chunked.waitForClose().hasPrefix("HTTP/1.1 413 "))
    }
}

@Test(.timeLimit(.minutes(1)))
func body_cutShort_startsNothing() async throws {
    let server = try TestServer(FakeBackend(.manual))
    try await server.testLive { http in
        for cut in [0, 1, chat.utf8.count - 1] {
            let client = try await RawClient(port: http.port)
            client.post("/v1/chat/completions", String(chat.prefix(cut)), length: chat.utf8.count)
            client.close()
        }
        let whole = try await RawClient(port: http.port)
        whole.post("/v1/chat/completions", chat)
        await server.backend.wait { $0.submissions.count == 1 }
        whole.close()
        await server.backend.wait { $0.cancelled.count == 1 }
    }
}

@Test(.timeLimit(.minutes(1)))
func connections_overTheLimit_areToldSo() async throws {
    // One of them is the connection that the test framework opens for itself.
    let server = try TestServer { $0.connectionCountMax = 3 }
    try await server.testLive { http in
        let first = try await RawClient(port: http.port)
        first.send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await first.wait { text, _ in text.contains("ok") }
        let second = try await RawClient(port: http.port)
        second.send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await second.wait { text, _ in text.contains("ok") }
        let third = try await RawClient(port: http.port)
        let answer = await third.waitForClose()
        #expect(answer.hasPrefix("HTTP/1.1 503 ") && answer.contains("too_many_connections"))
        first.close()
        second.close()
    }
}

@Test(.timeLimit(.minutes(1)))
func hosts_ofStrangers_areRefusedOnLoopbackWithoutKeys() async throws {
    func status(_ server: TestServer, host: String) async throws -> String {
        try await server.testLive { http in
            let client = try await RawClient(port: http.port)
            client.send("GET /v1/models HTTP/1.1\r\nhost: \(host)\r\nconnection: close\r\n\r\n")
            return String(await client.waitForClose().dropFirst(9).prefix(3))
        }
    }
    for host in ["localhost", "LocalHost:8080", "127.0.0.1:1", "[::1]:8080", "127.8.9.1"] {
        #expect(try await status(try TestServer(), host: host) == "200", "\(host)")
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""] {
        #expect(try await status(try TestServer(), host: host) == "403", "\(host)")
    }
    #expect(try await status(try TestServer { $0.allowedHosts = ["my.lan"] }, host: "my.lan:80") == "200")
}

@Test(.timeLimit(.minutes(1)))
func shutdown_whileAStreamRuns_letsItEnd() async throws {
    let server = try TestServer(FakeBackend(.manual))
    let client = try await server.testLive { http in
        let client = try await RawClient(port: http.port)
        client.post("/v1/chat/completions", streamed)
        await server.backend.wait { !$0.submissions.isEmpty }
        let submission = try #require(server.backend.snapshot.submissions.first)
        submission.mailbox.deliver(.admitted(submission.request.id))
        Task {
            try await Task.sleep(for: .milliseconds(100))
            submission.mailbox.deliver(.finished(submission.request.id, choice: 0, .length))
        }
        return client
    }
    #expect(await client.waitForClose().contains("[DONE]"))
}
