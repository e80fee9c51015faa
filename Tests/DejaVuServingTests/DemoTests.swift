import DejaVuCore
import DejaVuServing
import HTTPTypes
import HummingbirdTesting
import Testing

@Test func demoKill_fromTheOwnPage_killsAWorkerOfThisServer() async throws {
    let server = try TestServer {
        $0.isDemo = true
        $0.corsOrigins = ["https://friend.example"]
    }
    try await server.test { client in
        let own: HTTPFields = [.origin: "http://localhost"]
        #expect(try await client.post("/demo/kill", "{\"process_id\":4712}", headers: own).status == 200)
        let stranger = try await client.post("/demo/kill", "{\"process_id\":1}", headers: own)
        #expect(stranger.status == 404 && stranger.errorText("code") == "worker_not_found")
        for origin in ["https://friend.example", "https://evil.example", "null", "http://localhost:1"] {
            let answer = try await client.post("/demo/kill", "{\"process_id\":4712}", headers: [.origin: origin])
            #expect(answer.status == 403, "\(origin)")
        }
        #expect(try await client.post("/demo/kill", "{\"process_id\":4712}").status == 403)
        for bad in ["{}", "{\"process_id\":0}", "{\"process_id\":-4712}", "{\"process_id\":\"4712\"}", "[]", ""] {
            #expect(try await client.post("/demo/kill", bad, headers: own).status == 400, "\(bad)")
        }
        let plain = try await client.post(
            "/demo/kill", "{\"process_id\":4712}", headers: [.origin: "http://localhost", .contentType: "text/plain"])
        #expect(plain.status == 415)
        #expect(try await client.send(.get, "/demo/kill").status == 405)
        #expect(try await client.send(.get, "/cluster").json["demo"] == .bool(true))
    }
    #expect(server.backend.killed == [4712])
}

@Test func demoKill_withoutDemo_isNotThere() async throws {
    let server = try TestServer()
    try await server.test { client in
        let answer = try await client.post(
            "/demo/kill", "{\"process_id\":4712}", headers: [.origin: "http://localhost"])
        #expect(answer.status == 404 && answer.errorText("code") == "unknown_url")
    }
    #expect(server.backend.killed.isEmpty)
}

@Test func demo_onOtherAddresses_isRefused() {
    for host in ["0.0.0.0", "192.168.1.5", "127.evil.example"] {
        var configuration = ServingConfiguration()
        configuration.host = host
        configuration.isInsecure = true
        configuration.isDemo = true
        #expect(throws: DejaVuError.self) { try configuration.validate() }
    }
}
