import CLinux
import DejaVuControl
import DejaVuCore
import DejaVuEngine
import Glibc
import NIOCore
import Synchronization

/// What the compute thread is told, in the order in which it does it.
enum ComputeOrder: Sendable {
    case load(StageAssignment)
    case open(SequenceRecord, cells: CellRun)
    case release(SequenceID)
    case run(Pass, rows: ByteBuffer?)
}

/// What the compute thread says.
enum ComputeReport: Sendable {
    case loaded(StageAssignment)
    case loadFailed(StageAssignment, DejaVuError)
    /// The controller has to learn of it from the pass that follows.
    case openFailed(SequenceID, DejaVuError)
    case hidden(PassID, ByteBuffer, computed: TimeSpan, idleBefore: TimeSpan)
    case sampled(PassID, [SampledToken], computed: TimeSpan, idleBefore: TimeSpan)
    case failed(PassID, DejaVuError)
}

/// The one thread of a worker that computes. It owns the engine: no other thread touches it.
final class ComputeThread: Sendable {
    private struct State {
        var orders: [ComputeOrder] = []
        var stopping = false
    }

    // ThreadSanitizer reports races on this one. There are none: it does not see a contended `Mutex` being taken, which
    // happens in the kernel, below a library that it has not instrumented. It reports the same of a lone counter that
    // two threads raise in a `Mutex`, whose sum comes out right, and nothing once a pthread mutex guards that counter.
    private let state = Mutex(State())
    private let wakeUp = WakeUp()
    private let computing = Atomic<Bool>(false)
    private let ended = Atomic<Bool>(false)
    private let mismatches = Atomic<UInt64>(0)
    let progress = ProgressCounter()

    /// Whether a pass is running.
    var isBusy: Bool { computing.load(ordering: .relaxed) }
    /// See `StageEngine.rewriteMismatchCount`; over all engines of this thread.
    var rewriteMismatchCount: UInt64 { mismatches.load(ordering: .relaxed) }
    var hasEnded: Bool { ended.load(ordering: .acquiring) }

    /// - Parameters:
    ///   - cpu: bound to it if there is one.
    ///   - report: called on the compute thread.
    /// - Throws: `.resourceExhausted` if there is no thread, `.invalidArgument` if there is no such CPU.
    func start(
        cpu: Int?, makeEngine: @escaping EngineFactory, report: @escaping @Sendable (ComputeReport) -> Void
    ) throws(DejaVuError) {
        if let cpu, clinux_allowed_cpu(Int32(truncatingIfNeeded: cpu)) != Int32(truncatingIfNeeded: cpu) {
            throw DejaVuError(.invalidArgument, "this process may not run on CPU \(cpu)", subject: "cpu")
        }
        // ggml keeps large arrays on the stack.
        try OSThread.start("compute", stackBytes: 8 << 20) {
            if let cpu { try? OSThread.pin(to: cpu) }
            // Emulated devices must wake up in time.
            clinux_set_timer_slack(1000)
            var loop = ComputeLoop(thread: self, makeEngine: makeEngine, report: report)
            while let orders = self.nextOrders() {
                for order in orders { loop.obey(order) }
            }
            loop.dropEngine()
            self.ended.store(true, ordering: .releasing)
        }
    }

    func order(_ order: ComputeOrder) {
        state.withLock { $0.orders.append(order) }
        wakeUp.signal()
    }

    /// Ends the thread after the order that it is at; what is queued is not done.
    func stop() {
        state.withLock {
            $0.stopping = true
            $0.orders.removeAll()
        }
        wakeUp.signal()
    }

    /// All that is there; waits until there is something. nil to end.
    private func nextOrders() -> [ComputeOrder]? {
        while true {
            let (orders, stopping) = state.withLock { state in
                defer { state.orders = [] }
                return (state.orders, state.stopping)
            }
            if stopping { return nil }
            if !orders.isEmpty { return orders }
            wakeUp.wait()
        }
    }

    fileprivate var isStopping: Bool { state.withLock { $0.stopping } }
    fileprivate func countMismatches(_ count: UInt64) { mismatches.wrappingAdd(count, ordering: .relaxed) }
    fileprivate func setBusy(_ busy: Bool) { computing.store(busy, ordering: .relaxed) }
}

/// What runs on the compute thread.
private struct ComputeLoop {
    let thread: ComputeThread
    let makeEngine: EngineFactory
    let report: @Sendable (ComputeReport) -> Void
    private var engine: (any StageEngine)?
    private var idleSince = MonotonicClock.now

    init(
        thread: ComputeThread, makeEngine: @escaping EngineFactory, report: @escaping @Sendable (ComputeReport) -> Void
    ) {
        self.thread = thread
        self.makeEngine = makeEngine
        self.report = report
    }

    mutating func dropEngine() { engine = nil }

    mutating func obey(_ order: ComputeOrder) {
        guard !thread.isStopping else { return }
        switch order {
        case .load(let assignment):
            // The old one's memory first: both may not fit.
            engine = nil
            do throws(DejaVuError) {
                engine = try makeEngine(assignment, thread.progress)
                report(.loaded(assignment))
            } catch {
                report(.loadFailed(assignment, error))
            }
            idleSince = MonotonicClock.now
        case .open(let record, let cells):
            do throws(DejaVuError) {
                guard let engine else { throw DejaVuError(.internalError, "no engine to open \(record.id) in") }
                try engine.open(record, cells: cells)
            } catch {
                report(.openFailed(record.id, error))
            }
        case .release(let sequence): engine?.release(sequence)
        case .run(let pass, let rows): run(pass, rows)
        }
    }

    private mutating func run(_ pass: Pass, _ rows: ByteBuffer?) {
        thread.setBusy(true)
        let start = MonotonicClock.now
        let idle = start - idleSince
        let mismatchesBefore = engine?.rewriteMismatchCount ?? 0
        let result = Result { () throws(DejaVuError) in
            guard let engine else { throw DejaVuError(.internalError, "no engine to run \(pass.id)") }
            return try engine.run(pass, hidden: rows.map { [UInt8]($0.readableBytesView) })
        }
        idleSince = MonotonicClock.now
        thread.countMismatches((engine?.rewriteMismatchCount ?? 0) - mismatchesBefore)
        thread.progress.advance()
        thread.setBusy(false)
        let computed = idleSince - start
        switch result {
        case .success(.hidden(let bytes)):
            report(.hidden(pass.id, ByteBuffer(bytes: bytes), computed: computed, idleBefore: idle))
        case .success(.sampled(let tokens)):
            report(.sampled(pass.id, tokens, computed: computed, idleBefore: idle))
        case .failure(let error): report(.failed(pass.id, error))
        }
    }
}
