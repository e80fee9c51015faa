import ArgumentParser
import DejaVuBench
import DejaVuCore
import DejaVuSimulation

/// The requests that a plan is for.
struct PlanLoadOptions: ParsableArguments {
    @Option(help: "Prompt length: 128, 64-512, normal:MEAN,DEVIATION or lognormal:MEDIAN,SIGMA.")
    var promptTokens = "1000"
    @Option(help: "Answer length, likewise.")
    var outputTokens = "lognormal:60,0.8"
    @Option(help: "Requests, at most; 128, or the first 512 of a trace.")
    var requests: Int?
    @Option(help: "Requests per second, at random times. Without it all come at once, and throughput counts.")
    var rate: Double?
    @Option(
        help: ArgumentHelp("A trace in the Azure CSV form: times and lengths.", valueName: "file"),
        completion: .file(extensions: ["csv"]))
    var trace: String?
    @Option(help: "How many times as fast as recorded a trace runs.")
    var traceSpeed = 1.0
    @Option(help: "Same seed, same requests.")
    var seed: UInt64 = 1

    private static let requestsMax = 10_000
    var isOpenLoop: Bool { rate != nil || trace != nil }

    func check() throws {
        if rate != nil, trace != nil { throw ValidationError("--rate and --trace exclude each other") }
        if let requests, !(1...Self.requestsMax).contains(requests) {
            throw ValidationError("--requests must be 1 to \(Self.requestsMax)")
        }
        do { try configuration().validate() } catch let error as DejaVuError { throw ValidationError(error.message) }
    }

    private func configuration() throws -> LoadConfiguration {
        let arrivals: Arrivals =
            if let rate {
                .poisson(rate: rate)
            } else if let trace {
                .trace(path: trace, speed: traceSpeed)
            } else {
                .concurrency(1)
            }
        // Nothing is sent anywhere: only the lengths and times are drawn.
        var configuration = LoadConfiguration(url: "http://plan", arrivals: arrivals)
        configuration.requestCount = requests ?? (trace == nil ? 128 : 512)
        configuration.promptTokens = try LengthDistribution(parsing: promptTokens)
        configuration.outputTokens = try LengthDistribution(parsing: outputTokens)
        configuration.seed = seed
        return configuration
    }

    /// The same requests as `bench serve` would send.
    func jobs(contextTokens: Int) async throws -> [PerformanceScenario.Job] {
        let configuration = try configuration()
        var rows: [TraceRow] = []
        if let trace {
            rows = try await TraceParser.load(
                path: trace, limits: .init(rowCountMax: configuration.requestCount ?? Self.requestsMax))
        }
        var source = RequestSource(configuration, contextTokens: contextTokens, rows: rows)
        var jobs: [PerformanceScenario.Job] = []
        while let request = source.next() {
            jobs.append(
                .init(
                    arrival: .zero + (request.offset ?? .zero), promptCount: request.promptTokenCount,
                    outputCount: request.outputTokenCount))
        }
        return jobs
    }
}

/// What is to be otherwise than in the profile.
struct ProfileChangeOptions: ParsableArguments {
    @Option(help: "Memory of a machine's devices, like 160G.")
    var deviceMemory: ByteSize?
    @Option(help: "Memory of a machine's host, for KV that is swapped.")
    var hostMemory: ByteSize?
    @Option(help: ArgumentHelp("Bandwidth between machines.", valueName: "Gbit/s"))
    var link: Double?

    func check() throws {
        if let link, !(link > 0 && link <= 1e6) { throw ValidationError("--link must be above 0, at most 1000000") }
    }

    func applied(to profile: ModelProfile) throws -> ModelProfile {
        var profile = profile
        if let deviceMemory { profile.deviceMemoryBytes = deviceMemory.bytes }
        if let hostMemory { profile.hostMemoryBytes = hostMemory.bytes }
        if let link { profile.linkBytesPerSecond = link * 1e9 / 8 }
        try profile.validate()
        return profile
    }
}
