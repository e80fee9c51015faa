import DejaVuControl
import DejaVuCore
import DejaVuServing
import HTTPTypes
import HummingbirdTesting
import Testing

@Test func clusterDrain_byNameOrId_asksThatWorker() async throws {
    let server = try TestServer()
    let workers = await server.backend.status().workers
    let worker = try #require(workers.first)
    try await server.test { client in
        for name in [worker.name, worker.id.description] {
            let answer = try await client.post("/cluster/drain", "{\"worker\":\"\(name)\"}")
            #expect(answer.status == 200 && answer.json["worker"] == .string(worker.id.description))
        }
        let unknown = try await client.post("/cluster/drain", "{\"worker\":\"nobody\"}")
        #expect(unknown.status == 404 && unknown.errorText("code") == "worker_not_found")
        for bad in ["{}", "{\"worker\":7}", "[]", ""] {
            #expect(try await client.post("/cluster/drain", bad).status == 400, "\(bad)")
        }
        #expect(try await client.send(.get, "/cluster/drain").status == 405)
        let stranger = try await client.post(
            "/cluster/drain", "{\"worker\":\"\(worker.name)\"}", headers: [.origin: "https://evil.example"])
        #expect(stranger.status == 403)
    }
    #expect(server.backend.drained == [worker.id, worker.id])
}

@Test func clusterDrain_withKeys_asksForOne() async throws {
    let server = try TestServer { $0.apiKeys = ["sk-0123456789"] }
    try await server.test { client in
        #expect(try await client.post("/cluster/drain", "{\"worker\":\"x\"}").status == 401)
        let answer = try await client.post(
            "/cluster/drain", "{\"worker\":\"x\"}", headers: [.authorization: "Bearer sk-0123456789"])
        #expect(answer.status == 404)
    }
}
