import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuKV
import Glibc
import NIOCore

/// What runs on the compute thread.
struct ComputeLoop {
    let thread: ComputeThread
    let report: @Sendable (ComputeReport) -> Void
    private let loader: EngineLoader
    /// What is to be loaded, one after the other; the first is under way.
    private var loads: [EngineLoad] = []
    /// Whether nobody wants the first of them any more.
    private var isLoadInVain = false
    /// Replicas that are to become stages as soon as they are there.
    private var promotions: [ReplicaID: EngineID] = [:]
    private var stages: [EngineID: Stage] = [:]
    private var replicas: [ReplicaID: Replica] = [:]
    private var idleSince = MonotonicClock.now

    private struct Stage {
        let index: Int
        let loaded: LoadedEngine
        var engine: any StageEngine { loaded.engine }
        /// The stage's cells, for streams.
        var store: StageStore { loaded.store }
    }
    private struct Replica {
        let assignment: ReplicaAssignment
        let loaded: LoadedEngine
        var store: StageStore { loaded.store }
    }

    init(
        thread: ComputeThread, makeEngine: @escaping EngineFactory, report: @escaping @Sendable (ComputeReport) -> Void
    ) {
        self.thread = thread
        self.report = report
        loader = EngineLoader(thread: thread, makeEngine: makeEngine)
    }

    mutating func dropEngines() {
        stages = [:]
        replicas = [:]
    }

    mutating func obey(_ order: ComputeOrder) {
        guard !thread.isStopping else { return }
        switch order {
        case .load(let id, let assignment): load(.stage(id, assignment))
        case .made(let load, let result): made(load, result)
        case .unload(let id):
            stages[id] = nil
            stagesChanged()
            for (replica, engine) in promotions where engine == id { forget { $0.replica == replica } }
            promotions = promotions.filter { $0.value != id }
            forget { if case .stage(id, _) = $0 { true } else { false } }
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
        case .loadReplica(let assignment, let landed): load(.replica(assignment, landed: landed))
        case .dropReplica(let id):
            replicas[id] = nil
            forget { $0.replica == id }
        case .openReplica(let id, let record, let cells, let ticket):
            openReplica(id, record, cells: cells, ticket)
        case .releaseReplica(let id, let sequence):
            let report = report
            guard let store = replicas[id]?.store else { return report(.replicaReleased(id, sequence)) }
            store.release(sequence) { report(.replicaReleased(id, sequence)) }
        case .promote(let id, let engine): promote(id, engine)
        }
    }

    // MARK: Loading

    private mutating func load(_ load: EngineLoad) {
        loads.append(load)
        if loads.count == 1 { beginLoad() }
    }

    private mutating func beginLoad() {
        guard let next = loads.first else { return }
        loader.begin(next)
    }

    /// What waits is not loaded; what is under way is dropped when it is there.
    private mutating func forget(_ isUnwanted: (EngineLoad) -> Bool) {
        if let first = loads.first, isUnwanted(first) { isLoadInVain = true }
        loads = loads.prefix(1) + loads.dropFirst().filter { !isUnwanted($0) }
    }

    private mutating func made(_ load: EngineLoad, _ made: MadeEngine) {
        // One after the other, so that what is dropped has given its memory back before the next asks for some.
        loads.removeFirst()
        defer { beginLoad() }
        if isLoadInVain {
            isLoadInVain = false
            _ = made.take()
            return
        }
        switch load {
        case .stage(let id, let assignment):
            switch made.take() {
            case .success(let loaded):
                stages[id] = Stage(index: assignment.stageIndex, loaded: loaded)
                stagesChanged()
                report(.loaded(id, assignment, loaded.store))
            case .failure(let error): report(.loadFailed(id, assignment, error))
            }
            idleSince = MonotonicClock.now
        case .replica(let assignment, _):
            let begun = MonotonicClock.now
            let loaded = made.take().flatMap { loaded in
                // Here, since its threads and those of a stage would spin for each other.
                Result { () throws(DejaVuError) in try loaded.warmUp() }.map { loaded }
            }
            idleSince = idleSince + (MonotonicClock.now - begun)
            switch loaded {
            case .success(let loaded):
                replicas[assignment.id] = Replica(assignment: assignment, loaded: loaded)
                report(.replicaLoaded(assignment, loaded.store))
                if let stage = promotions.removeValue(forKey: assignment.id) { promote(assignment.id, stage) }
            case .failure(let error):
                promotions[assignment.id] = nil
                report(.replicaLoadFailed(assignment.id, error))
            }
        }
    }

    /// Heartbeats tell of what stages compute, and not of what others load.
    private func stagesChanged() { thread.compute(with: stages.values.map(\.loaded.progress)) }

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
        guard let replica = replicas.removeValue(forKey: id) else {
            // Else its load has failed, and said so.
            if loads.contains(where: { $0.replica == id }) { promotions[id] = engine }
            return
        }
        stages[engine] = Stage(index: replica.assignment.stageIndex, loaded: replica.loaded)
        stagesChanged()
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
        thread.passEnded()
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
