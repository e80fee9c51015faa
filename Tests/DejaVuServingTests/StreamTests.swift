import DejaVuControl
import DejaVuCore
import DejaVuServing
import Testing

private func says(_ text: String) -> FakeBackend {
    FakeBackend(.tokens { _, _ in tokens(text) + [FakeModel.end] })
}

private func texts(_ answer: Answer, choice: Int = 0) -> [String] {
    answer.chunks.compactMap { $0["choices"]?.list.first { $0["index"]?.int == choice }?["delta"]?["content"]?.text }
}

@Test func stream_chat_isWellFramed() async throws {
    let server = try TestServer(says("Hé!"))
    try await server.test { client in
        let answer = try await client.chat("\"stream\":true")
        #expect(answer.status == 200)
        #expect(answer.headers["content-type"] == "text/event-stream; charset=utf-8")
        #expect(answer.text.hasSuffix("data: [DONE]\n\n"))
        #expect(texts(answer) == ["", "H", "é", "!"])
        #expect(answer.chunks.first?["choices"]?[0]?["delta"]?["role"] == .string("assistant"))
        let last = answer.chunks.last?["choices"]?[0]
        #expect(last?["finish_reason"] == .string("stop") && last?["delta"] == .object([]))
        #expect(answer.chunks.dropLast().allSatisfy { $0["choices"]?[0]?["finish_reason"] == .null })
        #expect(Set(answer.chunks.map { $0["id"]?.text }).count == 1)
        #expect(answer.chunks.allSatisfy { $0["object"] == .string("chat.completion.chunk") && $0["usage"] == nil })
    }
}

@Test func stream_withUsage_endsWithIt() async throws {
    let server = try TestServer(says("abc"))
    try await server.test { client in
        let answer = try await client.chat("\"stream\":true,\"stream_options\":{\"include_usage\":true}")
        #expect(answer.chunks.last?["choices"] == .array([]))
        #expect(answer.chunks.last?["usage"]?["completion_tokens"] == .integer(4))
        #expect(answer.chunks.dropLast().allSatisfy { $0["usage"] == .null })
    }
}

@Test func stream_completion_hasTextAndOffsets() async throws {
    let server = try TestServer(says("añb"))
    try await server.test { client in
        let answer = try await client.complete("\"stream\":true,\"logprobs\":1")
        let choices = answer.chunks.compactMap { $0["choices"]?[0] }
        #expect(choices.compactMap { $0["text"]?.text }.joined() == "añb")
        #expect(choices.flatMap { $0["logprobs"]?["text_offset"]?.list ?? [] } == [0, 1, 1, 2].map { .integer($0) })
        #expect(choices.last?["finish_reason"] == .string("stop"))
        #expect(answer.chunks.allSatisfy { $0["object"] == .string("text_completion") })
    }
}

@Test func stream_stopString_neverShowsAPart() async throws {
    let server = try TestServer(says("keep <|im_e this <|im_end|> not this"))
    try await server.test { client in
        let answer = try await client.chat("\"stream\":true,\"stop\":\"<|im_end|>\"")
        #expect(texts(answer).joined() == "keep <|im_e this ")
        #expect(answer.chunks.last?["choices"]?[0]?["finish_reason"] == .string("stop"))
    }
    #expect(server.backend.snapshot.finished.map(\.1) == [0])
}

@Test func stream_heldBackText_comesWhenTheEndIsNoStop() async throws {
    let server = try TestServer(says("value: <|im_e"))
    try await server.test { client in
        let answer = try await client.chat("\"stream\":true,\"stop\":\"<|im_end|>\"")
        #expect(texts(answer).joined() == "value: <|im_e")
    }
}

@Test func stream_severalChoices_interleave() async throws {
    let backend = FakeBackend(.paced(.microseconds(1)) { _, choice in tokens("c\(choice)") + [FakeModel.end] })
    let server = try TestServer(backend)
    try await server.test { client in
        let answer = try await client.chat("\"stream\":true,\"n\":3")
        for choice in 0..<3 { #expect(texts(answer, choice: choice).joined() == "c\(choice)") }
        let order = answer.chunks.compactMap { $0["choices"]?[0]?["index"]?.int }
        #expect(order.firstIndex(of: 2) ?? .max < order.lastIndex(of: 0) ?? 0)
    }
}

@Test func stream_failureAfterTheFirstByte_isAnErrorEvent() async throws {
    let server = try TestServer(FakeBackend(.manual))
    try await server.test { client in
        async let pending = client.chat("\"stream\":true")
        await server.backend.wait { !$0.submissions.isEmpty }
        let submission = try #require(server.backend.snapshot.submissions.first)
        let id = submission.request.id
        submission.mailbox.deliver(.admitted(id))
        submission.mailbox.deliver(
            .token(id, choice: 0, server.backend.sampled(submission.request, 0, 0, TokenID(UInt8(ascii: "a")))))
        submission.mailbox.deliver(.finished(id, choice: 0, .poisoned))
        let answer = try await pending
        // Delivered at once, the failure may come before the first byte: then it has a status of its own.
        guard answer.status == 200 else {
            #expect(answer.errorText("code") == "poisoned")
            return
        }
        #expect(answer.chunks.last?["error"]?["code"] == .string("poisoned"))
        #expect(!answer.text.contains("[DONE]"))
    }
}

@Test func stream_refusal_isAStatusAndNotAStream() async throws {
    let refusal = Refusal(error: DejaVuError(.resourceExhausted, "the queue is full"), retryAfter: .milliseconds(2500))
    let server = try TestServer(FakeBackend(.refuse(refusal)))
    try await server.test { client in
        for fields in ["\"stream\":true", "\"stream\":false"] {
            let answer = try await client.chat(fields)
            #expect(answer.status == 429)
            #expect(answer.headers["retry-after"] == "3")
            #expect(
                answer.errorText("type") == "rate_limit_error" && answer.errorText("message") == "the queue is full")
        }
    }
}

@Test func stream_longWaitInTheQueue_isKeptAlive() async throws {
    let server = try TestServer(FakeBackend(.manual)) { $0.keepAliveInterval = .milliseconds(5) }
    try await server.test { client in
        async let pending = client.chat("\"stream\":true")
        await server.backend.wait { !$0.submissions.isEmpty }
        let submission = try #require(server.backend.snapshot.submissions.first)
        try await Task.sleep(for: .milliseconds(50))
        submission.mailbox.deliver(
            .refused(submission.request.id, Refusal(error: DejaVuError(.unavailable, "gone"), retryAfter: nil)))
        let answer = try await pending
        // The head went out with the first comment, so the refusal comes as an event.
        #expect(answer.status == 200)
        #expect(answer.text.contains(": keep-alive\n") && !answer.text.contains(": keep-alive\n\n"))
        #expect(answer.chunks.last?["error"]?["code"] == .string("unavailable"))
    }
}
