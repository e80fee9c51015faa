import AsyncHTTPClient
import DejaVuCore
import NIOCore
import Synchronization

/// Loads a server, strikes its workers, and compares every answer with that of an undisturbed run.
package final class ChaosRun: Sendable {
    struct Struck {
        let at: ContinuousClock.Instant
        /// When the fault was over.
        var until: ContinuousClock.Instant
        let fault: Fault
        let link: FaultLink?
        /// Empty if no worker was struck but all that run a request.
        let worker: String
        let role: ChaosRole
    }

    struct State {
        var outcomes: [(job: Int, outcome: ChaosClient.Outcome)] = []
        var strikes: [Struck] = []
        /// Workers that were ended: as long as the server lists one it has not noticed.
        var ended: Set<String> = []
        /// What was wrong with the answers to poisonous requests.
        var poisonFailures: [String] = []
        var isEnding = false
    }

    let configuration: ChaosConfiguration
    private let jobs: [ChaosJob]
    let state = Mutex(State())
    let onProgress: (@Sendable (String) -> Void)?

    package init(_ configuration: ChaosConfiguration, onProgress: (@Sendable (String) -> Void)? = nil) {
        self.configuration = configuration
        self.onProgress = onProgress
        jobs = configuration.jobs
    }

    /// - Throws: `DejaVuError` if the server is not there, cannot be struck, or does not get well again. Wrong and
    ///   broken answers are no errors but part of the report.
    package func run() async throws -> ChaosReport {
        try configuration.validate()
        var base = configuration.url[...]
        while base.hasSuffix("/") { base = base.dropLast() }
        let http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: Self.httpConfiguration)
        let client = ChaosClient(http: http, base: String(base), apiKey: configuration.apiKey)
        let result: Result<ChaosReport, any Error>
        do { result = .success(try await run(client)) } catch { result = .failure(error) }
        try? await http.shutdown()
        return try result.get()
    }

    private static var httpConfiguration: HTTPClient.Configuration {
        var configuration = HTTPClient.Configuration(timeout: .init(connect: .seconds(10)), decompression: .disabled)
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 300
        configuration.httpVersion = .http1Only
        return configuration
    }

    private func run(_ client: ChaosClient) async throws -> ChaosReport {
        let startedAt = WallClock.secondsSince1970()
        let workerCount = try await client.cluster().workers.count
        try await waitUntilWell(client, workers: workerCount)
        onProgress?("the undisturbed run")
        let (expected, undisturbed) = try await reference(client)
        let before = try await client.cluster()
        let start = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<configuration.concurrency { group.addTask { await self.load(client, from: worker) } }
            group.addTask {
                defer { self.state.withLock { $0.isEnding = true } }
                try await self.strike(client, workers: workerCount, since: start)
            }
            try await group.waitForAll()
        }
        let seconds = Self.seconds(start, .now)
        try await waitUntilWell(client, workers: workerCount)
        let after = try await client.cluster()
        return report(
            expected: expected, undisturbed: undisturbed, start: start, seconds: seconds, before: before, after: after,
            environment: .current(startedAt: startedAt))
    }

    // MARK: Load

    /// All requests without a fault, and the tokens a second that this gave.
    private func reference(_ client: ChaosClient) async throws -> (texts: [[String]], goodput: Double) {
        let start = ContinuousClock.now
        let jobs = jobs
        var texts = Array(repeating: [String](), count: jobs.count)
        try await withThrowingTaskGroup(of: (Int, ChaosClient.Outcome).self) { group in
            var next = 0
            func begin() {
                guard next < jobs.count else { return }
                let index = next
                next += 1
                group.addTask { (index, await client.run(jobs[index])) }
            }
            for _ in 0..<configuration.concurrency { begin() }
            while let (index, outcome) = try await group.next() {
                if let failure = outcome.failure {
                    throw DejaVuError(.unavailable, "the undisturbed run failed: \(failure)")
                }
                texts[index] = outcome.texts
                begin()
            }
        }
        let tokens = jobs.reduce(0) { $0 + $1.tokenCount * $1.choiceCount }
        return (texts, Double(tokens) / max(Self.seconds(start, .now), 1e-9))
    }

    /// Sends one request after the other until the faults are over.
    private func load(_ client: ChaosClient, from first: Int) async {
        var index = first % jobs.count
        while !state.withLock({ $0.isEnding }), !Task.isCancelled {
            let outcome = await client.run(jobs[index])
            state.withLock { $0.outcomes.append((index, outcome)) }
            index = (index + 1) % jobs.count
            // A server that refuses everything shall not be asked without a pause.
            if outcome.failure != nil { try? await Task.sleep(for: .milliseconds(100)) }
        }
    }

    // MARK: Report

    private func report(
        expected: [[String]], undisturbed: Double, start: ContinuousClock.Instant, seconds: Double,
        before: ChaosCluster, after: ChaosCluster, environment: MeasurementEnvironment
    ) -> ChaosReport {
        let (outcomes, struck, poison) = state.withLock { ($0.outcomes, $0.strikes, $0.poisonFailures) }
        var equal = 0
        var tokens = 0
        var failures = poison
        for (job, outcome) in outcomes {
            if let failure = outcome.failure {
                failures.append(failure)
            } else if outcome.texts == expected[job] {
                equal += 1
                tokens += jobs[job].tokenCount * jobs[job].choiceCount
            }
        }
        let strikes = struck.map { one in
            let streams = outcomes.compactMap { StreamPause(of: $0.outcome.times, from: one.at, until: one.until) }
            return ChaosReport.Strike(
                atSeconds: Self.seconds(start, one.at), overSeconds: Self.seconds(start, one.until), fault: one.fault,
                link: one.link, worker: one.worker, role: one.role,
                pauseSeconds: streams.map(\.seconds), usualGapSeconds: streams.map(\.usualSeconds))
        }
        var shown = configuration
        shown.apiKey = nil
        return ChaosReport(
            configuration: shown, environment: environment, seconds: seconds, requests: outcomes.count,
            equal: equal, failed: failures.count, failures: Set(failures).sorted().prefix(5).map { $0 },
            goodput: Double(tokens) / max(seconds, 1e-9), undisturbedGoodput: undisturbed, strikes: strikes,
            pauses: Summary(strikes.flatMap(\.pauseSeconds)), workersLost: after.workersLost - before.workersLost,
            recoveries: after.recoveries - before.recoveries, takeovers: after.takeovers - before.takeovers,
            positionsRunAgain: after.positionsRunAgain - before.positionsRunAgain)
    }

    static func seconds(_ start: ContinuousClock.Instant, _ end: ContinuousClock.Instant) -> Double {
        let (seconds, attoseconds) = (end - start).components
        return Double(seconds) + Double(attoseconds) * 1e-18
    }
}
