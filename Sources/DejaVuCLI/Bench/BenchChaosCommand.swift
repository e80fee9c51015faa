import ArgumentParser
import DejaVuBench
import DejaVuCore
import Foundation
import UnixSignals

extension Fault: ExpressibleByArgument {}
extension FaultTarget: ExpressibleByArgument {}

/// Faults under load: what clients see of them, and whether their texts are what they would have been.
struct BenchChaosCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chaos",
        abstract: "Strike workers and links under load, and compare every text with the undisturbed one.",
        discussion: """
            Strikes the workers of a server on this machine: of one that runs (--url), or of one that it starts for \
            itself (what stands behind -- goes to its `serve`). The requests are greedy and seeded, some with two \
            choices, all streamed. The exit status is 0 only if every request ended well and with the text that it \
            has without faults.

            Faults of workers: kill, pause, slow (half of the processor's time), drain (SIGTERM). Of links, for which \
            the server must be its own: cut, silence, corrupt (a flipped bit in a frame). And poison: a request that \
            no worker survives, which must end with an error, and it alone. A schedule has one fault a line: \
            SECONDS FAULT [WORKER] [controller | peer | bulk] [for SECONDS], where WORKER is any, standby, stage, \
            prompt or token, the last three also with a number: stage:0.

            EXAMPLES
              dejavu bench chaos model.gguf --kills 20
              dejavu bench chaos model.gguf --faults kill,pause,slow --target any -- --stages 2 --threads 1
              dejavu bench chaos model.gguf --schedule faults.txt -- --stages 3 --threads 1
              dejavu bench chaos model.gguf --faults kill,cut,silence,corrupt,poison --seconds 600 --relentless
              dejavu bench chaos model.gguf --target prompt -- --prompt-stages 1 --token-stages 1 --disaggregate-above 4
              dejavu bench chaos --url http://127.0.0.1:8080 --kills 5 --json chaos.json
            """)

    @Argument(help: "The GGUF file to serve; not with --url.", completion: .file(extensions: ["gguf"]))
    var model: String?
    @Argument(parsing: .postTerminator, help: "Options of the `serve` that is started.")
    var serveArguments: [String] = []
    @Option(help: "Strike the workers of this server instead of starting one.")
    var url: String?
    @Option(name: [.customLong("kills"), .customLong("count")], help: "How many faults.")
    var count = 10
    @Option(help: ArgumentHelp("Kinds of faults to draw from; `all` is every kind.", valueName: "kind,…"))
    var faults = "kill"
    @Option(help: ArgumentHelp("Faults at given times instead of random ones.", valueName: "file"), completion: .file())
    var schedule: String?
    @Option(help: ArgumentHelp("Strike for so long, however many faults that makes.", valueName: "seconds"))
    var seconds: Double?
    @Option(help: "Whom to strike: stage, prompt or token (those of such a pipeline), standby or any.")
    var target: FaultTarget = .stage
    @Option(help: ArgumentHelp("Time between recovery and the next fault, drawn evenly.", valueName: "min-max"))
    var calm = "0.2-2"
    @Flag(help: "Strike without waiting for recovery.")
    var relentless = false
    @Option(help: ArgumentHelp("How long a fault lasts that is not deadly.", valueName: "seconds"))
    var faultSeconds = 1.0
    @Option(help: ArgumentHelp("How long a recovery, with all replicas made anew, may take.", valueName: "seconds"))
    var recoverySeconds = 120.0
    @Option(help: "Requests in flight at all times.")
    var concurrency = 8
    @Option(help: "Tokens of each answer.")
    var tokens = 120
    @Option(help: "Different requests.")
    var requests = 8
    @Option(help: "Same seed, same requests and same choice of victims.")
    var seed: UInt64 = 1
    @Option(help: ArgumentHelp("A file whose first line is the API key.", valueName: "file"))
    var apiKeyFile: String?
    /// What the server at --url was started with; see `FaultOptions`.
    @OptionGroup var server: FaultOptions
    @Option(help: ArgumentHelp("Write the report with every pause; - for standard output.", valueName: "file"))
    var json: String?

    func validate() throws {
        guard (model == nil) != (url == nil) else { throw ValidationError("give either a model file or --url") }
        if url != nil, !serveArguments.isEmpty { throw ValidationError("options behind -- need a model file") }
        do {
            var configuration = try chaosConfiguration(url: url ?? "http://127.0.0.1")
            // A server of its own is made to fit.
            if model != nil { (configuration.linkFaultDirectory, configuration.poisonToken) = ("", Self.poisonToken) }
            try configuration.validate()
        } catch let error as DejaVuError { throw ValidationError(error.message) }
    }

    /// One that the tokenizer makes of no text, so that it is in no other request.
    private static let poisonToken: TokenID = 5

    func run() async throws {
        if let url { return try await strike(url) }
        guard let model else { return }
        var server = self.server
        let kinds = try kinds()
        let directory = try kinds.contains(where: \.isOfLink) ? PrivateDirectory() : nil
        defer { directory?.remove() }
        server.linkFaults = directory?.path
        if kinds.contains(.poison) { server.poisonToken = Self.poisonToken }
        let own = try await OwnServer.start(model: model, arguments: server.arguments + serveArguments)
        var chaos = self
        chaos.server = server
        let result: Result<Void, any Error>
        do { result = .success(try await chaos.strikeUntilSignal(own.url)) } catch { result = .failure(error) }
        await own.stop()
        try result.get()
    }

    private func kinds() throws -> [Fault] {
        if let schedule { return try Self.read(schedule, faultSeconds).entries.map(\.fault.fault) }
        if faults == "all" { return Fault.allCases }
        return try faults.split(separator: ",").map { name in
            guard let fault = Fault(rawValue: String(name)) else {
                let known = Fault.allCases.map(\.rawValue).joined(separator: ", ")
                throw DejaVuError(.invalidArgument, "'\(name)' is no fault: \(known), or all", subject: "faults")
            }
            return fault
        }
    }

    private static func read(_ path: String, _ faultSeconds: Double) throws -> ChaosSchedule {
        guard let text = try? String(contentsOf: URL(filePath: path), encoding: .utf8) else {
            throw DejaVuError(.notFound, "cannot read the schedule \(path)", subject: "schedule")
        }
        return try ChaosSchedule(parsing: text, faultSeconds: faultSeconds)
    }

    /// The server that was started does not get this terminal's Ctrl-C, so it has to be told.
    private func strikeUntilSignal(_ url: String) async throws {
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await strike(url) }
            group.addTask {
                for await _ in signals { throw ExitCode(130) }
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private func strike(_ url: String) async throws {
        var configuration = try chaosConfiguration(url: url)
        if let apiKeyFile { configuration.apiKey = try OutputFile.firstLine(apiKeyFile) }
        let line = ProgressLine()
        let report: ChaosReport
        do {
            report = try await ChaosRun(configuration, onProgress: { line.show($0) }).run()
            line.clear()
        } catch {
            line.clear()
            throw error
        }
        if let json { try OutputFile.write(try report.json(), to: json) }
        if json != "-" { print(report.text(), terminator: "") }
        if !report.holds { throw ExitCode.failure }
    }

    private func chaosConfiguration(url: String) throws -> ChaosConfiguration {
        var configuration = ChaosConfiguration(url: url)
        configuration.faultCount = seconds == nil ? count : 100_000
        configuration.secondsMax = seconds
        configuration.faults = try kinds()
        configuration.schedule = try schedule.map { try Self.read($0, faultSeconds) }
        configuration.linkFaultDirectory = server.linkFaults
        configuration.poisonToken = server.poisonToken
        configuration.target = target
        let parts = calm.split(separator: "-").map { Double($0) }
        guard let least = parts.first ?? nil, let most = parts.last ?? nil, parts.count <= 2, least <= most else {
            throw DejaVuError(.invalidArgument, "--calm is SECONDS or MIN-MAX", subject: "calm")
        }
        configuration.calmSeconds = least...most
        configuration.isRelentless = relentless
        configuration.faultSeconds = faultSeconds
        configuration.recoverySecondsMax = recoverySeconds
        configuration.concurrency = concurrency
        configuration.tokenCount = tokens
        configuration.jobCount = requests
        configuration.seed = seed
        return configuration
    }
}
