import DejaVuControl
import DejaVuCore
import DejaVuKV

/// What the stages of one epoch have answered, and who has run since.
struct EpochAnswers: Sendable {
    let epoch: Epoch
    /// For each stage what it said it holds; looked up only.
    var marks: [[UInt64: Int]]
    var begun: Set<UInt64> = []

    init(epoch: Epoch, stageCount: Int) {
        self.epoch = epoch
        marks = [[UInt64: Int]](repeating: [:], count: stageCount)
    }
}

/// The invariants of replicas that are seen from outside the machines.
extension World {
    /// Nobody says that it holds more than it does.
    mutating func noteAnswer(
        _ slot: Int, _ pipeline: PipelineID, _ epoch: Epoch, stage: Int, _ marks: [SequenceMark]
    ) {
        for mark in marks {
            let held = processes[slot].stage?.engine.watermark(of: mark.sequence) ?? 0
            if mark.watermark > held {
                note("process \(slot) says that it holds \(mark.watermark) of \(mark.sequence), but has \(held)")
            }
        }
        guard answers[pipeline.rawValue]?.epoch == epoch else { return }
        for mark in marks { answers[pipeline.rawValue]?.marks[stage][mark.sequence.rawValue] = mark.watermark }
    }

    /// The first pass of a sequence in an epoch runs nothing that all stages have, and leaves nothing out.
    mutating func checkStart(_ entry: PassEntry, of pass: Pass) {
        guard let epoch = answers[pass.pipeline.rawValue], epoch.epoch == pass.epoch,
            !epoch.begun.contains(entry.sequence.rawValue), let record = sequences[entry.sequence.rawValue]
        else { return }
        answers[pass.pipeline.rawValue]?.begun.insert(entry.sequence.rawValue)
        let outputs = clients.index(of: record.request).map {
            clients.entries[$0].choices[record.choice].received.count
        }
        let known = record.prompt.count + (outputs ?? 0)
        let least = epoch.marks.map { $0[entry.sequence.rawValue] ?? 0 }.min() ?? 0
        if entry.first != min(known - 1, least) {
            note(
                "\(pass.id): \(entry.sequence) begins the epoch at \(entry.first); its stages have \(least) of \(known)"
            )
        }
    }

    /// A stage and its replica are never on one worker, and a worker that runs a stage holds none.
    mutating func checkHold(_ assignment: ReplicaAssignment, at id: WorkerID) {
        replicasHeld[id.rawValue, default: []].append(assignment.id)
        let status = controller.status(at: now)
        guard let worker = status.workers.first(where: { $0.id == id }) else {
            return note("\(id) is to hold a replica, but is not known")
        }
        if worker.stageIndex != nil { note("\(id) is to hold a replica, but runs a stage") }
        if let pipeline = status.pipelines.first(where: { $0.id == assignment.pipeline }),
            pipeline.stages[assignment.stageIndex].worker == id
        {
            note("\(id) is to hold a replica of its own stage")
        }
    }

    /// When nothing is broken and nothing waits, replicas have everything, and nobody is at risk for whom there is a
    /// standby with the memory.
    mutating func checkReplicas() {
        for process in processes where process.alive {
            for store in process.replicas { store.ledger.checkIntegrity() }
        }
    }
}
