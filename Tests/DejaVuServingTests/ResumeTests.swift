import DejaVuControl
import DejaVuCore
import DejaVuMetrics
import DejaVuServing
import Foundation
import HTTPTypes
import HummingbirdTesting
import Testing

private let keyName = headerName("idempotency-key")
private let lastName = headerName("last-event-id")

private func headerName(_ text: String) -> HTTPField.Name {
    guard let name = HTTPField.Name(text) else { preconditionFailure("a valid field name") }
    return name
}

private func says(_ text: String) -> FakeBackend {
    FakeBackend(.tokens { _, choice in tokens(text + String(choice)) + [FakeModel.end] })
}

/// The events of a stream as they were sent, each with its empty line.
private func blocks(_ text: String) -> [String] {
    text.components(separatedBy: "\n\n").dropLast().map { $0 + "\n\n" }.filter { !$0.hasPrefix(":") }
}

private func id(_ block: String) -> String {
    block.split(separator: "\n").first { $0.hasPrefix("id: ") }.map { String($0.dropFirst(4)) } ?? ""
}

private func requestID(_ answer: Answer) -> String {
    blocks(answer.text).first.map { String(id($0).prefix { $0 != ":" }) } ?? answer.json["id"]?.text ?? ""
}

private func body(_ fields: String) -> String {
    "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}],\"stream\":true\(fields)}"
}

@Test(arguments: [
    ("/v1/chat/completions", body("")), ("/v1/chat/completions", body(",\"n\":3,\"logprobs\":true")),
    ("/v1/chat/completions", body(",\"stream_options\":{\"include_usage\":true}")),
    ("/v1/completions", "{\"prompt\":[\"a\",\"b\"],\"stream\":true,\"n\":2,\"echo\":true}"),
])
func stream_resumedAtAnyEvent_continuesWithTheSameBytes(path: String, body: String) async throws {
    let backend = FakeBackend(.paced(.microseconds(1)) { _, choice in tokens("añ\(choice)") + [FakeModel.end] })
    let server = try TestServer(backend)
    try await server.test { client in
        let whole = try await client.post(path, body)
        let all = blocks(whole.text)
        #expect(all.count > 4 && Set(all.map(id)).count == all.count)
        let events = "/v1/requests/\(requestID(whole))/events"
        #expect(try await client.send(.get, events).text == whole.text)
        for (index, block) in all.enumerated() {
            let rest = try await client.send(.get, events, headers: [lastName: id(block)])
            #expect(rest.text == all[(index + 1)...].joined())
            #expect(rest.status == (index + 1 == all.count ? 204 : 200))
        }
    }
}

@Test(.timeLimit(.minutes(1)))
func stream_cutWhileItRuns_goesOnWithoutAClient() async throws {
    let server = try TestServer(FakeBackend(.manual))
    try await server.testLive { http in
        let first = try await RawClient(port: http.port)
        let body = body(",\"n\":2")
        first.send(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                + "idempotency-key: k1\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)")
        await server.backend.wait { !$0.submissions.isEmpty }
        let submission = try #require(server.backend.snapshot.submissions.first)
        let (request, mailbox) = (submission.request, submission.mailbox)
        func say(_ text: String, choice: Int, at offset: Int) {
            for (index, token) in tokens(text).enumerated() {
                mailbox.deliver(
                    .token(request.id, choice: choice, server.backend.sampled(request, choice, offset + index, token)))
            }
        }
        mailbox.deliver(.admitted(request.id))
        say("ab", choice: 0, at: 0)
        say("x", choice: 1, at: 0)
        await first.wait { text, _ in text.contains("\"content\":\"x\"") }
        first.close()
        let received = await first.waitForClose()
        say("cd", choice: 0, at: 2)
        say("yz", choice: 1, at: 1)
        for choice in 0..<2 { mailbox.deliver(.finished(request.id, choice: choice, .length)) }

        let lines = received.components(separatedBy: "\r\n").flatMap { $0.components(separatedBy: "\n") }
        let last = try #require(lines.last { $0.hasPrefix("id: ") }).dropFirst(4)
        let rest = try await http.post(
            "/v1/chat/completions", body, headers: [keyName: "k1", lastName: String(last)])
        let whole = try await http.post("/v1/chat/completions", body, headers: [keyName: "k1"])
        #expect(whole.text.hasSuffix(rest.text) && rest.text.hasSuffix("data: [DONE]\n\n"))
        let before = String(whole.text.dropLast(rest.text.count))
        #expect(blocks(before).map(id) == lines.filter { $0.hasPrefix("id: ") }.map { String($0.dropFirst(4)) })
        for (choice, text) in ["abcd", "xyz"].enumerated() {
            let content = whole.chunks.compactMap {
                $0["choices"]?.list.first { $0["index"]?.int == choice }?["delta"]?["content"]?.text
            }
            #expect(content.joined() == text)
        }
    }
    #expect(server.backend.snapshot.submissions.count == 1 && server.backend.snapshot.cancelled.isEmpty)
}

@Test func key_ofTheSameRequest_attachesInsteadOfAskingAgain() async throws {
    let server = try TestServer(says("once"))
    try await server.test { client in
        for body in ["{\"prompt\":\"a\"}", "{\"prompt\":\"a\",\"stream\":true}"] {
            let key: HTTPFields = [keyName: "key-\(body.utf8.count)"]
            let first = try await client.post("/v1/completions", body, headers: key)
            let second = try await client.post("/v1/completions", body, headers: key)
            #expect(first.status == 200 && first.text == second.text)
            let other = try await client.post("/v1/completions", "{\"prompt\":\"b\"}", headers: key)
            #expect(other.status == 422 && other.errorText("code") == "idempotency_key_reused")
            let elsewhere = try await client.post("/v1/chat/completions", body, headers: key)
            #expect(elsewhere.status == 422)
        }
        for bad in ["a b", "é", String(repeating: "k", count: 256)] {
            let answer = try await client.post("/v1/completions", "{\"prompt\":\"a\"}", headers: [keyName: bad])
            #expect(answer.status == 400 && answer.errorText("param") == "Idempotency-Key")
        }
    }
    #expect(server.backend.snapshot.submissions.count == 2)
    #expect(server.registry.counter(MetricTable.resumed, ["key"]).value == 2)
}

@Test func key_ofARefusedRequest_isForgotten() async throws {
    let refusal = Refusal(error: DejaVuError(.resourceExhausted, "the queue is full"), retryAfter: .seconds(1))
    let server = try TestServer(FakeBackend(.refuse(refusal)))
    try await server.test { client in
        let body = "{\"prompt\":\"a\"}"
        #expect(try await client.post("/v1/completions", body, headers: [keyName: "k"]).status == 429)
        server.backend.set(.tokens { _, _ in tokens("now") + [FakeModel.end] })
        let answer = try await client.post("/v1/completions", body, headers: [keyName: "k"])
        #expect(answer.json["choices"]?[0]?["text"] == .string("now"))
    }
}

@Test func key_withAnEventOfAForgottenRequest_beginsNothing() async throws {
    let server = try TestServer(says("a"))
    try await server.test { client in
        let answer = try await client.post(
            "/v1/chat/completions", body(""), headers: [keyName: "k", lastName: "chatcmpl-0123456789abcdef:3"])
        #expect(answer.status == 404 && answer.errorText("code") == "request_not_found")
    }
    #expect(server.backend.snapshot.submissions.isEmpty)
}

@Test(.timeLimit(.minutes(1)), arguments: [true, false])
func client_leavingWithAKey_isWaitedForAndThenCancelled(isStream: Bool) async throws {
    let server = try TestServer(FakeBackend(.manual)) { $0.resumeGrace = .milliseconds(200) }
    try await server.testLive { http in
        let client = try await RawClient(port: http.port)
        let body = isStream ? body("") : "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}"
        client.send(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                + "idempotency-key: gone\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)")
        await server.backend.wait { !$0.submissions.isEmpty }
        client.close()
        await server.backend.wait { $0.cancelled.count == 1 }
        // What was given up is another request when it is sent again.
        server.backend.set(.tokens { _, _ in [FakeModel.end] })
        let again = try await http.post("/v1/chat/completions", body, headers: [keyName: "gone"])
        #expect(again.status == 200)
    }
    #expect(server.backend.snapshot.submissions.count == 2)
}

@Test(.timeLimit(.minutes(1)))
func stopString_whileNobodyReads_endsTheChoice() async throws {
    let server = try TestServer(FakeBackend(.manual))
    try await server.testLive { http in
        let client = try await RawClient(port: http.port)
        let body = body(",\"stop\":\"zz\"")
        client.send(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                + "idempotency-key: s\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)")
        await server.backend.wait { !$0.submissions.isEmpty }
        let submission = try #require(server.backend.snapshot.submissions.first)
        submission.mailbox.deliver(.admitted(submission.request.id))
        client.close()
        for (offset, token) in tokens("azz").enumerated() {
            submission.mailbox.deliver(
                .token(
                    submission.request.id, choice: 0,
                    server.backend.sampled(submission.request, 0, offset, token)))
        }
        await server.backend.wait { $0.finished.count == 1 }
        let answer = try await http.post("/v1/chat/completions", body, headers: [keyName: "s"])
        #expect(answer.text.contains("\"content\":\"a\"") && answer.text.contains("\"finish_reason\":\"stop\""))
    }
}

@Test func request_ofAnotherKey_isNotThere() async throws {
    let keys = ["sk-0123456789", "sk-abcdefghij"]
    let server = try TestServer(says("mine")) { $0.apiKeys = keys }
    try await server.test { client in
        func owner(_ index: Int) -> HTTPFields { [.authorization: "Bearer \(keys[index])", keyName: "shared"] }
        let mine = try await client.post("/v1/chat/completions", body(""), headers: owner(0))
        let path = "/v1/requests/\(requestID(mine))"
        for (owned, status) in [(owner(0), 200), (owner(1), 404), ([:], 401)] {
            #expect(try await client.send(.get, path, headers: owned).status == status)
            #expect(try await client.send(.get, path + "/events", headers: owned).status == status)
        }
        // Names of keys do not meet either.
        let theirs = try await client.post("/v1/chat/completions", body(",\"n\":2"), headers: owner(1))
        #expect(theirs.status == 200)
    }
}

@Test func request_asJSON_tellsItsStateAndText() async throws {
    let server = try TestServer(says("text"))
    try await server.test { client in
        let whole = try await client.chat("\"n\":2")
        let answer = try await client.send(.get, "/v1/requests/\(requestID(whole))")
        #expect(answer.json["state"] == .string("completed") && answer.json["error"] == .null)
        #expect(answer.json["choices"]?[1]?["text"] == .string("text1"))
        #expect(answer.json["choices"]?[0]?["finish_reason"] == .string("stop"))
        #expect(answer.json["usage"] == whole.json["usage"])
        let last = try #require(answer.json["last_event_id"]?.text)
        let events = try await client.send(
            .get, "/v1/requests/\(requestID(whole))/events", headers: [lastName: last])
        #expect(events.status == 204)
        #expect(try await client.send(.head, "/v1/requests/\(requestID(whole))/events").status == 200)
    }
}

@Test(.timeLimit(.minutes(1)))
func request_whoseClientLeft_isCancelledAndSaysSo() async throws {
    let server = try TestServer(FakeBackend(.manual))
    try await server.testLive { http in
        let client = try await RawClient(port: http.port)
        client.post("/v1/chat/completions", body(""))
        await server.backend.wait { !$0.submissions.isEmpty }
        let submission = try #require(server.backend.snapshot.submissions.first)
        let id = submission.request.id
        submission.mailbox.deliver(.admitted(id))
        submission.mailbox.deliver(.token(id, choice: 0, server.backend.sampled(submission.request, 0, 0, 65)))
        await client.wait { text, _ in text.contains("\"content\":\"A\"") }
        client.close()
        await server.backend.wait { $0.cancelled == [id] }
        let lines = client.text.components(separatedBy: "\n")
        let name = try #require(lines.first { $0.hasPrefix("id: ") }).dropFirst(4).prefix { $0 != ":" }
        let answer = try await http.send(.get, "/v1/requests/\(name)")
        #expect(answer.json["state"] == .string("cancelled"))
        #expect(answer.json["choices"]?[0]?["text"] == .string("A"))
        #expect(try await http.send(.get, "/v1/requests/\(name)/events").text.contains("event: error"))
    }
}

@Test func lastEventID_hostile_isRefused() async throws {
    let server = try TestServer(says("hello"))
    try await server.test { client in
        let whole = try await client.post("/v1/chat/completions", body(""))
        let name = requestID(whole)
        for bad in [
            "x", ":", "\(name):", "\(name):-1", "\(name):1-", "\(name):99999999999999999999", "\(name):99",
            "\(name):2147483647", "\(name):1-1-1", "chatcmpl-0:1", "\(name):+1", "\(name):1:1",
            "\(name):" + String(repeating: "1-", count: 600) + "1",
        ] {
            let answer = try await client.send(.get, "/v1/requests/\(name)/events", headers: [lastName: bad])
            #expect(answer.status == 400 && answer.errorText("param") == "Last-Event-ID", "\(bad.prefix(40))")
        }
        for path in ["x", "%00", "..%2f", String(repeating: "a", count: 4000), "\(name)/", "\(name)/event", "/events"] {
            #expect(try await client.send(.get, "/v1/requests/\(path)").status == 404, "\(path.prefix(40))")
        }
    }
}

@Test func answers_moreThanTheMemory_goOldestFirst() async throws {
    let server = try TestServer(says(String(repeating: "long ", count: 40))) { $0.resumeBytesMax = 256 * 1024 }
    try await server.test { client in
        var names: [String] = []
        for _ in 0..<3000 { names.append(requestID(try await client.chat())) }
        let held = server.registry.gauge(MetricTable.resumeBytes).value
        #expect(held > 100_000 && held <= 256 * 1024)
        let first = try await client.send(.get, "/v1/requests/\(names[0])")
        #expect(first.status == 404 && first.errorText("code") == "request_dropped")
        #expect(try await client.send(.get, "/v1/requests/\(names[2999])").status == 200)
    }
    #expect(server.registry.counter(MetricTable.resumeDropped, ["bytes"]).value > 2000)
}

@Test(.timeLimit(.minutes(1)))
func answer_afterItsGrace_isForgotten() async throws {
    let server = try TestServer(says("short")) { $0.resumeGrace = .milliseconds(50) }
    try await server.test { client in
        let name = requestID(try await client.chat())
        while try await client.send(.get, "/v1/requests/\(name)").status == 200 {
            try await Task.sleep(for: .milliseconds(10))
        }
        let answer = try await client.send(.get, "/v1/requests/\(name)/events")
        #expect(answer.status == 404 && answer.errorText("code") == "request_expired")
    }
    #expect(server.registry.gauge(MetricTable.resumeBytes).value == 0)
    let never = try TestServer(says("short")) { $0.resumeGrace = .zero }
    try await never.test { client in
        let name = requestID(try await client.chat())
        #expect(try await client.send(.get, "/v1/requests/\(name)").status == 404)
    }
}

@Test func stream_longerThanTheMemory_isWholeButCannotBeResumed() async throws {
    let backend = FakeBackend(.paced(.nanoseconds(1)) { _, _ in Array(repeating: FakeModel.word, count: 4000) })
    let server = try TestServer(backend, model: FakeModel(contextLength: 5000)) { $0.resumeBytesMax = 16 * 1024 }
    try await server.test { client in
        let answer = try await client.post("/v1/chat/completions", body(""))
        let texts = answer.chunks.compactMap { $0["choices"]?[0]?["delta"]?["content"]?.text }
        #expect(texts.joined() == String(repeating: " word", count: 4000))
        let later = try await client.send(.get, "/v1/requests/\(requestID(answer))/events")
        #expect(later.status == 404 && later.errorText("code") == "request_dropped")
    }
    #expect(server.registry.gauge(MetricTable.resumeBytes).value <= 16 * 1024)
}

@Test(.timeLimit(.minutes(1)))
func cancel_byKey_endsTheRequestForAllItsReaders() async throws {
    let server = try TestServer(FakeBackend(.manual))
    try await server.test { client in
        async let pending = client.post("/v1/chat/completions", body(""), headers: [keyName: "stop/me"])
        await server.backend.wait { !$0.submissions.isEmpty }
        let answer = try await client.post("/v1/requests/stop%2Fme/cancel", "")
        #expect(answer.json["state"] == .string("cancelled"))
        #expect(try await pending.errorText("code") == "cancelled")
        #expect(try await client.post("/v1/requests/stop%2Fme/cancel", "").status == 404)
        let name = try #require(answer.json["id"]?.text)
        #expect(try await client.post("/v1/requests/\(name)/cancel", "").json["state"] == .string("cancelled"))
    }
    #expect(server.backend.snapshot.cancelled.count == 1)
}
