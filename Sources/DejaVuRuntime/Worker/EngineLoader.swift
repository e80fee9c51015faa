import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuKV

/// An engine that is to be made.
enum EngineLoad: Sendable {
    case stage(EngineID, StageAssignment)
    /// With who is to be told of frames that land there.
    case replica(ReplicaAssignment, landed: @Sendable (SequenceMark) -> Void)

    var replica: ReplicaID? {
        if case .replica(let assignment, _) = self { assignment.id } else { nil }
    }
}

/// An engine with its cells, as its loader hands it to the compute thread.
struct LoadedEngine {
    let engine: any StageEngine
    let store: StageStore
    /// What the engine raises.
    let progress: ProgressCounter
}

/// Carries one from the loader's thread to the compute thread. It is taken out once, so that nobody keeps an engine
/// alive that was dropped.
final class MadeEngine: @unchecked Sendable {
    // Unchecked: the loader lets go of it before the compute thread hears of it.
    private var content: Result<LoadedEngine, DejaVuError>?

    init(_ content: Result<LoadedEngine, DejaVuError>) { self.content = content }

    func take() -> Result<LoadedEngine, DejaVuError> {
        guard let content = content.take() else { preconditionFailure("an engine was taken twice") }
        return content
    }
}

/// Makes engines beside the compute thread: a worker that runs a stage must not stop for as long as the replica of
/// another one loads.
struct EngineLoader: Sendable {
    let thread: ComputeThread
    let makeEngine: EngineFactory

    /// Answers with the order `.made`. One at a time.
    func begin(_ load: EngineLoad) {
        let counter = ProgressCounter()
        thread.loadBegins(counter)
        do throws(DejaVuError) {
            // ggml keeps large arrays on the stack.
            try OSThread.start("engine", stackBytes: 8 << 20) {
                let made = MadeEngine(Result { () throws(DejaVuError) in try make(load, counter) })
                thread.loadEnds()
                thread.order(.made(load, made))
            }
        } catch {
            thread.loadEnds()
            thread.order(.made(load, MadeEngine(.failure(error))))
        }
    }

    private func make(_ load: EngineLoad, _ counter: ProgressCounter) throws(DejaVuError) -> LoadedEngine {
        switch load {
        case .stage(_, let assignment):
            let engine = try makeEngine(assignment, counter)
            return LoadedEngine(engine: engine, store: store("the stage", engine), progress: counter)
        case .replica(let assignment, let landed):
            let stage = StageAssignment(
                pipeline: assignment.pipeline, epoch: Epoch(0), stageIndex: assignment.stageIndex,
                stageCount: assignment.stageCount, layers: assignment.layers, cellCount: assignment.cellCount,
                residentCellCount: assignment.residentCellCount, next: nil)
            let engine = try makeEngine(stage, counter)
            return LoadedEngine(
                engine: engine, store: store("\(assignment.id)", engine, landed: landed), progress: counter)
        }
    }

    private func store(
        _ name: String, _ engine: any StageEngine, landed: @escaping @Sendable (SequenceMark) -> Void = { _ in }
    ) -> StageStore {
        StageStore(
            name: name, stage: engine.stage, memory: engine.memory, announcements: engine.announcements,
            tracer: thread.tracer, landed: landed)
    }
}

extension LoadedEngine {
    /// Runs a pass of nobody through an engine that holds nothing yet: its weights are in memory then, and the first
    /// pass after a takeover is as fast as any.
    func warmUp() throws(DejaVuError) {
        let record = SequenceRecord(
            id: SequenceID(.max), request: RequestID(.max), choice: 0, prompt: [TokenID](repeating: 0, count: 8),
            sampling: .greedy, outputCountMax: 1, stopTokens: [])
        guard engine.stage.cellCount >= CellRun.granularity else { return }
        try engine.open(record, cells: CellRun(start: 0, count: CellRun.granularity))
        defer { engine.release(record.id) }
        let pass = Pass(
            id: PassID(.max), pipeline: PipelineID(0), epoch: Epoch(0),
            entries: [PassEntry(sequence: record.id, first: 0, tokens: record.prompt, samples: true)])
        let hidden = [UInt8](repeating: 0, count: pass.rowCount * engine.stage.hiddenRowBytes)
        _ = try engine.run(pass, hidden: engine.stage.isFirst ? nil : hidden)
        try engine.settle()
    }
}
