import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuRuntime
import Glibc
import Synchronization

/// How long the controller's loop takes: the time from a token to the next where the device takes none, over real
/// sockets and processes; and what the processes cost when nothing happens.
enum LoopMeasurement {
    /// What the controller's thread spends on events, per pass.
    private final class Cost: ControllerObserver {
        private let nanoseconds = Atomic<Int64>(0)
        private let passes = Atomic<Int64>(0)
        func handled(in span: TimeSpan) { nanoseconds.wrappingAdd(span.nanoseconds, ordering: .relaxed) }
        func passRan(_ timing: PassTiming, by worker: WorkerID) { passes.wrappingAdd(1, ordering: .relaxed) }
        var microsecondsPerStep: Double {
            Double(nanoseconds.load(ordering: .relaxed)) / Double(max(passes.load(ordering: .relaxed), 1)) / 1000
        }
    }

    static func run(stateDirectory: String, stageCount: Int, streamCount: Int) async throws {
        let profile = ModelProfile.instant
        let configuration = ControllerConfiguration(
            model: profile.model, layerCount: profile.layerCount, vocabularyCount: profile.vocabularyCount,
            stageCount: stageCount, limits: ControllerLimits(contextLength: 2048))
        let cost = Cost()
        let service = try await ControllerService.start(
            ControllerOptions(
                configuration: configuration, stateDirectory: stateDirectory,
                localWorkers: LocalWorkers(count: stageCount, arguments: ["test-worker", "worker", "0"])),
            observer: cost, logger: TestWorker.logger)
        while await !service.status().ready { try await Task.sleep(for: .milliseconds(20)) }
        let gaps = await withTaskGroup(of: [Int64].self) { group in
            for _ in 0..<streamCount { group.addTask { await stream(from: service) } }
            return await group.reduce(into: []) { $0 += $1 }
        }.sorted()
        func percentile(_ share: Double) -> Double {
            Double(gaps[Int(Double(gaps.count - 1) * share)]) / 1000
        }
        TestWorker.say(
            "\(stageCount) stages, \(streamCount) streams, \(gaps.count) steps: p50 \(percentile(0.5)) us, "
                + "p95 \(percentile(0.95)) us, p99 \(percentile(0.99)) us", to: 1)
        TestWorker.say("the controller needs \(cost.microsecondsPerStep) us for a step", to: 1)
        let before = processorSeconds(service)
        try await Task.sleep(for: .seconds(10))
        let idle = (processorSeconds(service) - before) / 10 * 100
        TestWorker.say("idle: \(idle)% of one CPU over \(stageCount + 1) processes", to: 1)
        await service.stop()
    }

    private static func stream(from service: ControllerService) async -> [Int64] {
        let request = Request(
            id: service.nextRequestID(), prompt: [1], choiceCount: 1, sampling: .greedy, outputCountMax: 1000,
            stopTokens: [], deadline: ControllerService.now + .seconds(60))
        let times = Mutex<[Int64]>([])
        await withCheckedContinuation { continuation in
            service.submit(request) { event in
                switch event {
                case .token: times.withLock { $0.append(ControllerService.now.nanoseconds) }
                case .finished, .refused: continuation.resume()
                case .admitted: break
                }
            }
        }
        let all = times.withLock { $0 }
        return zip(all.dropFirst(), all).map { $0 - $1 }
    }

    /// Of this process and its workers.
    private static func processorSeconds(_ service: ControllerService) -> Double {
        var total = 0.0
        for process in service.localProcessIDs + [getpid()] {
            guard let file = fopen("/proc/\(process)/stat", "r") else { continue }
            defer { fclose(file) }
            var bytes = [UInt8](repeating: 0, count: 1024)
            let count = fread(&bytes, 1, bytes.count, file)
            let fields = String(decoding: bytes[..<count], as: UTF8.self).split(separator: ")").last?
                .split(separator: " ")
            guard let fields, fields.count > 13, let user = Double(fields[11]), let system = Double(fields[12]) else {
                continue
            }
            total += (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
        }
        return total
    }
}
