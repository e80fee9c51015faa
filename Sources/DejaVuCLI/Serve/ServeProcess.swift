import ArgumentParser
import DejaVuControl
import DejaVuCore
import DejaVuLib
import DejaVuMetrics
import DejaVuRuntime
import DejaVuServing
import Foundation
import Glibc
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import UnixSignals

/// Everything that one `dejavu serve` is: a controller with its workers, and the HTTP server in front.
struct ServeProcess {
    /// How long Ctrl-C waits for the answers that are being written.
    static let drainTime = TimeSpan.seconds(60)

    private let controller: ControllerService
    private let trace: TraceFile?
    private let http: ServiceGroup
    private let ports: AsyncStream<Int>
    private let configuration: ServingConfiguration
    private let modelName: String
    /// Where prompts and tokens have workers of their own; nil otherwise.
    private let topologyText: String?
    private let logger: Logger

    /// Starts the controller and the workers; HTTP starts with `run`.
    static func start(_ command: ServeCommand, logger: Logger) async throws -> ServeProcess {
        signal(SIGPIPE, SIG_IGN)
        let source = try ModelSource(command.model)
        let text = try TextModels.make(
            source, name: command.access.modelName, kernels: command.device.kernels,
            contextLength: try contextLength(command, source))
        let serving = try servingConfiguration(command)
        try serving.validate()
        let options = try controllerOptions(command, source, text.description.contextLength)
        let topology = options.configuration.topology
        let trace = try command.traceOut.map { try TraceFile(path: $0, topology: topology, logger: logger) }
        let controller = try await ControllerService.start(options, observer: trace, logger: logger)
        let topologyText =
            topology.isDisaggregated
            ? "\(topology); prompts of more than \(options.configuration.disaggregateAbove) tokens go to prompt stages"
            : nil
        if let address = controller.clusterAddress {
            logger.info("workers may join", metadata: ["address": "\(address)"])
        }
        let (ports, feed) = AsyncStream.makeStream(of: Int.self)
        do {
            let application = try makeServingApplication(
                configuration: serving, model: text, backend: ControllerBackend(controller: controller),
                restored: await controller.takeRestored(), metrics: MetricsRegistry(),
                eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: logger,
                onListening: { feed.yield($0) })
            var quiet = logger
            quiet.logLevel = max(.error, logger.logLevel)
            let http = ServiceGroup(
                configuration: ServiceGroupConfiguration(services: [application], logger: quiet))
            return ServeProcess(
                controller: controller, trace: trace, http: http, ports: ports, configuration: serving,
                modelName: text.description.name, topologyText: topologyText, logger: logger)
        } catch {
            await controller.stop()
            throw error
        }
    }

    /// Serves until a signal, then drains; a second signal ends at once. Nothing is left running.
    func run(until signals: UnixSignalsSequence) async throws {
        let outcome = await withTaskGroup(of: Step.self) { group in
            group.addTask {
                do {
                    try await http.run()
                    return .httpEnded(nil)
                } catch { return .httpEnded(error) }
            }
            group.addTask {
                await announce()
                return .announced
            }
            group.addTask { await shutDown(on: signals) }
            group.addTask { .deposed(await controller.deposition.first { _ in true }) }
            var failure: (any Error)?
            loop: for await step in group {
                switch step {
                case .announced: continue
                case .httpEnded(let error):
                    failure = error
                    break loop
                case .drained, .deposed(nil): continue
                case .deposed(let reason?):
                    failure = DejaVuError(.refused, "\(reason); this server ends", subject: "term")
                    break loop
                case .hurried: break loop
                }
            }
            group.cancelAll()
            return failure
        }
        let usage = await controller.status().emulation
        await controller.stop()
        await trace?.finish()
        if let usage { Diagnostics.write(EmulationSummary(usage).text, to: STDOUT_FILENO) }
        if let outcome { throw Self.readable(outcome, configuration) }
    }

    private enum Step: Sendable {
        case httpEnded((any Error)?)
        case announced, drained, hurried
        case deposed(String?)
    }

    private func shutDown(on signals: UnixSignalsSequence) async -> Step {
        let (first, begin) = AsyncStream.makeStream(of: Void.self)
        let (second, hurry) = AsyncStream.makeStream(of: Void.self)
        // The sequence of signals has one reader.
        let reader = Task {
            var count = 0
            for await _ in signals {
                count += 1
                (count == 1 ? begin : hurry).yield()
            }
            begin.finish()
        }
        defer { reader.cancel() }
        guard await first.first(where: { _ in true }) != nil else { return .drained }
        logger.notice("draining: running answers are finished, new ones refused; once more stops at once")
        return await withTaskGroup(of: Step.self) { group in
            group.addTask {
                await controller.drain(until: MonotonicClock.now + Self.drainTime)
                await http.triggerGracefulShutdown()
                return .drained
            }
            group.addTask {
                _ = await second.first { _ in true }
                return .hurried
            }
            defer { group.cancelAll() }
            return await group.next() ?? .drained
        }
    }

    /// Says where the server is once it can answer.
    private func announce() async {
        guard let port = await ports.first(where: { _ in true }) else { return }
        let url = "http://\(configuration.host):\(port)"
        let begun = MonotonicClock.now
        var said = ""
        while !Task.isCancelled {
            let status = await controller.status()
            if status.ready { break }
            let reason = status.reason ?? "starting"
            if reason != said, MonotonicClock.now - begun > .seconds(2) {
                logger.info("not ready yet", metadata: ["reason": "\(reason)"])
                said = reason
            }
            guard (try? await Task.sleep(for: .milliseconds(20))) != nil else { return }
        }
        Diagnostics.write("DéjàVu serves \(modelName) at \(url)\n", to: STDOUT_FILENO)
        if let topologyText { Diagnostics.write("\(topologyText)\n", to: STDOUT_FILENO) }
    }

    /// A server of one's own for the time of `body`, on a free port of loopback.
    static func withServer(
        model: String, threads: Int?, body: (_ address: String) async throws -> Void
    ) async throws {
        var arguments = [model, "--listen", "127.0.0.1:0", "--standbys", "0", "--log-level", "error"]
        if let threads { arguments += ["--threads", "\(threads)"] }
        let command = try ServeCommand.parse(arguments)
        let server = try await start(command, logger: command.logging.bootstrap(label: "serve"))
        try await server.runWhile(body)
    }

    private func runWhile(_ body: (_ address: String) async throws -> Void) async throws {
        let serving = Task { try await http.run() }
        let result: Result<Void, any Error>
        do {
            guard let port = await ports.first(where: { _ in true }) else {
                throw DejaVuError(.unavailable, "the server did not start")
            }
            try await body("http://127.0.0.1:\(port)")
            result = .success(())
        } catch { result = .failure(error) }
        await controller.stop()
        await http.triggerGracefulShutdown()
        _ = await serving.result
        try result.get()
    }

    private static func readable(_ error: any Error, _ configuration: ServingConfiguration) -> any Error {
        guard let error = error as? IOError, error.errnoCode == EADDRINUSE else { return error }
        return DejaVuError(
            .unavailable,
            "\(configuration.host):\(configuration.port) is in use; choose another with --listen HOST:PORT",
            subject: "listen")
    }
}
