import DejaVuCore
import DejaVuServing
import HTTPTypes
import Testing

@Test func ready_followsTheCluster() async throws {
    let server = try TestServer()
    try await server.test { client in
        let yes = try await client.send(.get, "/ready")
        #expect(yes.status == 200 && yes.json["ready"] == .bool(true) && yes.json["exact"] == .bool(true))
        server.backend.set(fakeStatus(ready: false, reason: "2 of 3 workers have joined"))
        let no = try await client.send(.get, "/ready")
        #expect(no.status == 503 && no.headers["retry-after"] == "1")
        #expect(no.json["reason"] == .string("2 of 3 workers have joined"))
        server.backend.set(fakeStatus(draining: true))
        #expect(try await client.send(.get, "/ready").json["reason"] == .string("draining"))
        #expect(try await client.send(.get, "/health").status == 200)
    }
}

@Test func metrics_afterRequests_tellOfThem() async throws {
    let server = try TestServer(FakeBackend(.tokens { _, _ in tokens("abc") + [FakeModel.end] }))
    try await server.test { client in
        _ = try await client.chat()
        _ = try await client.chat("\"n\":2,\"stream\":true,\"stop\":\"c\"")
        _ = try await client.chat("\"temperature\":9")
        let answer = try await client.send(.get, "/metrics")
        #expect(answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
        for line in [
            "dejavu_requests_total{route=\"/v1/chat/completions\",outcome=\"completed\"} 2",
            "dejavu_requests_total{route=\"/v1/chat/completions\",outcome=\"refused\"} 1",
            "dejavu_http_responses_total{route=\"/v1/chat/completions\",code=\"400\"} 1",
            "dejavu_output_tokens_total 10", "dejavu_choices_total{finish_reason=\"stop\"} 3",
            "dejavu_time_to_first_token_seconds_count 2", "dejavu_inter_token_seconds_count 7",
            "dejavu_queue_seconds_count 2", "dejavu_request_seconds_count 2", "dejavu_ready 1",
            "dejavu_kv_used_bytes{store=\"device\"} 23592960", "dejavu_workers{state=\"standby\"} 1",
            "dejavu_stage_busy_share{pipeline=\"1\",stage=\"1\"} 0.5", "dejavu_queue_length 1",
            "dejavu_stage_bubble_share{pipeline=\"1\",stage=\"0\"} 0.25",
            "dejavu_build_info{version=\"1.2.3\",model=\"fake-1\",numeric_class=\"abc\"} 1",
        ] {
            #expect(answer.text.contains("\n" + line + "\n"), "\(line)")
        }
    }
}

@Test func cluster_isWholeJSON() async throws {
    let server = try TestServer()
    try await server.test { client in
        let json = try await client.send(.get, "/cluster").json
        #expect(json["model"]?["context_length"] == .integer(512))
        #expect(json["cluster"]?["workers"]?.list.count == 3)
        let pipeline = json["cluster"]?["pipelines"]?[0]
        #expect(pipeline?["stages"]?[1]?["busy_share"]?.double == 0.5)
        #expect(pipeline?["microbatches"]?[1]?["stage"] == .integer(1))
        #expect(json["cluster"]?["queue"]?["requests_max"] == .integer(256))
    }
}

@Test func models_listTheOne() async throws {
    let server = try TestServer()
    try await server.test { client in
        let json = try await client.send(.get, "/v1/models").json
        #expect(json["object"] == .string("list"))
        #expect(json["data"]?[0]?["id"] == .string("fake-1"))
        #expect(json["data"]?[0]?["exact"] == .bool(true))
    }
}
