import DejaVuCore

/// What a load run measured: the summary that people read and the samples that everything in it comes from.
///
/// Latencies are seconds, and of requests that ended well only; rates are over the time from the start of the run to
/// the end of its last request.
package struct LoadReport: Hashable, Sendable, Codable {
    /// The failures of one kind.
    package struct Failures: Hashable, Sendable, Codable {
        package let kind: String
        package let count: Int
        /// What the first of them said, if anything.
        package let detail: String?
    }

    package let configuration: LoadConfiguration
    package let environment: MeasurementEnvironment
    package let seconds: Double
    package let requestCount: Int
    package let completedCount: Int
    package let failures: [Failures]
    /// Why fewer requests were sent than wanted; nil if they were not.
    package let stoppedEarly: String?
    package let promptTokensPerSecond: Double
    package let outputTokensPerSecond: Double
    package let requestsPerSecond: Double
    /// Completed requests a second that met all objectives; nil if none were set.
    package let goodput: Double?
    package let timeToFirstToken: Summary?
    /// Between successive chunks of text.
    package let interToken: Summary?
    /// Mean of each request over its tokens after the first.
    package let timePerOutputToken: Summary?
    package let endToEnd: Summary?
    /// End-to-end latency over generated tokens.
    package let normalisedLatency: Summary?
    /// How long after its due time a request was sent: if this is not far below the latencies, the generator was the
    /// bottleneck. nil in a closed loop.
    package let lateness: Summary?
    /// Completed requests whose answer did not have the wanted number of tokens.
    package let lengthMismatchCount: Int
    /// Whether prompts were made to have exactly the wanted number of tokens.
    package let promptsAreExact: Bool
    /// What a trace's lengths were multiplied by.
    package let lengthScale: Double
    /// What the generator itself used during the measurement.
    package let generatorCPUSeconds: Double
    /// What the server's workers did meanwhile, if it wrote a trace.
    package var workers: [ServerTrace.WorkerTime]?
    package let samples: [RequestSample]

    init(
        configuration: LoadConfiguration, environment: MeasurementEnvironment, result: LoadRun.Result,
        lengthScale: Double, promptsAreExact: Bool, cpuSeconds: Double
    ) {
        let samples = result.samples
        let completed = samples.filter { $0.failure == nil }
        let span = max(result.seconds, 1e-9)
        self.configuration = configuration
        self.environment = environment
        seconds = result.seconds
        requestCount = samples.count
        completedCount = completed.count
        failures = Self.failures(samples, result.details)
        stoppedEarly = result.stoppedEarly
        promptTokensPerSecond = Double(completed.reduce(0) { $0 + $1.promptTokens }) / span
        outputTokensPerSecond = Double(completed.reduce(0) { $0 + $1.outputTokens }) / span
        requestsPerSecond = Double(completed.count) / span
        let objectives = configuration.objectives
        goodput = objectives.isEmpty ? nil : Double(samples.count { $0.meets(objectives) }) / span
        timeToFirstToken = Summary(completed.compactMap(\.timeToFirstToken))
        interToken = Summary(completed.flatMap { $0.gapsMicroseconds.map { Double($0) / 1e6 } })
        timePerOutputToken = Summary(completed.compactMap(\.timePerOutputToken))
        endToEnd = Summary(completed.map(\.endToEnd))
        normalisedLatency = Summary(completed.compactMap(\.normalisedLatency))
        lateness = configuration.arrivals.isOpenLoop ? Summary(samples.map { $0.sent - $0.due }) : nil
        lengthMismatchCount = completed.count { $0.outputTokens != $0.outputTokensWanted }
        self.promptsAreExact = promptsAreExact
        self.lengthScale = lengthScale
        generatorCPUSeconds = cpuSeconds
        self.samples = samples
    }

    /// In order of their first occurrence.
    private static func failures(_ samples: [RequestSample], _ details: [String: String]) -> [Failures] {
        var kinds: [String] = []
        var counts: [String: Int] = [:]
        for failure in samples.compactMap(\.failure) {
            if counts[failure] == nil { kinds.append(failure) }
            counts[failure, default: 0] += 1
        }
        return kinds.map { Failures(kind: $0, count: counts[$0] ?? 0, detail: details[$0]) }
    }

    package var failedCount: Int { requestCount - completedCount }

    /// The share of one core that the generator used.
    package var generatorCPUShare: Double { seconds > 0 ? generatorCPUSeconds / seconds : 0 }

    /// The report with all samples as JSON, keys in order.
    package func json() throws -> String { try JSONText.encode(self) }
}
