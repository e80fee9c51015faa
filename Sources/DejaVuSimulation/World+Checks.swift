import DejaVuControl
import DejaVuCore

/// The invariants that are seen from outside the machines.
extension World {
    /// Every pass follows the rule of work and contains nobody who has ended.
    mutating func check(_ message: ControllerMessage, to id: WorkerID) {
        switch message {
        case .open(let record, _, _): sequences[record.id.rawValue] = record
        case .run(let pass):
            for entry in pass.entries { check(entry, of: pass) }
            let sequences = pass.entries.map { $0.sequence.rawValue }.sorted()
            for index in sequences.indices.dropFirst() where sequences[index - 1] == sequences[index] {
                note("\(pass.id) contains a sequence twice")
            }
            flightsMax = controller.status(at: now).pipelines.reduce(flightsMax) { max($0, $1.microbatches.count) }
        default: break
        }
    }

    private mutating func check(_ entry: PassEntry, of pass: Pass) {
        guard let record = sequences[entry.sequence.rawValue] else {
            note("\(pass.id) contains \(entry.sequence), which nobody was told to open")
            return
        }
        guard let index = clients.index(of: record.request) else { return }
        let choice = clients.entries[index].choices[record.choice]
        if choice.finished != nil { note("\(pass.id) contains \(entry.sequence), which has ended") }
        let known = record.prompt + choice.received
        if entry.end > known.count || Array(known[entry.first..<entry.end]) != entry.tokens {
            note("\(pass.id): \(entry.sequence) runs tokens that it does not have at \(entry.first)")
        } else if entry.samples != (entry.end == known.count) {
            note("\(pass.id): \(entry.sequence) samples after \(entry.end - 1) of \(known.count)")
        }
    }

    /// Ready means that a token crossed all stages recently.
    mutating func checkReadiness() {
        guard eventCount % 16 == 0 else { return }
        let status = controller.status(at: now)
        guard status.ready else { return }
        let window = scenario.configuration.limits.readyWindow
        guard let lastCrossing, now - lastCrossing <= window + .seconds(1) else {
            note("ready, but no token has crossed all stages for longer than \(window)")
            return
        }
    }

    /// What must be true when all is over.
    mutating func checkEnd() {
        guard !stopped else { return }
        for entry in clients.entries where !entry.isOver { note("\(entry.client.request.id) never ended") }
        let status = controller.status(at: now)
        let running = status.pipelines.reduce(0) { $0 + $1.cellsUsed }
        if running != 0 { note("\(running) cells were never given back") }
        for slot in processes.indices where processes[slot].alive && !processes[slot].jobRunning {
            if !processes[slot].rows.isEmpty { note("process \(slot) still has rows that nobody wants") }
        }
        for entry in clients.entries {
            let patient = entry.client.request.deadline > now
            for choice in entry.choices where choice.finished == .deadline && patient {
                note("\(entry.client.request.id) ended with its deadline before it")
            }
        }
    }
}
