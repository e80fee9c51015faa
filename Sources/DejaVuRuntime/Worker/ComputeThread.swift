import CLinux
import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuKV
import Glibc
import NIOCore
import Synchronization

/// What the compute thread is told, in the order in which it does it.
enum ComputeOrder: Sendable {
    case load(EngineID, StageAssignment)
    case unload(EngineID)
    case open(EngineID, SequenceRecord, cells: CellRun, Ticket)
    case adopt(EngineID, SequenceRecord, Ticket)
    case share(EngineID, Ticket)
    case release(EngineID, SequenceID)
    case releaseLanded(EngineID, SequenceID)
    case run(EngineID, Pass, rows: ByteBuffer?)
    /// With who is to be told of frames that land there.
    case loadReplica(ReplicaAssignment, landed: @Sendable (SequenceMark) -> Void)
    case dropReplica(ReplicaID)
    case openReplica(ReplicaID, SequenceRecord, cells: CellRun, Ticket)
    case releaseReplica(ReplicaID, SequenceID)
    case promote(ReplicaID, EngineID)
    /// From its own loader: what was to be loaded is there, or is not.
    case made(EngineLoad, MadeEngine)
}

/// What the compute thread says.
enum ComputeReport: Sendable {
    case loaded(EngineID, StageAssignment, StageStore)
    case loadFailed(EngineID, StageAssignment, DejaVuError)
    /// The controller has to learn of it from the pass that follows.
    case openFailed(SequenceID, DejaVuError)
    case hidden(PassID, ByteBuffer, computed: TimeSpan, idleBefore: TimeSpan)
    case sampled(PassID, [SampledToken], computed: TimeSpan, idleBefore: TimeSpan)
    case failed(PassID, DejaVuError)
    /// What a pass has added could not be kept; its stage runs no other.
    case notKept(PassID, DejaVuError)
    case replicaLoaded(ReplicaAssignment, StageStore)
    case replicaLoadFailed(ReplicaID, DejaVuError)
    case replicaOpened(ReplicaID, SequenceID)
    case replicaReleased(ReplicaID, SequenceID)
    case promoted(EngineID, ReplicaAssignment, StageStore, [SequenceMark])
    case landedReleased(EngineID, SequenceID)
    case shared(EngineID, SequenceID, ticket: UInt64, watermark: Int)
}

/// The one thread of a worker that computes. It owns the engines: once they are made no other thread touches them.
final class ComputeThread: Sendable {
    private struct State {
        var orders: [ComputeOrder] = []
        var stopping = false
    }
    /// Every engine has one, which it raises with every layer that it loads or computes.
    private struct Counters {
        var loading: ProgressCounter?
        var loaded: UInt64 = 0
        var computing: [ProgressCounter] = []
    }

    // ThreadSanitizer reports races on this one. There are none: it does not see a contended `Mutex` being taken, which
    // happens in the kernel, below a library that it has not instrumented. It reports the same of a lone counter that
    // two threads raise in a `Mutex`, whose sum comes out right, and nothing once a pthread mutex guards that counter.
    private let state = Mutex(State())
    private let wakeUp = WakeUp()
    private let computing = Atomic<Bool>(false)
    private let ended = Atomic<Bool>(false)
    private let mismatches = Atomic<UInt64>(0)
    private let passes = ProgressCounter()
    private let counters = Mutex(Counters())
    let tracer = WorkerTracer()
    /// See `WorkerOptions.poisonToken`.
    let poison: TokenID?

    init(poison: TokenID?) { self.poison = poison }

    /// Whether a pass is running.
    var isBusy: Bool { computing.load(ordering: .relaxed) }
    /// See `StageEngine.rewriteMismatchCount`; over all engines of this thread.
    var rewriteMismatchCount: UInt64 { mismatches.load(ordering: .relaxed) }
    /// Whether nothing runs any more, what loads beside it included.
    var hasEnded: Bool { ended.load(ordering: .acquiring) && counters.withLock { $0.loading == nil } }
    /// See `WorkerHeartbeat`.
    var progress: UInt64 { counters.withLock { $0.computing.reduce(passes.value) { $0 &+ $1.value } } }
    var loadProgress: UInt64 { counters.withLock { $0.loaded &+ ($0.loading?.value ?? 0) } }

    /// - Parameter report: called on the compute thread.
    /// - Throws: `.resourceExhausted` if there is no thread.
    func start(
        makeEngine: @escaping EngineFactory, report: @escaping @Sendable (ComputeReport) -> Void
    ) throws(DejaVuError) {
        // ggml keeps large arrays on the stack.
        try OSThread.start("compute", stackBytes: 8 << 20) {
            // Emulated devices must wake up in time.
            WakeUp.makeTimely()
            var loop = ComputeLoop(thread: self, makeEngine: makeEngine, report: report)
            while let orders = self.nextOrders() {
                for order in orders { loop.obey(order) }
            }
            loop.dropEngines()
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

    func passEnded() { passes.advance() }
    func compute(with counters: [ProgressCounter]) { self.counters.withLock { $0.computing = counters } }
    func loadBegins(_ counter: ProgressCounter) { counters.withLock { $0.loading = counter } }
    func loadEnds() {
        counters.withLock {
            $0.loaded &+= 1 &+ ($0.loading?.value ?? 0)
            $0.loading = nil
        }
    }

    var isStopping: Bool { state.withLock { $0.stopping } }
    func countMismatches(_ count: UInt64) { mismatches.wrappingAdd(count, ordering: .relaxed) }
    func setBusy(_ busy: Bool) { computing.store(busy, ordering: .relaxed) }
}
