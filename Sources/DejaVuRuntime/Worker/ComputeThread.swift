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

/// The one thread of a worker that computes. It owns the engines: no other thread touches them.
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
    let tracer = WorkerTracer()
    /// See `WorkerOptions.poisonToken`.
    fileprivate let poison: TokenID?

    init(poison: TokenID?) { self.poison = poison }

    /// Whether a pass is running.
    var isBusy: Bool { computing.load(ordering: .relaxed) }
    /// See `StageEngine.rewriteMismatchCount`; over all engines of this thread.
    var rewriteMismatchCount: UInt64 { mismatches.load(ordering: .relaxed) }
    var hasEnded: Bool { ended.load(ordering: .acquiring) }

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

    fileprivate var isStopping: Bool { state.withLock { $0.stopping } }
    fileprivate func countMismatches(_ count: UInt64) { mismatches.wrappingAdd(count, ordering: .relaxed) }
    fileprivate func setBusy(_ busy: Bool) { computing.store(busy, ordering: .relaxed) }
}

/// What runs on the compute thread.
private struct ComputeLoop {
    let thread: ComputeThread
    let makeEngine: EngineFactory
    let report: @Sendable (ComputeReport) -> Void
    private var stages: [EngineID: Stage] = [:]
    private var replicas: [ReplicaID: Replica] = [:]
    private var idleSince = MonotonicClock.now

    private struct Stage {
        let index: Int
        let engine: any StageEngine
        /// The stage's cells, for streams.
        let store: StageStore
    }
    private struct Replica {
        let assignment: ReplicaAssignment
        let engine: any StageEngine
        let store: StageStore
    }

    init(
        thread: ComputeThread, makeEngine: @escaping EngineFactory, report: @escaping @Sendable (ComputeReport) -> Void
    ) {
        self.thread = thread
        self.makeEngine = makeEngine
        self.report = report
    }

    mutating func dropEngines() {
        stages = [:]
        replicas = [:]
    }

    mutating func obey(_ order: ComputeOrder) {
        guard !thread.isStopping else { return }
        switch order {
        case .load(let id, let assignment): load(id, assignment)
        case .unload(let id):
            stages[id] = nil
            thread.tracer.unloaded(id)
        case .open(let id, let record, let cells, let ticket):
            reportFailure(record.id, id) { (engine, store) throws(DejaVuError) in
                try engine.open(record, cells: cells)
                try store.open(record, cells: cells, ticket: ticket)
            }
            thread.tracer.opened(record.id, in: id, positionLimit: ticket.positionLimit)
        case .adopt(let id, let record, let ticket):
            // The rows are there; the engine hears of them now.
            reportFailure(record.id, id) { (engine, store) throws(DejaVuError) in
                let (cells, watermark) = try store.adopt(record, ticket: ticket)
                try engine.open(record, cells: cells, watermark: watermark)
            }
            thread.tracer.opened(record.id, in: id, positionLimit: ticket.positionLimit)
        case .share(let id, let ticket):
            reportFailure(ticket.sequence, id) { (_, store) throws(DejaVuError) in
                let watermark = try store.share(ticket)
                report(.shared(id, ticket.sequence, ticket: ticket.number, watermark: watermark))
            }
            thread.tracer.fed(ticket.sequence, in: id)
        case .release(let id, let sequence):
            stages[id]?.engine.release(sequence)
            stages[id]?.store.release(sequence)
            thread.tracer.released(sequence, in: id)
        case .releaseLanded(let id, let sequence):
            let report = report
            guard let stage = stages[id] else { return report(.landedReleased(id, sequence)) }
            stage.engine.release(sequence)
            thread.tracer.released(sequence, in: id)
            stage.store.release(sequence) { report(.landedReleased(id, sequence)) }
        case .run(let id, let pass, let rows): run(id, pass, rows)
        case .loadReplica(let assignment, let landed): loadReplica(assignment, landed)
        case .dropReplica(let id): replicas[id] = nil
        case .openReplica(let id, let record, let cells, let ticket):
            openReplica(id, record, cells: cells, ticket)
        case .releaseReplica(let id, let sequence):
            let report = report
            guard let store = replicas[id]?.store else { return report(.replicaReleased(id, sequence)) }
            store.release(sequence) { report(.replicaReleased(id, sequence)) }
        case .promote(let id, let engine): promote(id, engine)
        }
    }

    private mutating func load(_ id: EngineID, _ assignment: StageAssignment) {
        do throws(DejaVuError) {
            let made = try makeEngine(assignment, thread.progress)
            let store = StageStore(
                name: "the stage", stage: made.stage, memory: made.memory, announcements: made.announcements,
                tracer: thread.tracer)
            stages[id] = Stage(index: assignment.stageIndex, engine: made, store: store)
            report(.loaded(id, assignment, store))
        } catch {
            report(.loadFailed(id, assignment, error))
        }
        idleSince = MonotonicClock.now
    }

    private func reportFailure(
        _ sequence: SequenceID, _ id: EngineID, _ body: (any StageEngine, StageStore) throws(DejaVuError) -> Void
    ) {
        do throws(DejaVuError) {
            guard let stage = stages[id] else {
                throw DejaVuError(.internalError, "no engine to open \(sequence) in")
            }
            try body(stage.engine, stage.store)
        } catch {
            report(.openFailed(sequence, error))
        }
    }

    // MARK: Replicas

    private mutating func loadReplica(
        _ assignment: ReplicaAssignment, _ landed: @escaping @Sendable (SequenceMark) -> Void
    ) {
        let stage = StageAssignment(
            pipeline: assignment.pipeline, epoch: Epoch(0), stageIndex: assignment.stageIndex,
            stageCount: assignment.stageCount, layers: assignment.layers, cellCount: assignment.cellCount,
            residentCellCount: assignment.residentCellCount, next: nil)
        do throws(DejaVuError) {
            let made = try makeEngine(stage, thread.progress)
            try warmUp(made)
            let store = StageStore(
                name: "\(assignment.id)", stage: made.stage, memory: made.memory, announcements: made.announcements,
                tracer: thread.tracer,
                landed: landed)
            replicas[assignment.id] = Replica(assignment: assignment, engine: made, store: store)
            report(.replicaLoaded(assignment, store))
        } catch {
            report(.replicaLoadFailed(assignment.id, error))
        }
        idleSince = MonotonicClock.now
    }

    /// Runs a pass of nobody through an engine that holds nothing yet: its weights are in memory then, and the first
    /// pass after a takeover is as fast as any.
    private func warmUp(_ engine: any StageEngine) throws(DejaVuError) {
        let record = SequenceRecord(
            id: SequenceID(.max), request: RequestID(.max), choice: 0, prompt: [TokenID](repeating: 0, count: 8),
            sampling: .greedy, outputCountMax: 1, stopTokens: [])
        guard engine.stage.cellCount >= CellRun.granularity else { return }
        try engine.open(record, cells: CellRun(start: 0, count: CellRun.granularity))
        defer { engine.release(record.id) }
        let pass = Pass(
            id: PassID(.max), pipeline: PipelineID(0), epoch: Epoch(0),
            entries: [PassEntry(sequence: record.id, first: 0, tokens: record.prompt, samples: true)])
        let hidden = [UInt8](repeating: 0, count: pass.rowCount * engine.stage.hiddenRowBytes)
        _ = try engine.run(pass, hidden: engine.stage.isFirst ? nil : hidden)
        try engine.settle()
    }

    private func openReplica(_ id: ReplicaID, _ record: SequenceRecord, cells: CellRun, _ ticket: Ticket) {
        do throws(DejaVuError) {
            guard let store = replicas[id]?.store else {
                throw DejaVuError(.internalError, "no replica \(id) to open \(record.id) in")
            }
            try store.open(record, cells: cells, ticket: ticket)
            report(.replicaOpened(id, record.id))
        } catch {
            report(.openFailed(record.id, error))
        }
    }

    private mutating func promote(_ id: ReplicaID, _ engine: EngineID) {
        // Its load has failed, and said so.
        guard let replica = replicas.removeValue(forKey: id) else { return }
        stages[engine] = Stage(
            index: replica.assignment.stageIndex, engine: replica.engine, store: replica.store)
        report(.promoted(engine, replica.assignment, replica.store, replica.store.marks))
        idleSince = MonotonicClock.now
    }

    private mutating func run(_ id: EngineID, _ pass: Pass, _ rows: ByteBuffer?) {
        let stage = stages[id]
        let engine = stage?.engine
        thread.setBusy(true)
        if let poison = thread.poison, pass.entries.contains(where: { $0.tokens.contains(poison) }) {
            kill(getpid(), SIGKILL)
        }
        let start = MonotonicClock.now
        let idle = start - idleSince
        let mismatchesBefore = engine?.rewriteMismatchCount ?? 0
        let result = Result { () throws(DejaVuError) in
            guard let engine, let store = stage?.store else {
                throw DejaVuError(.internalError, "no engine to run \(pass.id)")
            }
            for news in store.begin(pass, held: engine.watermark(of:)) {
                engine.release(news.record.id)
                try engine.open(news.record, cells: news.cells, watermark: news.watermark)
            }
            return try engine.run(pass, hidden: rows.map { [UInt8]($0.readableBytesView) })
        }
        idleSince = MonotonicClock.now
        thread.countMismatches((engine?.rewriteMismatchCount ?? 0) - mismatchesBefore)
        thread.progress.advance()
        thread.setBusy(false)
        let wait = engine?.lastWait ?? .zero
        let computed = max(idleSince - start - wait, .zero)
        let idleBefore = idle + wait
        if let stage {
            thread.tracer.ran(pass, in: id, stageIndex: stage.index, from: start + wait, to: idleSince)
        }
        switch result {
        case .success(.hidden(let bytes)):
            report(.hidden(pass.id, ByteBuffer(bytes: bytes), computed: computed, idleBefore: idleBefore))
        case .success(.sampled(let tokens)):
            report(.sampled(pass.id, tokens, computed: computed, idleBefore: idleBefore))
        case .failure(let error): return report(.failed(pass.id, error))
        }
        // The next stage does not wait for this, and no other order comes before it.
        do throws(DejaVuError) {
            try engine?.settle()
            stage?.store.committed(pass)
        } catch {
            report(.notKept(pass.id, error))
        }
    }
}
