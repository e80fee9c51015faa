import ArgumentParser
import DejaVuCore
import Foundation

/// What a running server says of itself.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show the workers, stages and queue of a running server.",
        discussion: """
            Ends with 0 if the server is ready and with 1 if it is not.

            EXAMPLES
              dejavu status
              dejavu status --url http://10.0.0.5:8080 --json | jq .workers
            """)

    @Option(help: "The server.")
    var url = "http://127.0.0.1:8080"
    @Option(help: "The key that the server asks for.")
    var apiKey: String?
    @Flag(help: "Print JSON.")
    var json = false

    func run() async throws {
        let body = try await ClusterClient.with(url: url, apiKey: apiKey) { try await $0.cluster() }
        if json {
            print(String(decoding: body, as: UTF8.self))
            return
        }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let status = try decoder.decode(Answer.self, from: body).cluster
        print(status.ready ? "ready" : "not ready: \(status.reason ?? "no reason given")")
        for worker in status.workers {
            let place = worker.stage.map { "stage \($0) of \(worker.pipeline ?? "")" } ?? "no stage"
            let held = worker.replicas.map { "stage \($0.stage) of \($0.pipeline)" + ($0.ready ? "" : " (loads)") }
            print(
                "  \(worker.name)  \(worker.state)  \(place)"
                    + (held.isEmpty ? "" : "  holds " + held.joined(separator: ", "))
                    + (worker.error.map { "  last error: \($0)" } ?? ""))
        }
        for pipeline in status.pipelines {
            print("  \(pipeline.name) \(pipeline.id), epoch \(pipeline.epoch), \(pipeline.state)")
            for stage in pipeline.stages {
                let holder = status.workers.first { $0.id == stage.replicaWorker }?.name
                let replica = holder.map { "replica at \($0), behind by \(stage.replicaLag)" } ?? "no replica"
                print(
                    "    stage \(stage.index)  layers \(stage.firstLayer)..<\(stage.endLayer)  "
                        + "busy \(Int(stage.busyShare * 100))%  \(replica)"
                )
            }
        }
        for pipeline in status.pipelines {
            guard let swap = pipeline.swap else { continue }
            let waiting = swap.sequencesWaiting > 0 ? ", \(swap.sequencesWaiting) sequences wait below the devices" : ""
            print(
                "  swapping in \(pipeline.id) is \(swap.on ? "on" : "off"): \(swap.reason);"
                    + " \(ByteSize.describe(swap.bytesIn)) brought in\(waiting)")
        }
        print("  running \(status.sequencesRunning), queued \(status.queue.requests)")
        if let prompts = status.prompts {
            print(
                "  prompts: \(prompts.running) in prompt pipelines, \(prompts.waiting) wait for one,"
                    + " \(prompts.positionsBehind) positions on their way to token stages")
        }
        for warning in status.warnings { print("  warning: \(warning)") }
        print(
            "  at risk: \(status.sequencesAtRisk) sequences without a replica,"
                + " \(status.positionsAtRisk) positions to run again")
        if let last = status.lastRecovery { print("  last recovery: \(last.text)") }
        if !status.ready { throw ExitCode.failure }
    }

    private struct Answer: Decodable { let cluster: Cluster }
    private struct Cluster: Decodable {
        struct Replica: Decodable {
            let pipeline: String
            let stage: Int
            let ready: Bool
        }
        struct Worker: Decodable {
            let id: String
            let name: String
            let state: String
            let stage: Int?
            let pipeline: String?
            let error: String?
            let replicas: [Replica]
        }
        struct Stage: Decodable {
            let index: Int
            let firstLayer: Int
            let endLayer: Int
            let busyShare: Double
            let replicaWorker: String?
            let replicaLag: Int
        }
        struct Recovery: Decodable {
            let reason: String
            let pauseSeconds: Double
            let detectSeconds: Double
            let placeSeconds: Double
            let restoreSeconds: Double
            let runAgainSeconds: Double
            let firstTokenSeconds: Double
            let positionsRunAgain: Int

            var text: String {
                func ms(_ seconds: Double) -> String { "\(Int((seconds * 1000).rounded()))" }
                return "\(ms(pauseSeconds)) ms (detect \(ms(detectSeconds)), place \(ms(placeSeconds)),"
                    + " restore \(ms(restoreSeconds)), first token \(ms(firstTokenSeconds));"
                    + " run again \(positionsRunAgain) positions in \(ms(runAgainSeconds)) ms): \(reason)"
            }
        }
        struct Prompts: Decodable {
            let waiting: Int
            let running: Int
            let positionsBehind: Int
        }
        struct Pipeline: Decodable {
            let id: String
            let role: String
            var name: String { role == "colocated" ? "pipeline" : role + " pipeline" }
            let epoch: UInt64
            let state: String
            let stages: [Stage]
            let swap: Swap?
        }
        struct Swap: Decodable {
            let on: Bool
            let reason: String
            let bytesIn: Int
            let sequencesWaiting: Int
        }
        struct Queue: Decodable { let requests: Int }
        let ready: Bool
        let reason: String?
        let workers: [Worker]
        let pipelines: [Pipeline]
        let queue: Queue
        let sequencesRunning: Int
        let sequencesAtRisk: Int
        let positionsAtRisk: Int
        let lastRecovery: Recovery?
        let prompts: Prompts?
        let warnings: [String]
    }
}
