package import ArgumentParser
import DejaVuBench
import DejaVuCore
import DejaVuPlot
import DejaVuRuntime

/// `dejavu bench serve`: loads an OpenAI-compatible server and reports what its clients see.
package struct BenchServeCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Load an OpenAI-compatible server and measure throughput and latency.",
        discussion: """
            Exactly one of --rate (open loop, Poisson), --concurrency (closed loop) and --trace (open loop, times and \
            lengths of a CSV file with TIMESTAMP,ContextTokens,GeneratedTokens) says when requests are sent. Latencies \
            count from when a request was due.

            Example: dejavu bench serve --url http://127.0.0.1:8080 --rate 2 --duration 60 --prompt-tokens 64-512 \
            --output-tokens 128 --json run.json --svg run.svg
            """)

    @Option(help: "The server, with or without /v1.")
    var url = "http://127.0.0.1:8080"

    @Option(help: "completions (prompts as token arrays, exact lengths) or chat.")
    var endpoint = "completions"

    @Option(help: "The model to ask for; without it the first that the server names.")
    var model: String?

    @Option(help: "Requests per second, at random times.")
    var rate: Double?

    @Option(help: "Requests in flight at all times.")
    var concurrency: Int?

    @Option(help: ArgumentHelp("A trace in the Azure CSV form.", valueName: "file"))
    var trace: String?

    @Option(help: "How many times as fast as recorded a trace runs.")
    var traceSpeed = 1.0

    @Option(help: "Requests at most. Without it and without --duration: 100, or the whole trace.")
    var requests: Int?

    @Option(help: ArgumentHelp("Send no more requests after so long.", valueName: "seconds"))
    var duration: Double?

    @Option(help: "Prompt length: 128, 64-512, normal:MEAN,DEVIATION or lognormal:MEDIAN,SIGMA.")
    var promptTokens = "128"

    @Option(help: "Answer length, likewise.")
    var outputTokens = "64"

    @Option(help: "The model's context, if the server does not tell; lengths are kept within it.")
    var context: Int?

    @Option(help: "Same seed, same requests.")
    var seed: UInt64 = 1

    @Option(help: "Requests before the measurement.")
    var warmUp = 2

    @Option(help: ArgumentHelp("Give a request up after so long.", valueName: "seconds"))
    var timeout = 600.0

    @Option(help: "An open loop sends no more than so many at once.")
    var inFlightMax = 1024

    @Option(help: "Sampling temperature.")
    var temperature = 0.0

    @Flag(inversion: .prefixedNo, help: "Ask for answers of exactly the wanted length.")
    var ignoreEos = true

    @Option(help: ArgumentHelp("Goodput: the longest time to the first token.", valueName: "ms"))
    var objectiveTtft: Double?

    @Option(help: ArgumentHelp("Goodput: the longest mean time per output token.", valueName: "ms"))
    var objectiveTpot: Double?

    @Option(help: ArgumentHelp("Goodput: the longest end-to-end latency.", valueName: "ms"))
    var objectiveE2e: Double?

    @Option(help: ArgumentHelp("Members for each request, such as '{\"cache_prompt\":false}'.", valueName: "json"))
    var extraBody: String?

    @Option(help: ArgumentHelp("A file whose first line is the API key.", valueName: "file"))
    var apiKeyFile: String?

    @Option(help: ArgumentHelp("Write the report with all samples; - for standard output.", valueName: "file"))
    var json: String?

    @Option(
        help: ArgumentHelp(
            "What the server of this machine writes with --trace-out: adds its workers' times to the report and its "
                + "pipeline to the pictures.", valueName: "file"), completion: .file())
    var serverTrace: String?

    @Option(help: ArgumentHelp("Write the pictures.", valueName: "file"))
    var svg: String?

    package init() {}

    package func validate() throws {
        guard [rate != nil, concurrency != nil, trace != nil].count(where: { $0 }) == 1 else {
            throw ValidationError("Give exactly one of --rate, --concurrency and --trace.")
        }
        do {
            try loadConfiguration().validate()
        } catch let error as DejaVuError {
            throw ValidationError(error.message)
        }
    }

    package func run() async throws {
        var configuration = try loadConfiguration()
        if let apiKeyFile { configuration.apiKey = try OutputFile.firstLine(apiKeyFile) }
        let line = ProgressLine()
        var onProgress: (@Sendable (LoadProgress) -> Void)?
        if line.isShown { onProgress = { line.show($0.line) } }
        var report: LoadReport
        do {
            report = try await LoadGenerator(configuration).run(onProgress: onProgress)
            line.clear()
        } catch {
            line.clear()
            throw error
        }
        let trace = try await trace(of: &report, endedAt: MonotonicClock.now)
        if let svg { try OutputFile.write(report.figure(trace: trace).svg(), to: svg) }
        if let json { try OutputFile.write(try report.json(), to: json) }
        if json != "-" { print(report.text(), terminator: "") }
        if report.completedCount == 0 { throw ExitCode.failure }
    }

    private func trace(of report: inout LoadReport, endedAt end: Instant) async throws -> ServerTrace? {
        guard let serverTrace else { return nil }
        // The last heartbeats bring what came last, and then it is written.
        try await Task.sleep(for: .milliseconds(600))
        let start = Instant(nanoseconds: end.nanoseconds - TimeSpan.seconds(report.seconds).nanoseconds)
        let trace = try await ServerTrace.load(path: serverTrace, from: start, to: end)
        report.workers = trace.workerTimes
        return trace
    }

    private func loadConfiguration() throws -> LoadConfiguration {
        let arrivals: Arrivals =
            if let rate {
                .poisson(rate: rate)
            } else if let concurrency {
                .concurrency(concurrency)
            } else {
                .trace(path: trace ?? "", speed: traceSpeed)
            }
        guard let endpoint = Endpoint(rawValue: endpoint) else {
            throw DejaVuError(.invalidArgument, "--endpoint is completions or chat", subject: "endpoint")
        }
        var configuration = LoadConfiguration(url: url, arrivals: arrivals)
        configuration.endpoint = endpoint
        configuration.model = model
        configuration.requestCount = requests ?? (duration == nil && trace == nil ? 100 : nil)
        configuration.durationSeconds = duration
        configuration.promptTokens = try LengthDistribution(parsing: promptTokens)
        configuration.outputTokens = try LengthDistribution(parsing: outputTokens)
        configuration.contextTokens = context
        configuration.seed = seed
        configuration.warmUpCount = warmUp
        configuration.requestTimeoutSeconds = timeout
        configuration.inFlightMax = inFlightMax
        configuration.temperature = temperature
        configuration.ignoresEndOfText = ignoreEos
        configuration.extraBody = extraBody
        configuration.objectives = Objectives(
            timeToFirstToken: objectiveTtft.map { $0 / 1000 }, timePerOutputToken: objectiveTpot.map { $0 / 1000 },
            endToEnd: objectiveE2e.map { $0 / 1000 })
        return configuration
    }
}
