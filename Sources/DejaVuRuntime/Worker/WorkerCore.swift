import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuKV
import DejaVuLib
import Glibc
import Logging
import NIOCore

/// Executes what a `WorkerMachine` decides. Confined to one event loop.
final class WorkerCore {
    let options: WorkerOptions
    let model: WorkerModel
    let compute: ComputeThread
    /// What the engines say of themselves if they are emulated.
    let meter: EmulationMeter?
    /// What they swap; nil if they cannot.
    let swap: SwapMeter?
    let logger: Logger
    /// Of all its links.
    let security: LinkSecurity
    let eventLoop: any EventLoop
    private var machine: WorkerMachine
    private var events: [WorkerEvent] = []
    private var isHandling = false
    private var timers: [TimerID: Scheduled<Void>] = [:]
    private var ended: ((WorkerExit) -> Void)?
    private(set) var hasEnded = false

    /// In front of its links, if they are to be struck.
    private(set) var faults: LinkFaults?
    var controller: ControllerConnection?
    var peers: WorkerPeers?
    var replicas: ReplicaServer?
    /// One for each engine of a stage that copies, or could.
    var sources: [EngineID: ReplicaSource] = [:]
    private var rows: [RowsHandle: ByteBuffer] = [:]
    private var rowsBytes = 0
    private var rowsCount: UInt64 = 0

    init(
        options: WorkerOptions, model: WorkerModel, incarnation: Incarnation, security: LinkSecurity,
        compute: ComputeThread, meter: EmulationMeter?, swap: SwapMeter?, logger: Logger, eventLoop: any EventLoop
    ) {
        self.security = security
        self.options = options
        self.model = model
        self.compute = compute
        self.meter = meter
        self.swap = swap
        self.logger = logger
        self.eventLoop = eventLoop
        machine = WorkerMachine(incarnation: incarnation, orphanGrace: options.orphanGrace)
    }

    var bound: NIOLoopBound<WorkerCore> { NIOLoopBound(self, eventLoop: eventLoop) }
    var incarnation: Incarnation { machine.incarnation }
    var term: Term? { machine.term }

    var identity: LinkIdentity {
        LinkIdentity(
            role: .worker, name: options.name, incarnation: incarnation, term: machine.term, model: model.model,
            numericClass: model.numericClass)
    }

    /// - Parameter ended: called once, at the end.
    func begin(ended: @escaping (WorkerExit) -> Void) {
        self.ended = ended
        swap?.trace(to: compute.tracer)
        if let directory = options.faultDirectory {
            do throws(DejaVuError) { faults = try LinkFaults(directory: directory, logger: logger) } catch {
                return end(WorkerExit(code: 1, reason: error.message), farewell: error.message)
            }
        }
        peers = WorkerPeers(core: self)
        replicas = ReplicaServer(core: self)
        controller = ControllerConnection(core: self)
        controller?.connect()
    }

    /// Hands its stages over and ends; at once where nobody commands it.
    func drain() {
        handle(.leave)
        flush()
    }

    func leave(_ reason: String) {
        end(WorkerExit(code: 0, reason: reason), farewell: reason)
    }

    // MARK: Events

    /// Takes an event. What its actions cause at once comes after them.
    func handle(_ event: WorkerEvent) {
        events.append(event)
        guard !isHandling else { return }
        isHandling = true
        var index = 0
        while index < events.count {
            let actions = machine.handle(events[index], at: MonotonicClock.now)
            index += 1
            for action in actions { execute(action) }
        }
        events.removeAll(keepingCapacity: true)
        isHandling = false
    }

    /// Hands what was written to the kernel: at the end of whatever the loop was woken for.
    func flush() {
        controller?.flush()
        peers?.flush()
    }

    func computeReported(_ report: ComputeReport) {
        guard !hasEnded else { return }
        switch report {
        case .loaded(let engine, let assignment, let store):
            if machine.knows(engine) { sources[engine] = ReplicaSource(core: self, engine, store) }
            logger.info(
                "stage loaded",
                metadata: ["layers": "\(assignment.layers)", "cells": "\(assignment.cellCount)"])
            handle(.loaded(engine))
        case .loadFailed(let engine, let assignment, let error):
            logger.error(
                "stage not loaded", metadata: ["layers": "\(assignment.layers)", "error": "\(error)"])
            handle(.loadFailed(engine, error))
        case .openFailed(let sequence, let error):
            logger.error("sequence not opened", metadata: ["sequence": "\(sequence)", "error": "\(error)"])
        case .hidden(let pass, let bytes, let computed, let idle):
            handle(.computed(pass, .hidden(keep(bytes)), computed: computed, idleBefore: idle))
        case .sampled(let pass, let tokens, let computed, let idle):
            handle(.computed(pass, .sampled(tokens), computed: computed, idleBefore: idle))
        case .failed(let pass, let error):
            logger.error("pass failed", metadata: ["pass": "\(pass)", "error": "\(error)"])
            handle(.computeFailed(pass, error))
        case .notKept(let pass, let error):
            logger.error("rows not kept", metadata: ["pass": "\(pass)", "error": "\(error)"])
        default: replicaReported(report)
        }
        flush()
    }

    private func replicaReported(_ report: ComputeReport) {
        switch report {
        case .replicaLoaded(let assignment, let store):
            logger.info("replica made", metadata: ["layers": "\(assignment.layers)", "id": "\(assignment.id)"])
            if machine.heldReplicas.contains(assignment.id) { replicas?.offer(store, assignment) }
            handle(.replicaLoaded(assignment.id))
        case .replicaLoadFailed(let id, let error):
            logger.error("replica not made", metadata: ["id": "\(id)", "error": "\(error)"])
            handle(.replicaLoadFailed(id, error))
        case .replicaOpened(let id, let sequence):
            handle(.landed(id, [SequenceMark(sequence: sequence, watermark: 0)]))
        case .replicaReleased(let id, let sequence): handle(.replicaReleased(id, sequence))
        case .promoted(let engine, let assignment, let store, let marks):
            logger.notice(
                "replica taken over", metadata: ["layers": "\(assignment.layers)", "sequences": "\(marks.count)"])
            replicas?.withdraw(assignment.id)
            if machine.knows(engine) { sources[engine] = ReplicaSource(core: self, engine, store) }
            handle(.promoted(assignment.id, marks))
        case .landedReleased(let engine, let sequence): handle(.landedReleased(engine, sequence))
        case .shared(let engine, let sequence, let ticket, let watermark):
            handle(.shared(engine, sequence, ticket: ticket, watermark: watermark))
        default: preconditionFailure("a report that is not of a replica")
        }
    }

    /// Rows from the stage before.
    ///
    /// - Returns: false if the process holds as many as it may.
    func received(
        _ bytes: ByteBuffer, of pass: Pass, stageIndex: Int, term: Term, from peer: Incarnation
    ) -> Bool {
        guard rowsBytes + bytes.readableBytes <= options.linkLimits.unsentBytesMax else { return false }
        handle(.hidden(from: peer, term, pass, stageIndex: stageIndex, keep(bytes)))
        return true
    }

    private func keep(_ bytes: ByteBuffer) -> RowsHandle {
        rowsCount += 1
        rows[RowsHandle(rowsCount)] = bytes
        rowsBytes += bytes.readableBytes
        return RowsHandle(rowsCount)
    }

    private func take(_ handle: RowsHandle) -> ByteBuffer {
        guard let bytes = rows.removeValue(forKey: handle) else {
            preconditionFailure("the rows \(handle.rawValue) were used before")
        }
        rowsBytes -= bytes.readableBytes
        return bytes
    }

    // MARK: Actions

    private func execute(_ action: WorkerAction) {
        switch action {
        case .send(let message): controller?.write(message)
        case .sendRecord(let record, let keeper): controller?.write(.record(known(record, to: keeper), ended: nil))
        case .rejectController(let reason): controller?.close(reason)
        case .load(let engine, let assignment): compute.order(.load(engine, assignment))
        case .connect(let peer): peers?.connect(to: peer)
        case .disconnect(let peer): peers?.disconnect(from: peer)
        case .open(let engine, let record, let cells, let ticket):
            compute.order(.open(engine, record, cells: cells, ticket))
        case .release(let engine, let sequence):
            sources[engine]?.release(sequence)
            compute.order(.release(engine, sequence))
        case .compute(let engine, let pass, let handle):
            compute.order(.run(engine, pass, rows: handle.map { take($0) }))
        case .forward(let peer, let term, let pass, let stage, let handle):
            peers?.write(.hidden(term, pass, stageIndex: stage, rows: take(handle)), to: peer)
        case .drop(let handle): _ = take(handle)
        case .announce(let engine, let pass, let sequences):
            sources[engine]?.store.announcements?.announce(pass, sequences)
        case .setTimer(let timer, let instant): setTimer(timer, at: instant)
        case .exit(let code, let reason): end(WorkerExit(code: code, reason: reason), farewell: reason)
        default: executeForReplica(action)
        }
    }

    /// A record with the outputs that passes and frames have brought.
    private func known(_ record: SequenceRecord, to keeper: RecordKeeper) -> SequenceRecord {
        let store =
            switch keeper {
            case .stage(let engine): sources[engine]?.store
            case .replica(let replica): replicas?.store(of: replica)
            }
        guard let tokens = store?.knownTokens(of: record.id), tokens.count > record.knownCount else { return record }
        var record = record
        record.outputs = Array(tokens[record.prompt.count...])
        return record
    }

    private func executeForReplica(_ action: WorkerAction) {
        switch action {
        case .unload(let engine):
            sources.removeValue(forKey: engine)?.end()
            replicas?.withdraw(engine)
            compute.order(.unload(engine))
        case .loadReplica(let assignment):
            guard let replicas else { return }
            compute.order(.loadReplica(assignment, landed: replicas.landed(assignment.id)))
        case .dropReplica(let id):
            replicas?.withdraw(id)
            compute.order(.dropReplica(id))
        case .openReplica(let id, let record, let cells, let ticket):
            compute.order(.openReplica(id, record, cells: cells, ticket))
        case .releaseReplica(let id, let sequence): compute.order(.releaseReplica(id, sequence))
        case .promote(let id, let engine): compute.order(.promote(id, engine))
        case .releaseLanded(let engine, let sequence):
            sources[engine]?.release(sequence)
            compute.order(.releaseLanded(engine, sequence))
        case .adopt(let engine, let record, let ticket): compute.order(.adopt(engine, record, ticket))
        case .replicate(let engine, let sequence, let ticket, let target):
            sources[engine]?.replicate(sequence, ticket, to: target)
        case .endReplication(let engine, let target): sources[engine]?.endReplication(to: target)
        case .share(let engine, let ticket, let pipeline, let layers):
            if let store = sources[engine]?.store { replicas?.offer(store, of: engine, pipeline, layers) }
            compute.order(.share(engine, ticket))
        default: preconditionFailure("an action that is not about replicas")
        }
    }

    private func setTimer(_ timer: TimerID, at instant: Instant) {
        let bound = self.bound
        timers[timer]?.cancel()
        timers[timer] = eventLoop.scheduleTask(deadline: NIODeadline(instant)) {
            let core = bound.value
            core.timers[timer] = nil
            core.handle(.timer(timer))
            core.flush()
        }
    }

    func end(_ exit: WorkerExit, farewell: String) {
        guard !hasEnded else { return }
        hasEnded = true
        for timer in timers.values { timer.cancel() }
        flush()
        controller?.end(farewell)
        peers?.end(farewell)
        for source in sources.values { source.end() }
        faults?.end()
        ended?(exit)
        ended = nil
    }
}
