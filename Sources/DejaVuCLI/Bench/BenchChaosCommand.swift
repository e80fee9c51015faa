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
        abstract: "Kill, stop and slow down workers under load, and compare every text with the undisturbed one.",
        discussion: """
            Strikes the workers of a server on this machine: of one that runs (--url), or of one that it starts for \
            itself (what stands behind -- goes to its `serve`). The requests are greedy and seeded, some with two \
            choices, all streamed. The exit status is 0 only if every request ended well and with the text that it \
            has without faults.

            EXAMPLES
              dejavu bench chaos model.gguf --kills 20
              dejavu bench chaos model.gguf --faults kill,pause,slow --target any -- --stages 2 --threads 1
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
    @Option(help: ArgumentHelp("Kinds of faults to draw from: kill, pause, slow.", valueName: "kind,…"))
    var faults = "kill"
    @Option(help: "Whom to strike: stage, standby or any.")
    var target: FaultTarget = .stage
    @Option(help: ArgumentHelp("Time between recovery and the next fault, drawn evenly.", valueName: "min-max"))
    var calm = "0.2-2"
    @Flag(help: "Strike without waiting for recovery.")
    var relentless = false
    @Option(help: ArgumentHelp("How long a pause or a slowness lasts.", valueName: "seconds"))
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
    @Option(help: ArgumentHelp("Write the report with every pause; - for standard output.", valueName: "file"))
    var json: String?

    func validate() throws {
        guard (model == nil) != (url == nil) else { throw ValidationError("give either a model file or --url") }
        if url != nil, !serveArguments.isEmpty { throw ValidationError("options behind -- need a model file") }
        do { try chaosConfiguration(url: url ?? "http://127.0.0.1").validate() } catch let error as DejaVuError {
            throw ValidationError(error.message)
        }
    }

    func run() async throws {
        if let url { return try await strike(url) }
        guard let model else { return }
        let server = try await OwnServer.start(model: model, arguments: serveArguments)
        let result: Result<Void, any Error>
        do { result = .success(try await strikeUntilSignal(server.url)) } catch { result = .failure(error) }
        await server.stop()
        try result.get()
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
        configuration.faultCount = count
        configuration.faults = try faults.split(separator: ",").map { name in
            guard let fault = Fault(rawValue: String(name)) else {
                throw DejaVuError(.invalidArgument, "'\(name)' is no fault: kill, pause, slow", subject: "faults")
            }
            return fault
        }
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

/// A `serve` of one's own in another process, since its workers are to be struck and not this one.
private struct OwnServer {
    let url: String
    private let process: Process

    static func start(model: String, arguments: [String]) async throws -> OwnServer {
        let process = Process()
        process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["serve", model, "--listen", "127.0.0.1:0", "--log-level", "error"] + arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        // To read is to block, and to wait for a process as well: neither belongs on the cooperative pool.
        let url: String? = await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                var text = ""
                while !text.contains("\n") {
                    let more = pipe.fileHandleForReading.availableData
                    if more.isEmpty { break }
                    text += String(decoding: more, as: UTF8.self)
                }
                let start = text.range(of: "http://")?.lowerBound
                continuation.resume(returning: start.map { String(text[$0...].prefix { !$0.isWhitespace }) })
            }
        }
        guard let url else {
            process.terminate()
            throw DejaVuError(.unavailable, "the server that was started did not get ready")
        }
        return OwnServer(url: url, process: process)
    }

    func stop() async {
        let process = process
        process.terminate()
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                process.waitUntilExit()
                continuation.resume()
            }
        }
    }
}
