import DejaVuCore
import DejaVuEngine
import DejaVuKV
import Glibc
import Synchronization

/// Brings rows from the memory below to a stage's device, on a thread of its own, while passes compute.
final class SwapCopier: PassAnnouncements {
    private struct State {
        var residency: Residency
        /// Where each sequence's rows lie below.
        var cells: [SequenceID: CellRun] = [:]
        /// A copy that was decided on and not begun.
        var next: Residency.Fetch?
        var failure: DejaVuError?
        var isStopping = false
    }

    private struct Job {
        let fetch: Residency.Fetch
        let source: CellRun
    }

    private let space: SwapSpace
    private let device: any StageMemory
    private let layers: LayerRange
    private let accountedRowBytes: Int
    private let resources: SwapResources
    private let progress: ProgressCounter
    private let state: Mutex<State>
    private let work = WakeUp()
    /// For the compute thread, which is the only one that waits.
    private let arrived = WakeUp()

    /// - Throws: `.resourceExhausted` if there is no thread.
    init(
        space: SwapSpace, device: any StageMemory, deviceCellCount: Int, layers: LayerRange, accountedRowBytes: Int,
        resources: SwapResources, progress: ProgressCounter
    ) throws(DejaVuError) {
        self.space = space
        self.device = device
        self.layers = layers
        self.accountedRowBytes = accountedRowBytes
        self.resources = resources
        self.progress = progress
        state = Mutex(State(residency: Residency(cellCount: deviceCellCount)))
        try OSThread.start("swap") { [self] in copyUntilStopped() }
    }

    func stop() {
        state.withLock { $0.isStopping = true }
        work.signal()
    }

    func announce(_ pass: PassID, _ sequences: [SequenceID]) {
        state.withLock { $0.residency.announce(pass, sequences) }
        work.signal()
    }

    // MARK: The compute thread's side

    func open(_ sequence: SequenceID, cells: CellRun, committed: Int) {
        state.withLock {
            $0.cells[sequence] = cells
            $0.residency.open(sequence, cellCount: cells.count, committed: committed)
        }
    }

    func release(_ sequence: SequenceID) {
        state.withLock {
            $0.cells[sequence] = nil
            $0.residency.release(sequence)
        }
    }

    struct Places {
        /// Where the rows of the pass's sequences are, in its order.
        let runs: [CellRun]
        /// Who is not on the device any more.
        let left: [SequenceID]
    }

    /// Waits until all rows of a pass are on the device, where they stay until `end`.
    ///
    /// - Throws: what kept rows from coming, now or before.
    func begin(_ pass: PassID, _ sequences: [SequenceID]) throws(DejaVuError) -> Places {
        let start = MonotonicClock.now
        state.withLock { $0.residency.begin(pass, sequences) }
        var hasWaited = false
        while true {
            let result = state.withLock { state -> Result<Places, DejaVuError>? in
                if let failure = state.failure { return .failure(failure) }
                if state.next == nil { state.next = state.residency.nextFetch() }
                guard state.residency.isReady else { return nil }
                state.residency.run()
                return .success(
                    Places(
                        runs: sequences.compactMap { state.residency.run(of: $0) },
                        left: state.residency.takeLeft()))
            }
            work.signal()
            if let result {
                if hasWaited { resources.meter.waited(MonotonicClock.now - start) }
                return try result.get()
            }
            hasWaited = true
            arrived.wait()
        }
    }

    /// The pass is over; the memory below has its rows up to these watermarks.
    func end(_ watermarks: [(sequence: SequenceID, watermark: Int)]) {
        state.withLock { state in
            for (sequence, watermark) in watermarks { state.residency.committed(sequence, to: watermark) }
            state.residency.end()
        }
        work.signal()
    }

    /// Nothing that is below can be relied on any more: no pass begins again.
    func fail(_ error: DejaVuError) { state.withLock { $0.failure = $0.failure ?? error } }

    // MARK: The copying thread

    private func copyUntilStopped() {
        // Emulated copies must end in time.
        WakeUp.makeTimely()
        var buffer = [UInt8]()
        while let job = nextJob() {
            do throws(DejaVuError) {
                let start = MonotonicClock.now
                let bytes = try copy(job, &buffer)
                resources.meter.fetched(
                    TracedTransfer(
                        kind: .fetch, sequence: job.fetch.sequence, layers: layers,
                        positions: 0..<job.fetch.positions, bytes: bytes, writer: Incarnation(0), start: start,
                        span: MonotonicClock.now - start))
                state.withLock { $0.residency.fetched() }
            } catch {
                state.withLock { state in
                    // Cells of a sequence that was released meanwhile may be another's by now.
                    if state.residency.isFetchWanted {
                        state.failure = state.failure ?? error
                    } else {
                        state.residency.fetched()
                    }
                }
            }
            arrived.signal()
        }
    }

    private func nextJob() -> Job? {
        while true {
            let (job, isStopping, isDropped) = state.withLock { state -> (Job?, Bool, Bool) in
                if state.isStopping || state.failure != nil { return (nil, state.isStopping, false) }
                let fetch = state.next ?? state.residency.nextFetch()
                state.next = nil
                guard let fetch else { return (nil, false, false) }
                guard let source = state.cells[fetch.sequence] else {
                    // Released meanwhile: nothing is read, and its cells come free.
                    state.residency.fetched()
                    return (nil, false, true)
                }
                return (Job(fetch: fetch, source: source), false, false)
            }
            if isStopping { return nil }
            if let job { return job }
            if isDropped {
                arrived.signal()
            } else {
                work.wait()
            }
        }
    }

    /// - Returns: the bytes, as accounted for.
    private func copy(_ job: Job, _ buffer: inout [UInt8]) throws(DejaVuError) -> Int {
        let start = MonotonicClock.now
        let positions = job.fetch.positions
        let source = job.source.start..<job.source.start + positions
        let target = job.fetch.cells.start..<job.fetch.cells.start + positions
        for layer in 0..<layers.count {
            // The engine is gone, and its memory is wanted.
            if state.withLock({ $0.isStopping }) { break }
            try Self.copy(layer, source, of: space, to: target, of: device, through: &buffer)
            progress.advance()
        }
        Self.wait(until: start + .seconds(space.seconds(cells: source, accountedRowBytes: accountedRowBytes)))
        return positions * layers.count * accountedRowBytes
    }

    /// Copies rows of one layer from one memory to another.
    static func copy(
        _ layer: Int, _ source: Range<Int>, of from: any StageMemory, to target: Range<Int>, of to: any StageMemory,
        through buffer: inout [UInt8]
    ) throws(DejaVuError) {
        let size = source.count * from.rowBytes
        guard size > 0 else { return }
        if buffer.count < size { buffer = [UInt8](repeating: 0, count: size) }
        let result = buffer.withUnsafeMutableBytes { bytes -> Result<Void, DejaVuError> in
            let rows = UnsafeMutableRawBufferPointer(rebasing: bytes[..<size])
            do throws(DejaVuError) {
                try from.read(layer: layer, cells: source, into: rows)
                try to.write(layer: layer, cells: target, from: UnsafeRawBufferPointer(rows))
                return .success(())
            } catch { return .failure(error) }
        }
        try result.get()
    }

    /// Emulated machines take their time.
    static func wait(until deadline: Instant) {
        guard deadline > MonotonicClock.now else { return }
        var until = timespec(
            tv_sec: Int(deadline.nanoseconds / 1_000_000_000), tv_nsec: Int(deadline.nanoseconds % 1_000_000_000))
        while clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nil) == EINTR {}
    }
}
