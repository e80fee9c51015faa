import DejaVuControl
import DejaVuCore
import DejaVuKV

/// What the stages of one epoch have answered, and who has run since.
struct EpochAnswers: Sendable {
    let epoch: Epoch
    /// For each stage what it said it holds; looked up only.
    var marks: [[UInt64: Int]]
    var begun: Set<UInt64> = []
    /// Sequences to which prompt stages have brought rows since.
    var fed: Set<UInt64> = []

    init(epoch: Epoch, stageCount: Int) {
        self.epoch = epoch
        marks = [[UInt64: Int]](repeating: [:], count: stageCount)
    }

    /// The stage begins with it anew.
    mutating func opened(_ sequence: SequenceID, stage: Int) {
        if marks.indices.contains(stage) { marks[stage][sequence.rawValue] = nil }
        begun.remove(sequence.rawValue)
    }
}

/// The invariants of replicas that are seen from outside the machines.
extension World {
    /// Nobody says that it holds more than it does.
    mutating func noteAnswer(
        _ slot: Int, _ pipeline: PipelineID, _ epoch: Epoch, stage: Int, _ marks: [SequenceMark]
    ) {
        let place = processes[slot].told.first { $0.pipeline == pipeline && $0.stageIndex == stage }
        // One that it leaves may have the same layers.
        let engine = processes[slot].stages.last { $0.store.layers == place?.layers }?.store.engine
        for mark in marks {
            let held = engine?.watermark(of: mark.sequence) ?? 0
            if mark.watermark > held {
                note("process \(slot) says that it holds \(mark.watermark) of \(mark.sequence), but has \(held)")
            }
        }
        guard answers[pipeline.rawValue]?.epoch == epoch else { return }
        for mark in marks { answers[pipeline.rawValue]?.marks[stage][mark.sequence.rawValue] = mark.watermark }
    }

    /// The same for what prompt stages have brought.
    mutating func noteLanded(_ slot: Int, _ pipeline: PipelineID, stage: Int, _ marks: [SequenceMark]) {
        guard let place = processes[slot].told.first(where: { $0.pipeline == pipeline && $0.stageIndex == stage }),
            answers[pipeline.rawValue]?.marks.indices.contains(stage) == true
        else { return }
        for mark in marks {
            let held = held(of: mark.sequence, slot, place)
            if mark.watermark > held {
                note("process \(slot) says that it holds \(mark.watermark) of \(mark.sequence), but has \(held)")
            }
            let known = answers[pipeline.rawValue]?.marks[stage][mark.sequence.rawValue] ?? 0
            answers[pipeline.rawValue]?.marks[stage][mark.sequence.rawValue] = max(known, mark.watermark)
            answers[pipeline.rawValue]?.fed.insert(mark.sequence.rawValue)
        }
    }

    func held(of sequence: SequenceID, _ slot: Int, _ place: StageAssignment) -> Int {
        let stage = processes[slot].stages.last { $0.store.layers == place.layers }
        return stage?.store.engine.watermark(of: sequence) ?? 0
    }

    /// The first pass of a sequence in an epoch runs nothing that all stages have, and leaves nothing out.
    mutating func checkStart(_ entry: PassEntry, of pass: Pass) {
        guard let epoch = answers[pass.pipeline.rawValue], epoch.epoch == pass.epoch,
            !epoch.begun.contains(entry.sequence.rawValue), let record = sequences[entry.sequence.rawValue]
        else { return }
        answers[pass.pipeline.rawValue]?.begun.insert(entry.sequence.rawValue)
        // What a client that has left would have is not kept; a sequence may go on without it.
        guard clients.index(of: record.request) == nil || clients.isPresent(record.request) else { return }
        let outputs = clients.index(of: record.request).map {
            clients.entries[$0].choices[record.choice].served
        }
        let known = record.prompt.count + (outputs ?? 0)
        let least = epoch.marks.map { $0[entry.sequence.rawValue] ?? 0 }.min() ?? 0
        // The controller hears later what has been brought.
        let expected = min(known - 1, least)
        if epoch.fed.contains(entry.sequence.rawValue) ? entry.first > expected : entry.first != expected {
            note(
                "\(pass.id): \(entry.sequence) begins the epoch at \(entry.first); its stages have \(least) of \(known)"
            )
        }
    }

    /// A stage and its replica are never on one worker.
    mutating func checkHold(_ assignment: ReplicaAssignment, at id: WorkerID) {
        replicasHeld[id.rawValue, default: []].append(assignment)
        // Another order of the same event may dismiss it, or give it that stage; and `places` has what it has lost
        // until it gets another.
        guard owners[id.rawValue] != nil else { return note("\(id) is to hold a replica, but is not known") }
        let runs = places[id.rawValue]?.contains {
            $0.pipeline == assignment.pipeline && $0.stageIndex == assignment.stageIndex
        }
        let placed = controller.status(at: now).pipelines.first { $0.id == assignment.pipeline }
        if runs == true, placed?.stages[assignment.stageIndex].worker == id {
            note("\(id) is to hold a replica of its own stage")
        }
    }

    /// Nothing is kept that nobody knows of any more.
    mutating func checkReplicas(_ slot: Int) {
        guard processes[slot].jobs.isEmpty, !processes[slot].replicas.isEmpty else { return }
        let held = processes[slot].machine.heldReplicas
        for store in processes[slot].replicas where store.replica.map({ !held.contains($0) }) ?? false {
            note("process \(slot) keeps a replica that was discarded")
        }
    }

    /// Stages and replicas fit into the memory that the worker has said it has for them.
    mutating func checkMemory(_ slot: Int) {
        func bytes(_ cells: Int, _ store: SimulatedStore) -> Int {
            cells * store.layers.count * Scenario.kvBytesPerPositionAndLayer
        }
        let plan = scenario.workers[slot]
        let stages = processes[slot].stages.map(\.store)
        let device = min(plan.deviceBytesMax ?? plan.kvBytesMax, plan.kvBytesMax)
        let onDevice = stages.reduce(0) { $0 + bytes($1.engine.device?.cellCount ?? $1.engine.cellCount, $1) }
        let below = stages.reduce(0) { $0 + ($1.engine.device == nil ? 0 : bytes($1.engine.cellCount, $1)) }
        let held = processes[slot].replicas.reduce(0) {
            $0 + bytes($1.engine.cellCount + ($1.engine.device?.cellCount ?? 0), $1)
        }
        let beyond = max(0, onDevice - device) + max(0, below - plan.kvBytesMax)
        if held + beyond > plan.replicaBytesMax { note("process \(slot) was given more cells than its memory holds") }
    }
}
