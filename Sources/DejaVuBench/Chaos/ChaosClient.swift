import AsyncHTTPClient
import DejaVuCore
import FoundationEssentials
import NIOCore
import NIOHTTP1

/// What chaos asks of the server.
struct ChaosClient: Sendable {
    let http: HTTPClient
    let base: String
    let apiKey: String?

    /// One answer with the times at which it grew.
    struct Outcome: Sendable {
        /// One for each choice.
        var texts: [String]
        /// When the first choice grew.
        var times: [ContinuousClock.Instant] = []
        /// nil if the answer is whole.
        var failure: String?
    }

    private struct Chunk: Decodable {
        struct Choice: Decodable {
            let index: Int
            let text: String
        }
        struct Failure: Decodable { let message: String }
        let choices: [Choice]?
        let error: Failure?
    }

    /// Failures are part of the outcome.
    func run(_ job: ChaosJob) async -> Outcome {
        var outcome = Outcome(texts: Array(repeating: "", count: job.choiceCount))
        do { try await follow(job, &outcome) } catch { outcome.failure = "\(error)" }
        return outcome
    }

    /// Asks for what no worker survives.
    ///
    /// - Returns: what is wrong with the answer; nil if it is the error that names the cause.
    func poison(_ token: TokenID) async -> String? {
        var request = self.request("/v1/completions")
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json")
        request.body = .bytes(ByteBuffer(string: ChaosJob.poisonJSON(token)))
        do {
            let response = try await http.execute(request, timeout: .minutes(30))
            let body = String(buffer: try await response.body.collect(upTo: 1 << 16))
            if response.status.code == 500, body.contains("\"poisoned\"") { return nil }
            return "the poisonous request was answered with \(response.status.code): \(body.prefix(200))"
        } catch { return "the poisonous request was not answered: \(error)" }
    }

    private func follow(_ job: ChaosJob, _ outcome: inout Outcome) async throws {
        var request = self.request("/v1/completions")
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json")
        request.body = .bytes(ByteBuffer(string: job.json))
        let response = try await http.execute(request, timeout: .minutes(30))
        guard response.status == .ok else {
            let body = try await response.body.collect(upTo: 1 << 16)
            throw DejaVuError(.refused, "http \(response.status.code): \(ErrorKind.excerpt(body))")
        }
        var parser = EventStreamParser()
        var isDone = false
        for try await buffer in response.body {
            var events: [Data] = []
            let isWhole = buffer.withUnsafeReadableBytes { bytes in parser.feed(bytes) { events.append(Data($0)) } }
            guard isWhole else { throw DejaVuError(.network, "a line without end") }
            let now = ContinuousClock.now
            for event in events {
                if event == Data("[DONE]".utf8) {
                    isDone = true
                    continue
                }
                let chunk = try JSONDecoder().decode(Chunk.self, from: event)
                if let error = chunk.error { throw DejaVuError(.unavailable, error.message) }
                for choice in chunk.choices ?? [] where !choice.text.isEmpty {
                    guard outcome.texts.indices.contains(choice.index) else { continue }
                    outcome.texts[choice.index] += choice.text
                    if choice.index == 0 { outcome.times.append(now) }
                }
            }
        }
        guard isDone else { throw DejaVuError(.network, ErrorKind.truncated) }
    }

    private func request(_ path: String) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: base + path)
        if let apiKey { request.headers.add(name: "authorization", value: "Bearer " + apiKey) }
        return request
    }

    /// How the cluster is.
    func cluster() async throws -> ChaosCluster {
        let response = try await http.execute(request("/cluster"), timeout: .seconds(10))
        let body = try await response.body.collect(upTo: 16 << 20)
        guard response.status == .ok else {
            throw DejaVuError(.refused, "\(base)/cluster answered \(response.status.code)", subject: base)
        }
        struct Answer: Decodable { let cluster: ChaosCluster }
        do {
            return try JSONText.decoder.decode(Answer.self, from: Data(body.readableBytesView)).cluster
        } catch {
            throw DejaVuError(.invalidFile, "\(base)/cluster is not that of a dejavu server", subject: base)
        }
    }
}

/// What `/cluster` says, as far as chaos needs it.
struct ChaosCluster: Sendable, Decodable {
    struct Worker: Sendable, Decodable {
        let id: String
        let name: String
        let processId: Int32
        let stage: Int?
    }
    struct Stage: Sendable, Decodable {
        let worker: String?
        let replicaReady: Bool
    }
    struct Pipeline: Sendable, Decodable {
        let state: String
        let role: String
        let stages: [Stage]
    }

    let ready: Bool
    let replicates: Bool
    let workers: [Worker]
    let pipelines: [Pipeline]
    let workersLost: Int
    let takeovers: Int
    let recoveries: Int
    let positionsRunAgain: Int

    /// Whether every stage runs, and has a replica as far as there is another worker for it.
    ///
    /// - Parameter ended: workers that the server must have noticed to be gone.
    func isWell(workers count: Int, without ended: Set<String>) -> Bool {
        guard !workers.contains(where: { ended.contains($0.id) }) else { return false }
        let stages = pipelines.flatMap(\.stages)
        let copiers = count > stages.count || pipelines.contains { $0.role == "prompt" }
        // Those of prompt pipelines have no replicas; another may be copied to its own neighbour.
        let copied = pipelines.filter { $0.role != "prompt" && (copiers || $0.stages.count > 1) }.flatMap(\.stages)
        return ready && workers.count >= count && stages.allSatisfy { $0.worker != nil }
            && (!replicates || copied.allSatisfy(\.replicaReady))
    }

    func victims(_ fault: PlannedFault) -> [Worker] {
        let struck = pipelines.filter { fault.target.includes($0) }
        switch fault.target {
        case .standby: return workers.filter { $0.stage == nil }
        case .any: return workers
        case .stage, .prompt, .token:
            let stages = fault.stage.map { Array(struck.first?.stages.dropFirst($0).prefix(1) ?? []) }
            let ids = Set((stages ?? struck.flatMap(\.stages)).compactMap(\.worker))
            return workers.filter { ids.contains($0.id) }
        }
    }

    /// What a worker is there for.
    func role(of worker: Worker) -> ChaosRole {
        guard let pipeline = pipelines.first(where: { $0.stages.contains { $0.worker == worker.id } }) else {
            return .standby
        }
        return switch pipeline.role {
        case "prompt": .promptStage
        case "token": .tokenStage
        default: .stage
        }
    }
}

extension FaultTarget {
    fileprivate func includes(_ pipeline: ChaosCluster.Pipeline) -> Bool {
        switch self {
        case .stage: true
        case .prompt: pipeline.role == "prompt"
        case .token: pipeline.role != "prompt"
        case .standby, .any: false
        }
    }
}
