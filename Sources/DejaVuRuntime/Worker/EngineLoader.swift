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

/// An engine on its way from the thread that has made it to the one that runs it, with its cells.
struct MadeEngine: @unchecked Sendable {
    // Unchecked because of the engine: who has made it lets go of it.
    let engine: any StageEngine
    let store: StageStore
}

/// Makes engines beside the compute thread: a worker that runs a stage must not stop for as long as the replica of
/// another one loads.
struct EngineLoader: Sendable {
    let thread: ComputeThread
    let makeEngine: EngineFactory

    /// Answers with the order `.made`. One at a time.
    func begin(_ load: EngineLoad) {
        do throws(DejaVuError) {
            // ggml keeps large arrays on the stack.
            try OSThread.start("engine", stackBytes: 8 << 20) {
                let result = Result { () throws(DejaVuError) in try make(load) }
                thread.order(.made(load, result))
            }
        } catch {
            thread.order(.made(load, .failure(error)))
        }
    }

    private func make(_ load: EngineLoad) throws(DejaVuError) -> MadeEngine {
        switch load {
        case .stage(_, let assignment):
            let engine = try makeEngine(assignment, thread.progress)
            return MadeEngine(engine: engine, store: store("the stage", engine))
        case .replica(let assignment, let landed):
            let stage = StageAssignment(
                pipeline: assignment.pipeline, epoch: Epoch(0), stageIndex: assignment.stageIndex,
                stageCount: assignment.stageCount, layers: assignment.layers, cellCount: assignment.cellCount,
                residentCellCount: assignment.residentCellCount, next: nil)
            let engine = try makeEngine(stage, thread.progress)
            try warmUp(engine)
            return MadeEngine(engine: engine, store: store("\(assignment.id)", engine, landed: landed))
        }
    }

    private func store(
        _ name: String, _ engine: any StageEngine, landed: @escaping @Sendable (SequenceMark) -> Void = { _ in }
    ) -> StageStore {
        StageStore(
            name: name, stage: engine.stage, memory: engine.memory, announcements: engine.announcements,
            tracer: thread.tracer, landed: landed)
    }

    /// Runs a pass of nobody through an engine that holds nothing yet: its weights are in memory then, and the first
    /// pass after a takeover is as fast as any.
    private func warmUp(_ engine: any StageEngine) throws(DejaVuError) {
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
