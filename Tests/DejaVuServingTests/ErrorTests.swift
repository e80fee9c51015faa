import DejaVuControl
import DejaVuCore
import DejaVuServing
import HTTPTypes
import Testing

@Test(arguments: [
    ("\"temperature\":3", "temperature", "decimal_above_max_value"),
    ("\"temperature\":-0.1", "temperature", "decimal_below_min_value"),
    ("\"temperature\":\"hot\"", "temperature", "invalid_type"),
    ("\"top_p\":1.5", "top_p", "decimal_above_max_value"), ("\"n\":0", "n", "integer_below_min_value"),
    ("\"n\":1000", "n", "integer_above_max_value"), ("\"n\":1.5", "n", "invalid_type"),
    ("\"max_tokens\":0", "max_tokens", "integer_below_min_value"),
    ("\"max_tokens\":true", "max_tokens", "invalid_type"),
    ("\"max_tokens\":4,\"max_completion_tokens\":5", "max_completion_tokens", "invalid_value"),
    ("\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]", "stop", "array_above_max_length"),
    ("\"stop\":\"\"", "stop", "invalid_value"),
    ("\"stop\":[1]", "stop[0]", "invalid_type"), ("\"stop\":7", "stop", "invalid_type"),
    ("\"seed\":1.5", "seed", "invalid_type"), ("\"logit_bias\":{\"x\":1}", "logit_bias", "invalid_value"),
    ("\"logit_bias\":{\"9999\":1}", "logit_bias", "invalid_value"),
    ("\"logit_bias\":{\"7\":\"a\"}", "logit_bias", "invalid_type"),
    ("\"logit_bias\":{\"7\":1,\"07\":2}", "logit_bias", "invalid_value"),
    ("\"logit_bias\":[]", "logit_bias", "invalid_type"),
    ("\"presence_penalty\":2.1", "presence_penalty", "decimal_above_max_value"),
    ("\"frequency_penalty\":-3", "frequency_penalty", "decimal_below_min_value"),
    ("\"logprobs\":5", "logprobs", "invalid_type"), ("\"top_logprobs\":2", "top_logprobs", "invalid_value"),
    ("\"logprobs\":true,\"top_logprobs\":21", "top_logprobs", "integer_above_max_value"),
    ("\"stream\":\"yes\"", "stream", "invalid_type"), ("\"stream_options\":{}", "stream_options", "invalid_value"),
    ("\"stream\":true,\"stream_options\":{\"x\":1}", "stream_options.x", "unknown_parameter"),
    ("\"frobnicate\":1", "frobnicate", "unknown_parameter"), ("\"tools\":[{}]", "tools", "unsupported_parameter"),
    ("\"functions\":[{}]", "functions", "unsupported_parameter"),
    ("\"tool_choice\":\"required\"", "tool_choice", "unsupported_parameter"),
    ("\"response_format\":{\"type\":\"json_object\"}", "response_format", "unsupported_parameter"),
    ("\"best_of\":2", "best_of", "unsupported_parameter"), ("\"suffix\":\"x\"", "suffix", "unsupported_parameter"),
    ("\"modalities\":[\"text\",\"audio\"]", "modalities", "unsupported_parameter"),
    ("\"audio\":{}", "audio", "unsupported_parameter"), ("\"prediction\":{}", "prediction", "unsupported_parameter"),
    ("\"web_search_options\":{}", "web_search_options", "unsupported_parameter"),
    ("\"model\":7", "model", "invalid_type"),
    ("\"max_tokens\":600", "messages", "context_length_exceeded"),
])
func chat_wrongParameter_isNamed(fields: String, parameter: String, code: String) async throws {
    let server = try TestServer()
    try await server.test { client in
        let answer = try await client.chat(fields)
        #expect(answer.status == 400)
        #expect(answer.errorText("param") == parameter)
        #expect(answer.errorText("code") == code)
        #expect(answer.errorText("type") == "invalid_request_error")
        #expect(answer.headers["x-request-id"]?.isEmpty == false)
    }
    #expect(server.backend.snapshot.submissions.isEmpty)
}

@Test(arguments: [
    ("{}", "messages"), ("{\"messages\":[]}", "messages"), ("{\"messages\":{}}", "messages"),
    ("{\"messages\":[1]}", "messages[0]"),
    ("{\"messages\":[{}]}", "messages[0].role"), ("{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content"),
    ("{\"messages\":[{\"role\":\"king\",\"content\":\"\"}]}", "messages[0].role"),
    ("{\"messages\":[{\"role\":\"tool\",\"content\":\"\"}]}", "messages[0].role"),
    ("{\"messages\":[{\"role\":\"user\",\"content\":7}]}", "messages[0].content"),
    ("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", "messages[0].content[0].type"),
    ("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}", "messages[0].content[0].text"),
    ("{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[{}]}]}", "messages[0].tool_calls"),
    ("{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}]}", "messages"),
])
func chat_wrongMessages_areNamed(body: String, parameter: String) async throws {
    let server = try TestServer()
    try await server.test { client in
        let answer = try await client.post("/v1/chat/completions", body)
        #expect(answer.status == 400)
        #expect(answer.errorText("param") == parameter)
    }
}

@Test(arguments: [
    ("{\"prompt\":[]}", "prompt"), ("{\"prompt\":\"\"}", "prompt"), ("{\"prompt\":[1,\"a\"]}", "prompt[1]"),
    ("{\"prompt\":[\"a\",1]}", "prompt[1]"), ("{\"prompt\":[999999]}", "prompt[0]"), ("{\"prompt\":[-1]}", "prompt[0]"),
    ("{\"prompt\":[[]]}", "prompt[0]"), ("{\"prompt\":5}", "prompt"), ("{}", "prompt"),
    ("{\"prompt\":\"a\",\"echo\":true,\"logprobs\":1}", "echo"), ("{\"prompt\":\"a\",\"logprobs\":true}", "logprobs"),
    ("{\"prompt\":[\"a\",\"b\"],\"n\":20}", "n"), ("{\"prompt\":\"a\",\"messages\":[]}", "messages"),
])
func completion_wrongPrompt_isNamed(body: String, parameter: String) async throws {
    let server = try TestServer()
    try await server.test { client in
        let answer = try await client.post("/v1/completions", body)
        #expect(answer.status == 400)
        #expect(answer.errorText("param") == parameter)
    }
}

@Test func body_thatIsNotJSON_isRefusedWithThePlace() async throws {
    let server = try TestServer()
    try await server.test { client in
        for body in ["", "{\"messages\":", "[]", "null", "{\"a\":1,\"a\":2}", String(repeating: "[", count: 100_000)] {
            let answer = try await client.post("/v1/chat/completions", body)
            #expect(answer.status == 400)
            #expect(answer.errorText("type") == "invalid_request_error")
        }
        let answer = try await client.post("/v1/chat/completions", "{\"messages\": nope}")
        #expect(answer.errorText("message")?.contains("line 1 column 14") == true)
    }
}

@Test func body_tooLarge_is413() async throws {
    let server = try TestServer { $0.limits.bodyBytesMax = 100 }
    try await server.test { client in
        let answer = try await client.chat(content: String(repeating: "x", count: 200))
        #expect(answer.status == 413)
        #expect(answer.headers["connection"] == "close")
    }
}

@Test func body_ofAnotherType_is415() async throws {
    let server = try TestServer()
    try await server.test { client in
        #expect(try await client.post("/v1/completions", "{}", headers: [.contentType: "text/plain"]).status == 415)
        let fine = try await client.post(
            "/v1/completions", "{\"prompt\":\"a\"}", headers: [.contentType: "Application/JSON; charset=utf-8"])
        #expect(fine.status == 200)
    }
}

@Test func context_exceeded_saysBothNumbers() async throws {
    let server = try TestServer(model: FakeModel(contextLength: 20))
    try await server.test { client in
        let long = try await client.chat(content: "this is longer than the context")
        #expect(long.errorText("code") == "context_length_exceeded" && long.errorText("param") == "messages")
        let message = long.errorText("message") ?? ""
        #expect(message.contains("20 tokens") && message.contains("37 tokens"), "\(message)")
        let most = try await client.chat("\"max_tokens\":18", content: "a")
        let text = most.errorText("message") ?? ""
        #expect(most.errorText("code") == "context_length_exceeded")
        #expect(text.contains("25 tokens (7 in the messages, 18 in the completion)"), "\(text)")
        #expect(try await client.complete(prompt: "\"0123456789\"").status == 200)
    }
    #expect(server.backend.snapshot.submissions.last?.request.outputCountMax == 10)
}

@Test func model_unknown_is404() async throws {
    let server = try TestServer()
    try await server.test { client in
        for answer in [
            try await client.chat("\"model\":\"gpt-5\""), try await client.complete("\"model\":\"gpt-5\""),
            try await client.post("/tokenize", "{\"content\":\"a\",\"model\":\"gpt-5\"}"),
            try await client.send(.get, "/v1/models/gpt-5"), try await client.send(.get, "/v1/models/%ff"),
        ] {
            #expect(answer.status == 404)
            #expect(answer.errorText("code") == "model_not_found")
        }
        #expect(try await client.chat("\"model\":\"fake\"").status == 200)
        #expect(try await client.send(.get, "/v1/models/fake%2D1").json["id"] == .string("fake-1"))
    }
}

@Test func routes_unknownOrWithAnotherMethod_areTold() async throws {
    let server = try TestServer()
    try await server.test { client in
        #expect(try await client.send(.get, "/v1/nothing").errorText("code") == "unknown_url")
        #expect(try await client.send(.get, "/v1/models/{id}").status == 404)
        let wrong = try await client.send(.get, "/v1/chat/completions")
        #expect(wrong.status == 405 && wrong.headers["allow"] == "POST, OPTIONS")
        #expect(try await client.send(.delete, "/health").status == 405)
        let options = try await client.send(.options, "/health")
        #expect(options.status == 204 && options.headers["allow"] == "GET, HEAD, OPTIONS")
        let head = try await client.send(.head, "/health")
        #expect(head.status == 200 && head.text.isEmpty && head.headers["content-length"] == "15")
    }
}

@Test(arguments: [
    (DejaVuError.Code.unavailable, nil as TimeSpan?, 503), (.invalidArgument, nil, 400), (.internalError, nil, 500),
    (.resourceExhausted, .seconds(2), 429), (.resourceExhausted, nil, 400), (.unavailable, .seconds(7), 503),
])
func refusal_byKind_hasItsStatus(code: DejaVuError.Code, after: TimeSpan?, status: Int) async throws {
    let server = try TestServer(FakeBackend(.refuse(Refusal(error: DejaVuError(code, "why"), retryAfter: after))))
    try await server.test { client in
        let answer = try await client.chat()
        #expect(answer.status == status)
        #expect(answer.errorText("message") == "why")
        #expect((answer.headers["retry-after"] != nil) == [429, 503].contains(status))
        if let after { #expect(answer.headers["retry-after"] == String(Int(after.seconds))) }
    }
}
