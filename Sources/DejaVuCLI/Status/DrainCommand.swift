import ArgumentParser
import DejaVuCore
import Foundation

/// Lets a worker of a running server go without anything being computed again.
struct DrainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain",
        abstract: "Move a worker's stages to others and end it.",
        discussion: """
            Waits until the worker is gone. Answers go on: each stage moves between two steps to the worker that holds \
            its copy, so there must be one (a standby, or another stage's worker with the memory). A worker that \
            `serve` has started is started again.

            Ends with 0 when the worker has left, with 1 if it could not, and with 2 for wrong usage.

            EXAMPLES
              dejavu drain local-0
              dejavu drain w3 --url http://10.0.0.5:8080 --json
            """)

    @Argument(help: "The worker's name or id, as `dejavu status` shows them.")
    var worker: String
    @Option(help: "The server.")
    var url = "http://127.0.0.1:8080"
    @Option(help: "The key that the server asks for.")
    var apiKey: String?
    @Option(
        help: ArgumentHelp("Give up waiting after this; the worker still leaves when it can.", valueName: "seconds"))
    var timeout: Int?
    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        if let timeout, timeout < 1 { throw ValidationError("--timeout must be at least 1 second") }
    }

    func run() async throws {
        try await ClusterClient.with(url: url, apiKey: apiKey) { client in
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            let before = try decoder.decode(Answer.self, from: try await client.cluster()).cluster
            let asked = try decoder.decode(
                Asked.self, from: try await client.post("/cluster/drain", ["worker": worker]))
            let begun = ContinuousClock.now
            let progress = ProgressLine()
            while true {
                let cluster = try decoder.decode(Answer.self, from: try await client.cluster()).cluster
                guard let known = cluster.workers.first(where: { $0.id == asked.worker }) else {
                    progress.clear()
                    guard cluster.workersLeft > before.workersLeft else {
                        throw DejaVuError(.unavailable, "\(asked.name) died before it could leave")
                    }
                    return report(asked, after: ContinuousClock.now - begun)
                }
                progress.show("\(asked.name): \(known.text(in: cluster))")
                if let timeout, ContinuousClock.now - begun > .seconds(timeout) {
                    progress.clear()
                    throw DejaVuError(
                        .deadlineExceeded,
                        "\(asked.name) has not left after \(timeout) s: \(known.text(in: cluster))")
                }
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    private func report(_ asked: Asked, after time: Duration) {
        let (seconds, attoseconds) = time.components
        let milliseconds = seconds * 1000 + attoseconds / 1_000_000_000_000_000
        guard json else { return print("\(asked.name) has left after \(milliseconds) ms") }
        let name = String(decoding: (try? JSONEncoder().encode(asked.name)) ?? Data("null".utf8), as: UTF8.self)
        print("{\"worker\":\"\(asked.worker)\",\"name\":\(name),\"milliseconds\":\(milliseconds)}")
    }

    private struct Asked: Decodable {
        let worker: String
        let name: String
    }
    private struct Answer: Decodable { let cluster: Cluster }
    private struct Cluster: Decodable {
        struct Stage: Decodable {
            let index: Int
            let worker: String?
            let replicaWorker: String?
            let replicaReady: Bool
            let replicaLag: Int
        }
        struct Pipeline: Decodable { let stages: [Stage] }
        struct Worker: Decodable {
            let id: String

            /// What it still waits for.
            func text(in cluster: Cluster) -> String {
                let stages = cluster.pipelines.flatMap(\.stages).filter { $0.worker == id }
                guard let stage = stages.first else { return "ends" }
                guard stage.replicaWorker != nil else { return "stage \(stage.index) has nobody who could take it" }
                return stage.replicaReady
                    ? "stage \(stage.index) moves, \(stage.replicaLag) positions to go"
                    : "the next worker of stage \(stage.index) loads"
            }
        }
        let workers: [Worker]
        let pipelines: [Pipeline]
        let workersLeft: Int
    }
}
