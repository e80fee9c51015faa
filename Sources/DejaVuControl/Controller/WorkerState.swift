import DejaVuCore
import DejaVuKV

/// A living worker as the controller sees it.
struct WorkerState: Hashable {
    /// A stage that it runs, or is to run.
    struct Seat: Hashable {
        let stage: Int
        let layers: Int
        /// Of the engine that it has, or loads, because it was told to; 0 before.
        var cellCount = 0
        /// Those of them that are on the device at one time.
        var residentCount = 0
        /// Since when an answer to `.assign` is due.
        var since: Instant?
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

    let hello: WorkerHello
    var lastHeard: Instant
    /// The last progress counter that it reported, and when that was news.
    var progress: UInt64 = 0
    var progressAt: Instant
    /// The same of what it loads.
    var loading: UInt64 = 0
    var loadingAt: Instant
    /// The last count that it reported.
    var rewriteMismatches: UInt64 = 0
    /// Whose stages it runs; of no matter without any.
    var pipeline = 0
    /// In the order in which it got them.
    var seats: [Seat] = []
    /// Never of a stage that it runs. In the order in which it got them.
    var holds: [Hold] = []
    /// How many answers to `.release` are due, and since when one of them at least.
    var releasesDue = 0
    var releasesSince: Instant
    /// The longest of its recent passes; decays slowly.
    var computedMax = TimeSpan.zero
    var restUntil: Instant?
    /// Whether it is to end as soon as others have its stages.
    var leaving = false
    /// Whether it has been told so.
    var toldToEnd = false
    var loadFailures = 0
    var error: String?
    /// The pass that it must have been running when the last epoch ended; nil once it has answered in a new one.
    var suspect: PipelineState.Flight?
    /// What it last said of its emulated device.
    var emulation: EmulationUsage?
    /// What it last said of its copies between the device and the memory below; nil if it has none.
    var swap: SwapUsage?

    init(hello: WorkerHello, now: Instant) {
        self.hello = hello
        lastHeard = now
        progressAt = now
        loadingAt = now
        releasesSince = now
    }

    /// How many cells of so many layers its memory holds, the one below its device included.
    func cellCapacity(layers: Int) -> Int { cellCapacity(layers: layers, bytes: hello.kvBytesMax) }

    /// How many of them its device holds at one time.
    func residentCapacity(layers: Int) -> Int {
        cellCapacity(layers: layers, bytes: min(hello.deviceBytesMax, hello.kvBytesMax))
    }

    private func cellCapacity(layers: Int, bytes: Int) -> Int {
        KVShape(bytesPerPositionAndLayer: hello.kvBytesPerPositionAndLayer, layerCount: layers)
            .cellCount(inBytes: bytes)
    }

    /// Whether it has memory below its device. Without any it keeps on it whatever it is given.
    private var swaps: Bool { hello.deviceBytesMax < hello.kvBytesMax }

    /// How many cells its memory has for all the stages that it runs.
    var cellCapacity: Int {
        // Each stage but one may take a whole device's worth beside what lies below.
        let (devices, overflow) = hello.deviceBytesMax.multipliedReportingOverflow(by: max(seats.count - 1, 0))
        let more = swaps ? max(0, hello.replicaBytesMax - (overflow ? .max : devices)) : hello.replicaBytesMax
        return cellCapacity(bytes: hello.kvBytesMax, beside: more)
    }
    /// The same without the memory below its device.
    var residentCapacity: Int {
        cellCapacity(bytes: min(hello.deviceBytesMax, hello.kvBytesMax), beside: hello.replicaBytesMax)
    }

    /// - Parameter more: bytes that several stages may take besides.
    private func cellCapacity(bytes: Int, beside more: Int) -> Int {
        let layers = seats.reduce(0) { $0 + $1.layers }
        guard seats.count > 1 else { return cellCapacity(layers: layers, bytes: bytes) }
        let (total, overflow) = bytes.addingReportingOverflow(more)
        return cellCapacity(layers: layers, bytes: overflow ? .max : total)
    }

    func bytes(cells: Int, layers: Int) -> Int {
        KVShape(bytesPerPositionAndLayer: hello.kvBytesPerPositionAndLayer, layerCount: layers).bytes(ofCells: cells)
    }

    /// What it holds for others, with what it runs beyond the memory that it has for stages of its own.
    var replicaBytes: Int {
        let onDevice = seats.reduce(0) {
            $0 + bytes(cells: swaps ? $1.residentCount : $1.cellCount, layers: $1.layers)
        }
        let below = seats.filter { swaps && $0.residentCount < $0.cellCount }.reduce(0) {
            $0 + bytes(cells: $1.cellCount, layers: $1.layers)
        }
        let beyond = max(0, onDevice - min(hello.deviceBytesMax, hello.kvBytesMax)) + max(0, below - hello.kvBytesMax)
        return holds.reduce(beyond) { $0 + $1.bytes }
    }

    /// Whether it has memory for so many cells more of so many layers of a stage that it may have to take over.
    ///
    /// - Parameter resident: those of them that its device would have to hold at one time.
    func canHold(cells: Int, resident: Int, layers: Int) -> Bool {
        let held = held(cells: cells, resident: resident)
        let (total, overflow) = replicaBytes.addingReportingOverflow(bytes(cells: held, layers: layers))
        return !overflow && total <= hello.replicaBytesMax && cellCapacity(layers: layers) >= cells
            && residentCapacity(layers: layers) >= resident
    }

    /// Cells of a replica: below, and for the device of whoever takes over with it, where that is memory of its own.
    func held(cells: Int, resident: Int) -> Int { cells + (swaps && resident < cells ? resident : 0) }

    var isFree: Bool { seats.isEmpty }
    /// Whether it may get something to run or to hold.
    var isWilling: Bool { restUntil == nil && !leaving }
    func runs(_ pipeline: Int, _ stage: Int) -> Bool {
        self.pipeline == pipeline && seats.contains { $0.stage == stage }
    }
    var assigningSince: Instant? { seats.compactMap(\.since).min() }

    /// - Returns: whether it had that stage.
    @discardableResult
    mutating func leave(_ stage: Int) -> Bool {
        guard let index = seats.firstIndex(where: { $0.stage == stage }) else { return false }
        seats.remove(at: index)
        return true
    }

    mutating func change(_ stage: Int, _ body: (inout Seat) -> Void) {
        if let index = seats.firstIndex(where: { $0.stage == stage }) { body(&seats[index]) }
    }

    /// The controller itself was late by so much: nobody else is to blame for that time.
    mutating func shift(by late: TimeSpan, now: Instant) {
        lastHeard = min(lastHeard + late, now)
        progressAt = min(progressAt + late, now)
        loadingAt = min(loadingAt + late, now)
        for index in seats.indices { seats[index].since = seats[index].since.map { min($0 + late, now) } }
        releasesSince = min(releasesSince + late, now)
        for index in holds.indices { holds[index].since = holds[index].since.map { min($0 + late, now) } }
    }

    mutating func computed(_ time: TimeSpan) {
        computedMax = max(time, TimeSpan(nanoseconds: computedMax.nanoseconds / 64 * 63))
    }
}
