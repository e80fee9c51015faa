import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuRuntime
import Glibc
import Logging

/// Real processes for tests: an emulated local worker, and a controller that can be killed.
///
/// ```
/// DejaVuTestWorker worker STEP_MILLISECONDS
/// DejaVuTestWorker controller STATE_DIRECTORY WORKERS
/// DejaVuTestWorker loop STATE_DIRECTORY STAGES STREAMS
/// ```
@main
enum TestWorker {
    static func main() async {
        let arguments = CommandLine.arguments
        do {
            switch arguments.dropFirst().first {
            case "worker" where arguments.count == 3: try await work(stepMilliseconds: Double(arguments[2]) ?? 0)
            case "controller" where arguments.count == 4:
                try await control(stateDirectory: arguments[2], workerCount: Int(arguments[3]) ?? 1)
            case "loop" where arguments.count == 5:
                try await LoopMeasurement.run(
                    stateDirectory: arguments[2], stageCount: Int(arguments[3]) ?? 1,
                    streamCount: Int(arguments[4]) ?? 1)
            default: exit(2)
            }
        } catch {
            say("\(error)", to: 2)
            exit(1)
        }
    }

    static func say(_ line: String, to descriptor: Int32) {
        let bytes = Array((line + "\n").utf8)
        _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    }

    static var logger: Logger {
        Logger(label: "test-worker") { _ in SwiftLogNoOpLogHandler() }
    }

    static func work(stepMilliseconds: Double) async throws {
        let options = try LocalWorkerBrief.receive().options()
        var profile = ModelProfile.instant
        profile.passSeconds = stepMilliseconds / 1000
        let engineProfile = profile
        let worker = try WorkerProcess(
            options: options, model: WorkerModel(profile, kvBytesMax: 1 << 30), logger: logger
        ) { (assignment, progress) throws(DejaVuError) in
            try EmulatedEngine(
                profile: engineProfile, layers: assignment.layers, cellCount: assignment.cellCount, progress: progress)
        }
        exit(await worker.run().code)
    }

    /// Prints the process ids of its workers once all have joined, and goes on until it is killed.
    static func control(stateDirectory: String, workerCount: Int) async throws {
        let profile = ModelProfile.instant
        let configuration = ControllerConfiguration(
            model: profile.model, layerCount: profile.layerCount, vocabularyCount: profile.vocabularyCount,
            stageCount: workerCount, limits: ControllerLimits(contextLength: 2048))
        var workers = LocalWorkers(count: workerCount, arguments: ["test-worker", "worker", "0"])
        workers.orphanGrace = .seconds(1)
        let service = try await ControllerService.start(
            ControllerOptions(configuration: configuration, stateDirectory: stateDirectory, localWorkers: workers),
            logger: logger)
        while await !service.status().ready { try await Task.sleep(for: .milliseconds(20)) }
        say(service.localProcessIDs.map { "\($0)" }.joined(separator: " "), to: 1)
        while true { try await Task.sleep(for: .seconds(3600)) }
    }
}
