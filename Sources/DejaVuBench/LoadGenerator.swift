import AsyncHTTPClient
import DejaVuCore
import NIOCore
import NIOPosix

/// Loads an OpenAI-compatible server as a configuration says and reports what its clients saw.
///
/// Everything runs on one event loop of one thread; prompts are made as they are sent. A run ends when its last request
/// has ended.
package struct LoadGenerator: Sendable {
    private let configuration: LoadConfiguration

    package init(_ configuration: LoadConfiguration) { self.configuration = configuration }

    /// - Parameter onProgress: called about twice a second, from the event loop; must not block.
    /// - Throws: `DejaVuError` if the configuration or the trace is wrong or the server does not answer before the load
    ///   begins. Failures of requests are no errors but part of the report.
    package func run(onProgress: (@Sendable (LoadProgress) -> Void)? = nil) async throws -> LoadReport {
        try configuration.validate()
        var rows: [TraceRow] = []
        if case .trace(let path, let speed) = configuration.arrivals {
            let offsetMax = configuration.durationSeconds.map { TimeSpan.seconds(min($0 * speed, 1e9)) }
            rows = try await TraceParser.load(
                path: path,
                limits: TraceParser.Limits(
                    rowCountMax: configuration.requestCount ?? LoadConfiguration.requestCountMax,
                    offsetMax: offsetMax ?? TimeSpan(nanoseconds: .max)))
        }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let http = HTTPClient(eventLoopGroupProvider: .shared(group), configuration: clientConfiguration)
        let outcome: Result<LoadReport, any Error>
        do {
            outcome = .success(try await run(http, on: group.next(), rows: rows, onProgress: onProgress))
        } catch {
            outcome = .failure(error)
        }
        try? await http.shutdown()
        try? await group.shutdownGracefully()
        return try outcome.get()
    }

    private var clientConfiguration: HTTPClient.Configuration {
        var client = HTTPClient.Configuration(
            redirectConfiguration: .disallow, timeout: .init(connect: .seconds(10)), decompression: .disabled)
        // Every request has its own connection, as independent clients would. (A kept one may be closed by the server
        // just as the next request is written to it, which would count as a failure of the server's.)
        client.maximumUsesPerConnection = 1
        client.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = connectionCountMax
        client.connectionPool.retryConnectionEstablishment = false
        client.httpVersion = .http1Only
        return client
    }

    private var connectionCountMax: Int {
        if case .concurrency(let count) = configuration.arrivals { count } else { configuration.inFlightMax }
    }

    private func run(
        _ http: HTTPClient, on loop: any EventLoop, rows: [TraceRow],
        onProgress: (@Sendable (LoadProgress) -> Void)?
    ) async throws -> LoadReport {
        onProgress?(LoadProgress(phase: .learning))
        let server = ServerClient(http: http, configuration: configuration)
        let (model, contextTokens) = try await target(server)
        let body = RequestBody(
            endpoint: configuration.endpoint, model: model, temperature: configuration.temperature,
            ignoresEndOfText: configuration.ignoresEndOfText, extraMembers: try extraMembers())
        let prompts = try await PromptMaker.learn(server, body)
        var pacing = LoadRun.Pacing.scheduled
        if case .concurrency(let count) = configuration.arrivals { pacing = .concurrency(count) }

        if configuration.warmUpCount > 0 {
            let source = RequestSource.warmUp(configuration, contextTokens: contextTokens, rows: rows)
            var width = 1
            if case .concurrency(let count) = pacing { width = count }
            var changed = configuration
            changed.durationSeconds = nil
            changed.inFlightMax = width
            let warmUp = LoadRun(
                server, changed, body: body, prompts: prompts, source: source, pacing: .concurrency(width), on: loop)
            _ = try await warmUp.run(
                onProgress: onProgress,
                progress: LoadProgress(phase: .warmingUp, requestCount: configuration.warmUpCount))
        }

        let source = RequestSource(configuration, contextTokens: contextTokens, rows: rows)
        let startedAt = WallClock.secondsSince1970()
        let usage = ProcessUsage.now()
        let run = LoadRun(
            server, configuration, body: body, prompts: prompts, source: source, pacing: pacing, on: loop)
        let result = try await run.run(
            onProgress: onProgress,
            progress: LoadProgress(phase: .measuring, requestCount: expectedCount(rows)))
        var effective = configuration
        effective.model = model
        effective.contextTokens = contextTokens
        return LoadReport(
            configuration: effective, environment: .current(startedAt: startedAt), result: result,
            lengthScale: source.lengthScale, promptsAreExact: prompts.isExact,
            cpuSeconds: ProcessUsage.now().cpuSeconds - usage.cpuSeconds)
    }

    private func expectedCount(_ rows: [TraceRow]) -> Int? {
        rows.isEmpty ? configuration.requestCount : min(rows.count, configuration.requestCount ?? rows.count)
    }

    /// The model to ask for, and how long its context is.
    private func target(_ server: ServerClient) async throws -> (model: String?, contextTokens: Int?) {
        let models = try await server.models()
        let chosen = configuration.model.map { name in models.first { $0.name == name } } ?? models.first
        let name = configuration.model ?? chosen?.name
        if let contextTokens = configuration.contextTokens { return (name, contextTokens) }
        return (name, try await server.slotContextTokens() ?? chosen?.contextTokens)
    }

    /// The members of the extra body without its braces.
    private func extraMembers() throws -> String? {
        guard let text = configuration.extraBody else { return nil }
        guard let members = JSONText.objectMembers(text) else {
            throw DejaVuError(.invalidArgument, "extra-body must be a JSON object", subject: "extra-body")
        }
        return members
    }
}
