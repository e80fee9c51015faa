import ArgumentParser
import DejaVuCore
import DejaVuEngine
import DejaVuRuntime
import Glibc

/// What `dejavu bench chaos` needs of the server that it starts for itself; hidden from everybody else.
struct FaultOptions: ParsableArguments {
    /// See `WorkerOptions.faultDirectory`.
    @Option(help: .hidden)
    var linkFaults: String?
    /// A token whose pass no worker survives.
    @Option(help: .hidden)
    var poisonToken: TokenID?
    /// The pause before a worker that ended is started again, in seconds. It is a server's alone.
    @Option(help: .hidden)
    var restartDelay: Double?

    /// The arguments that make a worker's options the same.
    var arguments: [String] {
        (linkFaults.map { ["--link-faults", $0] } ?? []) + (poisonToken.map { ["--poison-token", "\($0)"] } ?? [])
    }

    /// Engines that end their process at the poisonous token.
    func poisoning(_ make: @escaping EngineFactory) -> EngineFactory {
        guard let poisonToken else { return make }
        return { (assignment, progress) throws(DejaVuError) in
            PoisonedEngine(try make(assignment, progress), token: poisonToken)
        }
    }
}

/// An engine that brings its process down when it is to run a certain token.
private final class PoisonedEngine: StageEngine {
    private let engine: any StageEngine
    private let token: TokenID

    init(_ engine: any StageEngine, token: TokenID) {
        self.engine = engine
        self.token = token
    }

    var stage: StageDescription { engine.stage }
    var memory: any StageMemory { engine.memory }
    var rewriteMismatchCount: UInt64 { engine.rewriteMismatchCount }

    func open(_ record: SequenceRecord, cells: CellRun, watermark: Int) throws(DejaVuError) {
        try engine.open(record, cells: cells, watermark: watermark)
    }
    func release(_ sequence: SequenceID) { engine.release(sequence) }
    func watermark(of sequence: SequenceID) -> Int { engine.watermark(of: sequence) }

    func run(_ pass: Pass, hidden: [UInt8]?) throws(DejaVuError) -> StageOutput {
        if pass.entries.contains(where: { $0.tokens.contains(token) }) { kill(getpid(), SIGKILL) }
        return try engine.run(pass, hidden: hidden)
    }
}
