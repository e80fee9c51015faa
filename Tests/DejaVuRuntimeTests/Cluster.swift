import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuLib
import DejaVuRuntime
import Glibc
import Logging
import Synchronization
import Testing

let profile = ModelProfile.instant
let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// A directory of a test's own, gone after it.
func withDirectory<Result>(_ body: (String) async throws -> Result) async throws -> Result {
    let path = "/tmp/dejavu-test-\(getpid())-\(UInt64.random(in: 0 ... .max) % 1_000_000_007)"
    defer {
        for name in [
            "controller.sock", "heartbeats.sock", "lock", "term", "term.new", "record", "key", "workers",
        ] {
            unlink("\(path)/\(name)")
        }
        rmdir(path)
    }
    return try await body(path)
}

func configuration(stages: Int, _ change: (inout ControllerConfiguration) -> Void = { _ in }) -> ControllerConfiguration
{
    var configuration = ControllerConfiguration(
        model: profile.model, layerCount: profile.layerCount, vocabularyCount: profile.vocabularyCount,
        stageCount: stages, limits: ControllerLimits(contextLength: 2048))
    // A machine that is busy with other tests is slow, not dead.
    configuration.limits.silenceMax = .seconds(20)
    configuration.limits.hangMin = .seconds(40)
    configuration.limits.strikesMax = 100
    change(&configuration)
    return configuration
}

/// A controller without local workers.
func options(
    stages: Int, in directory: String, _ change: (inout ControllerOptions) -> Void = { _ in }
) -> ControllerOptions {
    var options = ControllerOptions(
        configuration: configuration(stages: stages), stateDirectory: directory,
        localWorkers: LocalWorkers(count: 0, arguments: ["none"]))
    change(&options)
    return options
}

let key: ClusterKey = .random()

/// An emulated worker inside the test process.
func worker(
    joining address: LinkAddress, name: String, key: ClusterKey = key, peers: PeerListening = .host(nil),
    profile: ModelProfile = profile, grace: TimeSpan = .seconds(5), meter: EmulationMeter = EmulationMeter(),
    replicaBytesMax: Int = 1 << 30, kvBytesMax: Int = 1 << 30, deviceBytesMax: Int? = nil, swap: SwapResources? = nil,
    faultDirectory: String? = nil
) throws -> WorkerProcess {
    var options = WorkerOptions(controller: address, key: key, name: name, peerListening: peers)
    options.orphanGrace = grace
    options.faultDirectory = faultDirectory
    var model = WorkerModel(profile, kvBytesMax: kvBytesMax, replicaBytesMax: replicaBytesMax)
    model.deviceBytesMax = deviceBytesMax ?? kvBytesMax
    return try WorkerProcess(options: options, model: model, logger: quiet, swap: swap?.meter) {
        (assignment, progress) throws(DejaVuError) in
        let device = try EmulatedEngine(
            profile: profile, layers: assignment.layers, cellCount: assignment.residentCellCount, progress: progress,
            meter: meter)
        guard assignment.swaps, let swap else { return device }
        return try SwappingEngine(
            device: device, cellCount: assignment.cellCount, resources: swap, progress: progress)
    }
}

/// The program beside the tests that runs as a real worker or controller.
let testWorkerPath: String = {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    let path = String(decoding: buffer[..<max(count, 0)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        + "/DejaVuTestWorker"
}()

/// Waits for what happens soon, or fails the test.
func wait(_ what: String, until condition: () async throws -> Bool) async throws {
    for _ in 0..<12_000 {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    throw DejaVuError(.deadlineExceeded, "waited in vain until \(what)")
}

func untilReady(_ service: ControllerService) async throws {
    try await wait("the cluster is ready") { await service.status().ready }
}

/// What a request gave, by choice.
struct Answer: Hashable, Sendable {
    var tokens: [[TokenID]]
    var reasons: [FinishReason?]
    var refusal: DejaVuError?
}

extension ControllerService {
    func request(
        _ prompt: [TokenID], outputs: Int, choices: Int = 1, sampling: SamplingParameters = .greedy,
        stops: [TokenID] = []
    ) -> Request {
        Request(
            id: nextRequestID(), prompt: prompt, choiceCount: choices, sampling: sampling, outputCountMax: outputs,
            stopTokens: stops, deadline: Self.now + .seconds(300))
    }

    func answer(to request: Request) async -> Answer {
        var answer = Answer(
            tokens: Array(repeating: [], count: request.choiceCount),
            reasons: Array(repeating: nil, count: request.choiceCount))
        for await event in events(of: request) {
            switch event {
            case .admitted: break
            case .token(let choice, let token):
                if token.position != request.prompt.count + answer.tokens[choice].count {
                    Issue.record("\(request.id) got position \(token.position) out of order")
                }
                answer.tokens[choice].append(token.token)
            case .finished(let choice, let reason): answer.reasons[choice] = reason
            case .refused(let refusal): answer.refusal = refusal.error
            }
        }
        return answer
    }
}

/// The text that a request must give, whatever happened meanwhile.
func expected(_ request: Request) -> Answer {
    var answer = Answer(tokens: [], reasons: [])
    for choice in 0..<request.choiceCount {
        var sampling = request.sampling
        sampling.seed = request.choiceSeed(choice)
        let count = request.outputCountMax ?? 0
        let tokens = EmulatedChain.continuation(
            of: request.prompt, count: count, layerCount: profile.layerCount,
            vocabularyCount: profile.vocabularyCount, sampling: sampling, stopTokens: request.stopTokens)
        answer.tokens.append(tokens)
        let stopped = tokens.last.map { request.stopTokens.contains($0) } ?? false
        answer.reasons.append(stopped ? .stop : .length)
    }
    return answer
}

/// Requests of all kinds: short and long, greedy and seeded, with several choices and with stop tokens.
func mixedRequests(_ count: Int, seed: UInt64, outputs: ClosedRange<Int> = 1...60, of service: ControllerService)
    -> [Request]
{
    var generator = SeededGenerator(seed: seed)
    return (0..<count).map { index in
        let length = generator.chance(0.2) ? generator.next(in: 400...1500) : generator.next(in: 1...60)
        var sampling = SamplingParameters()
        sampling.temperature = generator.chance(0.5) ? 0 : 1
        sampling.seed = generator.next()
        return service.request(
            (0..<length).map { _ in TokenID(generator.next(below: profile.vocabularyCount)) },
            outputs: generator.next(in: outputs), choices: index % 5 == 0 ? 3 : 1, sampling: sampling,
            stops: index % 3 == 0 ? (0..<20).map { $0 * 50 } : [])
    }
}

/// Runs requests at once and expects the text of each.
func expectTexts(_ requests: [Request], from service: ControllerService) async {
    await withTaskGroup(of: Void.self) { group in
        for request in requests {
            group.addTask {
                let answer = await service.answer(to: request)
                #expect(answer == expected(request), "\(request.id)")
            }
        }
    }
}

/// Whether a process exists that is not a zombie.
func isAlive(_ process: Int32) -> Bool {
    guard kill(process, 0) == 0, let file = fopen("/proc/\(process)/stat", "r") else { return false }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 512)
    let count = fread(&bytes, 1, bytes.count, file)
    let text = String(decoding: bytes[..<count], as: UTF8.self)
    return !text.isEmpty && text.split(separator: ")").last?.dropFirst().first != "Z"
}
