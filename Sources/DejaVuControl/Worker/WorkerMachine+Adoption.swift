import DejaVuCore
import DejaVuKV

/// What happens between two controllers: everything stays as it is, and the next one is told what that is.
extension WorkerMachine {
    /// Records of ended sequences that are kept, and their tokens, at most.
    private static let endingsMax = 1024
    private static let endingTokensMax = 4 << 20

    /// What runs goes to its end and is committed, and nobody waits for what it gives; nothing else begins.
    mutating func suspend() {
        for index in seats.indices {
            dropWaiting(index)
            seats[index].announced = false
            seats[index].stays = false
        }
        running?.isAwaited = false
    }

    mutating func beAdopted(as id: WorkerID) {
        suspend()
        self.id = id
        owesReport = true
        reportIfQuiet()
        if leaving { send(.leaving) }
    }

    /// Not while a sequence is released that could still be written to: its cells would seem to be free.
    mutating func reportIfQuiet() {
        guard owesReport, releases.isEmpty else { return }
        owesReport = false
        for index in records.indices {
            guard let keeper = keeper(of: records.keys[index]) else { continue }
            actions.append(.sendRecord(records[at: index], knownTo: keeper))
        }
        endings.removeAll { $0.until < now }
        for ending in endings { send(.record(ending.record, ended: ending.reason)) }
        send(
            .report(
                WorkerReport(
                    stages: seats.map(report), replicas: holds.keys.filter { !isPromoting($0) }.compactMap(report))))
    }

    func keeper(of sequence: SequenceID) -> RecordKeeper? {
        if let seat = seats.first(where: { $0.sequences.contains(sequence) }) { return .stage(seat.engine.id) }
        return holds.indices.first { holds[at: $0].sequences.contains(sequence) }.map { .replica(holds.keys[$0]) }
    }

    private func report(_ seat: Seat) -> WorkerReport.Stage {
        let sequences = seat.promoting.flatMap { holds[$0]?.sequences } ?? seat.sequences
        return WorkerReport.Stage(
            assignment: seat.stage,
            sequences: sequences.indices.map { index in
                let open = sequences[at: index]
                return WorkerReport.Place(
                    sequence: sequences.keys[index], cells: open.cells, watermark: open.watermark,
                    ticket: seat.tickets.ticket(of: sequences.keys[index]))
            }, targets: seat.targets)
    }

    private func report(_ id: ReplicaID) -> WorkerReport.Replica? {
        guard let hold = holds[id] else { return nil }
        return WorkerReport.Replica(
            assignment: hold.assignment, isReady: hold.ready,
            sequences: hold.sequences.indices.map { index in
                let open = hold.sequences[at: index]
                return WorkerReport.Place(
                    sequence: hold.sequences.keys[index], cells: open.cells, watermark: open.watermark,
                    ticket: open.ticket)
            })
    }

    // MARK: Records

    /// The longest that any order has brought.
    mutating func note(_ record: SequenceRecord) {
        guard let index = records.index(of: record.id) else {
            forgetRecords()
            records.insert(record, for: record.id)
            return
        }
        if records[at: index].outputs.count < record.outputs.count { records[at: index] = record }
    }

    /// Drops the records of sequences that went with an engine, when there are many.
    private mutating func forgetRecords() {
        let open = seats.reduce(0) { $0 + $1.sequences.count } + holds.values.reduce(0) { $0 + $1.sequences.count }
        guard records.count > 2 * open + 64 else { return }
        for id in records.keys where keeper(of: id) == nil { records.remove(id) }
    }

    mutating func ended(_ sequence: SequenceID, outputs: [TokenID], _ reason: FinishReason, keep: TimeSpan) {
        guard var record = records[sequence] else { return }
        record.outputs = outputs
        endings.removeAll { $0.until < now }
        endings.append(Ending(record: record, reason: reason, until: now + keep))
        var tokens = endings.reduce(0) { $0 + $1.record.knownCount }
        while endings.count > Self.endingsMax || tokens > Self.endingTokensMax {
            tokens -= endings.removeFirst().record.knownCount
        }
    }
}
