import DejaVuControl
import DejaVuCore
import DejaVuServing
import Foundation
import HTTPTypes
import HummingbirdTesting
import Testing

private func header(_ text: String) -> HTTPField.Name {
    guard let name = HTTPField.Name(text) else { preconditionFailure("a valid field name") }
    return name
}

private let script: @Sendable (Request, Int) -> [TokenID] = { _, choice in tokens("añb zz\(choice)c") + [FakeModel.end]
}

/// What workers know of the requests of a server that was killed.
private func found(_ backend: FakeBackend, tokens count: Int, finish: FinishReason? = nil) -> [RestoredRequest] {
    backend.snapshot.submissions.map { submission in
        RestoredRequest(
            request: submission.request,
            choices: (0..<submission.request.choiceCount).map { choice in
                let all = script(submission.request, choice)
                return RestoredRequest.Choice(
                    outputs: finish == nil ? Array(all.prefix(count)) : all, finish: finish)
            })
    }
}

/// "Every client that reconnects gets the exact rest": by id and by key, from any event, to the byte.
@Test(
    arguments: [
        ("/v1/completions", "{\"prompt\":[\"a\",\"b\"],\"stream\":true,\"n\":2,\"echo\":true}"),
        ("/v1/completions", "{\"prompt\":\"a\",\"stream\":true,\"stop\":\"zz\"}"),
        (
            "/v1/chat/completions",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"stream\":true,"
                + "\"stream_options\":{\"include_usage\":true}}"
        ),
    ], [0, 2, 6, 100])
func restoredAnswer_whoeverComesBack_getsTheSameBytes(request: (path: String, body: String), known: Int) async throws {
    let first = try TestServer(FakeBackend(.paced(.microseconds(1), script)))
    let key: HTTPFields = [header("idempotency-key"): "k"]
    let whole = try await first.test { try await $0.post(request.path, request.body, headers: key) }
    #expect(whole.status == 200)
    let restored = found(first.backend, tokens: known, finish: known == 100 ? .stop : nil)
    let backend = FakeBackend(.manual)
    let second = try TestServer(backend, restored: restored)
    for part in restored {
        guard let mailbox = backend.follower(of: part.request.id) else {
            #expect(known == 100, "nobody follows \(part.request.id)")
            continue
        }
        for (choice, state) in part.choices.enumerated() {
            for (offset, token) in script(part.request, choice).enumerated().dropFirst(state.outputs.count) {
                mailbox.deliver(
                    .token(
                        part.request.id, choice: choice,
                        backend.sampled(part.request, choice, offset, token)))
            }
            mailbox.deliver(.finished(part.request.id, choice: choice, .stop))
        }
    }
    @Sendable func ids(_ text: String) -> [String] {
        text.split(separator: "\n").filter { $0.hasPrefix("id: ") }.map { String($0.dropFirst(4)) }
    }

    let name = try #require(ids(whole.text).first).prefix { $0 != ":" }
    try await second.test { client in
        let again = try await client.post(request.path, request.body, headers: key)
        #expect(again.status == 200 && again.text.hasSuffix("data: [DONE]\n\n"))
        if request.body.contains("\"n\"") {
            // Choices may interleave otherwise; each is the same.
            #expect(again.chunks.count == whole.chunks.count)
        } else {
            #expect(again.text == whole.text)
            for id in ids(whole.text) {
                let rest = try await client.send(
                    .get, "/v1/requests/\(name)/events", headers: [header("last-event-id"): id])
                #expect(whole.text.hasSuffix(rest.text))
            }
        }
    }
    #expect(backend.snapshot.submissions.isEmpty, "nothing is asked again")
}

@Test func restoredAnswer_ofAnotherKeysOwner_isNotThere() async throws {
    let keys = ["sk-0123456789", "sk-abcdefghij"]
    let first = try TestServer(FakeBackend(.paced(.microseconds(1), script))) { $0.apiKeys = keys }
    let body = "{\"prompt\":\"a\",\"stream\":true}"
    let mine: HTTPFields = [.authorization: "Bearer \(keys[0])", header("idempotency-key"): "k"]
    let whole = try await first.test { try await $0.post("/v1/completions", body, headers: mine) }
    let second = try TestServer(FakeBackend(.manual), restored: found(first.backend, tokens: 0, finish: .stop)) {
        $0.apiKeys = keys
    }
    let name = whole.text.split(separator: "\n")[0].dropFirst(4).prefix { $0 != ":" }
    try await second.test { client in
        for (key, status) in [(keys[0], 200), (keys[1], 404)] {
            let answer = try await client.send(
                .get, "/v1/requests/\(name)/events", headers: [.authorization: "Bearer \(key)"])
            #expect(answer.status == status)
        }
    }
}

/// What cannot be made whole ends, so that nothing runs for nobody.
@Test(.timeLimit(.minutes(1)))
func restoredRequest_withoutItsOriginOrItsSiblings_isCancelled() async throws {
    let first = try TestServer(FakeBackend(.paced(.microseconds(1), script)))
    let body = "{\"prompt\":[\"a\",\"b\"],\"stream\":true}"
    _ = try await first.test { try await $0.post("/v1/completions", body) }
    let half = Array(found(first.backend, tokens: 1).prefix(1))
    let strange = RestoredRequest(
        request: Request(
            id: RequestID(5), prompt: [1], choiceCount: 1, sampling: .greedy, outputCountMax: 4, stopTokens: [],
            deadline: .never), choices: [.init(outputs: [], finish: nil)])
    let backend = FakeBackend(.manual)
    _ = try TestServer(backend, restored: half + [strange])
    await backend.wait { $0.cancelled.count == 2 }
}

/// "Every rebuilt sequence has the resume grace", whether its client had named it or not.
@Test(.timeLimit(.minutes(1)))
func restoredAnswer_nobodyComesBack_isCancelledAfterTheGrace() async throws {
    let first = try TestServer(FakeBackend(.paced(.microseconds(1), script)))
    _ = try await first.test { try await $0.post("/v1/completions", "{\"prompt\":\"a\"}") }
    let backend = FakeBackend(.manual)
    let second = try TestServer(backend, restored: found(first.backend, tokens: 3)) {
        $0.resumeGrace = .milliseconds(100)
    }
    await backend.wait { $0.cancelled.count == 1 }
    _ = second
}
