import DejaVuCore
import DejaVuKV

/// Who has what of one pipeline, as reports are taken in one after the other: the freshest first, and each only if it
/// agrees with those before it.
struct RebuiltPlaces {
    struct Found {
        let stage: Int
        let worker: WorkerID
        let place: WorkerReport.Place
        /// nil for the stage's own worker.
        let replica: ReplicaID?
    }

    private(set) var cells: CellAllocator
    private(set) var runs = SortedMap<SequenceID, CellRun>()
    private(set) var found: [Found] = []

    /// Whether sequences have cells here for all that they may become, and not for a prompt alone.
    private let isHome: Bool

    init(cellCount: Int, isHome: Bool) {
        cells = CellAllocator(cellCount: cellCount)
        self.isHome = isHome
    }

    /// - Parameter records: of all sequences that were reported.
    /// - Returns: false, and changes nothing, if a sequence has other cells than elsewhere, or cells of another one.
    mutating func take(
        _ places: [WorkerReport.Place], stage: Int, worker: WorkerID, replica: ReplicaID?,
        records: SortedMap<SequenceID, Adoption.Known>, isTaken: (SequenceID) -> Bool
    ) -> Bool {
        var trial = self
        for place in places {
            guard let record = records[place.sequence]?.record, !isTaken(place.sequence), place.watermark >= 0,
                fits(place.cells, record)
            else { return false }
            if let run = trial.runs[place.sequence] {
                guard run == place.cells else { return false }
            } else {
                guard trial.cells.reserve(place.cells) else { return false }
                trial.runs.insert(place.cells, for: place.sequence)
            }
            trial.found.append(Found(stage: stage, worker: worker, place: place, replica: replica))
        }
        self = trial
        return true
    }

    private func fits(_ cells: CellRun, _ record: SequenceRecord) -> Bool {
        let most = CellRun.count(forPositions: max(1, record.positionCountMax))
        return isHome ? cells.count == most : cells.count <= most
    }
}
