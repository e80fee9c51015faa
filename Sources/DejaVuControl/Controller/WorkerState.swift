import DejaVuCore
import DejaVuKV

/// A living worker as the controller sees it.
struct WorkerState: Hashable {
    /// The engine that the worker has, or loads, because it was told to.
    struct Engine: Hashable {
        var pipeline: PipelineID
        var layers: LayerRange
        var cellCount: Int
    }
    /// A replica that the worker holds, or is about to.
    struct Hold: Hashable {
        let id: ReplicaID
        let pipeline: Int
        let stage: Int
        let bytes: Int
        /// Since when an answer to `.hold` is due; nil if it is there.
        var since: Instant?
    }
    struct Place: Hashable {
        var pipeline: Int
        var stage: Int
    }

    let hello: WorkerHello
    var lastHeard: Instant
    /// The last progress counter that it reported, and when that was news.
    var progress: UInt64 = 0
    var progressAt: Instant
    /// The last count that it reported.
    var rewriteMismatches: UInt64 = 0
    var place: Place?
    var engine: Engine?
    /// Only of a worker without a place.
    var holds: [Hold] = []
    /// Since when an answer to `.assign` is due.
    var assigningSince: Instant?
    /// How many answers to `.release` are due, and since when one of them at least.
    var releasesDue = 0
    var releasesSince: Instant
    /// The longest of its recent passes; decays slowly.
    var computedMax = TimeSpan.zero
    var restUntil: Instant?
    var loadFailures = 0
    var error: String?
    /// What it last said of its emulated device.
    var emulation: EmulationUsage?

    init(hello: WorkerHello, now: Instant) {
        self.hello = hello
        lastHeard = now
        progressAt = now
        releasesSince = now
    }

    /// How many cells of so many layers its memory holds.
    func cellCapacity(layers: Int) -> Int {
        KVShape(bytesPerPositionAndLayer: hello.kvBytesPerPositionAndLayer, layerCount: layers)
            .cellCount(inBytes: hello.kvBytesMax)
    }

    /// Whether it has memory for so many cells more of so many layers of a stage that it may have to take over.
    func canHold(cells: Int, layers: Int) -> Bool {
        let bytes = KVShape(bytesPerPositionAndLayer: hello.kvBytesPerPositionAndLayer, layerCount: layers)
            .bytes(ofCells: cells)
        let (total, overflow) = holds.reduce(0) { $0 + $1.bytes }.addingReportingOverflow(bytes)
        return !overflow && total <= hello.replicaBytesMax && cellCapacity(layers: layers) >= cells
    }

    /// The controller itself was late by so much: nobody else is to blame for that time.
    mutating func shift(by late: TimeSpan, now: Instant) {
        lastHeard = min(lastHeard + late, now)
        progressAt = min(progressAt + late, now)
        assigningSince = assigningSince.map { min($0 + late, now) }
        releasesSince = min(releasesSince + late, now)
        for index in holds.indices { holds[index].since = holds[index].since.map { min($0 + late, now) } }
    }

    mutating func computed(_ time: TimeSpan) {
        computedMax = max(time, TimeSpan(nanoseconds: computedMax.nanoseconds / 64 * 63))
    }
}
