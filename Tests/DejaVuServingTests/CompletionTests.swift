import DejaVuControl
import DejaVuCore
import DejaVuServing
import Testing

@Test func completion_text_isContinued() async throws {
    let server = try TestServer(FakeBackend(.tokens { _, _ in tokens(" world") + [FakeModel.end] }))
    try await server.test { client in
        let answer = try await client.complete("\"echo\":true")
        #expect(answer.json["object"] == .string("text_completion"))
        #expect(answer.json["choices"]?[0]?["text"] == .string("hello world"))
        #expect(answer.json["id"]?.text?.hasPrefix("cmpl-") == true)
        #expect(answer.json["usage"]?["prompt_tokens"] == .integer(5))
    }
    #expect(server.backend.snapshot.submissions.first?.request.outputCountMax == 16)
}

@Test func completion_specialTokens_areRecognised() async throws {
    let server = try TestServer()
    try await server.test { client in _ = try await client.complete(prompt: "\"a<turn>b\"") }
    #expect(server.backend.snapshot.submissions.first?.request.prompt == [97, FakeModel.turn, 98])
}

@Test func completion_tokens_areTakenAsTheyAre() async throws {
    let server = try TestServer()
    try await server.test { client in
        let answer = try await client.complete("\"max_tokens\":2,\"echo\":true", prompt: "[97,257,98]")
        #expect(answer.json["choices"]?[0]?["text"] == .string("a<turn>ba"))
    }
    #expect(server.backend.snapshot.submissions.first?.request.prompt == [97, 257, 98])
}

@Test func completion_severalPrompts_haveChoicesInOrder() async throws {
    let server = try TestServer(
        FakeBackend(.tokens { request, choice in request.prompt + tokens("\(choice)") + [FakeModel.end] }))
    try await server.test { client in
        for (prompt, count) in [("[\"ab\",\"cd\"]", 4), ("[[97,98],[99,100]]", 4)] {
            let answer = try await client.complete("\"n\":2", prompt: prompt)
            let choices = answer.json["choices"]?.list ?? []
            #expect(choices.map { $0["text"]?.text } == ["ab0", "ab1", "cd0", "cd1"])
            #expect(choices.map { $0["index"]?.int } == Array(0..<count))
            #expect(answer.json["usage"]?["prompt_tokens"] == .integer(4))
            #expect(answer.json["usage"]?["completion_tokens"] == .integer(16))
        }
    }
}

@Test func completion_oneOfSeveralRefused_cancelsTheOthers() async throws {
    let server = try TestServer(FakeBackend(.manual))
    try await server.test { client in
        async let pending = client.complete(prompt: "[\"ab\",\"cd\"]")
        await server.backend.wait { $0.submissions.count == 2 }
        let second = try #require(server.backend.snapshot.submissions.last)
        second.mailbox.deliver(
            .refused(
                second.request.id, Refusal(error: DejaVuError(.resourceExhausted, "full"), retryAfter: .seconds(1))))
        #expect(try await pending.status == 429)
    }
    #expect(server.backend.snapshot.cancelled.count == 2)
}

@Test func completion_logprobs_areParallelLists() async throws {
    let server = try TestServer(FakeBackend(.tokens { _, _ in tokens("ab") + [FakeModel.end] }))
    try await server.test { client in
        let logprobs = try await client.complete("\"logprobs\":2").json["choices"]?[0]?["logprobs"]
        #expect(logprobs?["tokens"] == .array([.string("a"), .string("b")]))
        #expect(logprobs?["token_logprobs"]?[1]?.double == -0.98)
        #expect(logprobs?["top_logprobs"]?[0]?["b"]?.double == -1.97)
        #expect(logprobs?["text_offset"] == .array([.integer(0), .integer(1)]))
    }
}

@Test func tokenize_andBack_isTheSameText() async throws {
    let server = try TestServer()
    try await server.test { client in
        let tokens = try await client.post("/tokenize", "{\"content\":\"aé<turn>\",\"add_special\":false}")
        #expect(tokens.json["tokens"] == .array([97, 0xC3, 0xA9, 257].map { .integer($0) }))
        #expect(tokens.json["count"] == .integer(4))
        let plain = try await client.post("/tokenize", "{\"prompt\":\"<turn>\",\"parse_special\":false}")
        #expect(plain.json["count"] == .integer(6))
        let pieces = try await client.post("/tokenize", "{\"content\":\"é\",\"with_pieces\":true}")
        #expect(pieces.json["tokens"]?[0]?["piece"] == .array([.integer(0xC3)]))
        let text = try await client.post("/detokenize", "{\"tokens\":[97,195,169,257]}")
        #expect(text.json["content"] == .string("aé<turn>"))
        let none = try await client.post("/detokenize", "{\"tokens\":[]}")
        #expect(none.json["content"] == .string(""))
    }
}
