import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuLib
import DejaVuRuntime
import Glibc
import Synchronization
import Testing

/// Stops one engine in the middle of a pass, until the test lets it go.
private final class Trap: Sendable {
    private let armed = Atomic<Bool>(true)
    private let held = Atomic<Bool>(false)
    private let passes = Atomic<Int>(0)
    var isHolding: Bool { held.load(ordering: .relaxed) }

    func passRan() {
        guard passes.wrappingAdd(1, ordering: .relaxed).newValue == 20 else { return }
        held.store(true, ordering: .relaxed)
        while armed.load(ordering: .relaxed) { timespecSleep() }
        held.store(false, ordering: .relaxed)
    }
    func release() { armed.store(false, ordering: .relaxed) }

    private func timespecSleep() {
        var span = timespec(tv_sec: 0, tv_nsec: 5_000_000)
        nanosleep(&span, nil)
    }
}

/// An emulated stage that falls into a trap.
private final class TrappedEngine: StageEngine {
    private let engine: EmulatedEngine
    private let trap: Trap
    init(_ engine: EmulatedEngine, trap: Trap) {
        self.engine = engine
        self.trap = trap
    }
    var stage: StageDescription { engine.stage }
    var memory: any StageMemory { engine.memory }
    func open(_ record: SequenceRecord, cells: CellRun, watermark: Int) throws(DejaVuError) {
        try engine.open(record, cells: cells, watermark: watermark)
    }
    func release(_ sequence: SequenceID) { engine.release(sequence) }
    func watermark(of sequence: SequenceID) -> Int { engine.watermark(of: sequence) }
    func run(_ pass: Pass, hidden: [UInt8]?) throws(DejaVuError) -> StageOutput {
        trap.passRan()
        return try engine.run(pass, hidden: hidden)
    }
}

@Test func cluster_workerBeatsButHangs_isReplacedAndTextsAreRight() async throws {
    try await withDirectory { directory in
        let service = try await ControllerService.start(
            options(stages: 1, in: directory) {
                $0.key = key
                $0.configuration.limits.silenceMax = .seconds(1)
                $0.configuration.limits.hangMin = .seconds(2)
            }, logger: quiet)
        let trap = Trap()
        let address = service.localAddress
        let workers = try (0..<2).map { index in
            var options = WorkerOptions(
                controller: address, key: key, name: "w\(index)", peerListening: .directory(directory))
            options.orphanGrace = .seconds(5)
            return try WorkerProcess(options: options, model: WorkerModel(profile, kvBytesMax: 1 << 30), logger: quiet)
            { (assignment, progress) throws(DejaVuError) in
                TrappedEngine(
                    try EmulatedEngine(
                        profile: profile, layers: assignment.layers, cellCount: assignment.cellCount,
                        progress: progress), trap: trap)
            }
        }
        await withTaskGroup(of: WorkerExit.self) { group in
            for worker in workers { group.addTask { await worker.run() } }
            do {
                try await wait("both are there") { await service.status().workers.count == 2 }
                try await untilReady(service)
                async let done: Void = expectTexts(
                    mixedRequests(4, seed: 9, outputs: 100...200, of: service), from: service)
                try await wait("it hangs") { trap.isHolding }
                try await wait("it is found") { await service.status().counters.workersLost >= 1 }
                await done
                #expect(trap.isHolding, "the other worker must have done the work")
            } catch {
                Issue.record(error)
            }
            trap.release()
            await service.stop()
            // The one that hung may find no controller any more to tell it to end.
            var codes: [Int32] = []
            for await exit in group { codes.append(exit.code) }
            #expect(codes.contains(0))
        }
    }
}
