import DejaVuCore
import DejaVuKV

/// What a new controller has heard so far from the workers of an earlier one.
struct Adoption {
    /// A sequence as far as anybody knows it.
    struct Known {
        var record: SequenceRecord
        var ended: FinishReason?
        /// Whether two workers say what cannot both be so.
        var isDisputed = false
    }
    struct Later {
        let worker: WorkerID
        let incarnation: Incarnation
        let message: WorkerMessage
    }

    /// Who has not come yet.
    var expected: [Incarnation]
    let until: Instant
    /// Of the requests that are found.
    let deadline: Instant
    /// Who was asked and has not answered.
    var silent: [WorkerID] = []
    var reports = SortedMap<WorkerID, WorkerReport>()
    var known = SortedMap<SequenceID, Known>()
    /// What came behind a report, and is of matter once there is a placement.
    var later: [Later] = []

    static let laterMax = 1 << 16

    init(expected: [Incarnation], until: Instant, deadline: Instant) {
        self.expected = expected
        self.until = until
        self.deadline = deadline
    }

    var isComplete: Bool { expected.isEmpty && silent.isEmpty }

    /// The worker is gone. What it has said of texts is as true as before.
    mutating func forget(_ id: WorkerID) {
        silent.removeAll { $0 == id }
        reports.remove(id)
        later.removeAll { $0.worker == id }
    }

    /// Records of one sequence are prefixes of one another; the longest counts.
    mutating func note(_ record: SequenceRecord, ended: FinishReason?) {
        guard let index = known.index(of: record.id) else {
            known.insert(Known(record: record, ended: ended), for: record.id)
            return
        }
        let other = known[at: index].record
        let (long, short) = other.outputs.count < record.outputs.count ? (record, other) : (other, record)
        guard long.outputs.starts(with: short.outputs), long.isSame(as: short) else {
            known[at: index].isDisputed = true
            return
        }
        known[at: index].record = long
        if let ended { known[at: index].ended = ended }
    }
}

extension SequenceRecord {
    /// Whether two are of one sequence and differ in outputs at most.
    fileprivate func isSame(as other: SequenceRecord) -> Bool {
        request == other.request && choice == other.choice && prompt == other.prompt && sampling == other.sampling
            && outputCountMax == other.outputCountMax && stopTokens == other.stopTokens
            && choiceCount == other.choiceCount && origin == other.origin
    }
}
