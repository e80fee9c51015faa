import DejaVuControl
import DejaVuCore
import DejaVuLib
import Glibc
import Logging
import NIOCore

/// Executes what a `WorkerMachine` decides. Confined to one event loop.
final class WorkerCore {
    let options: WorkerOptions
    let model: WorkerModel
    let compute: ComputeThread
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

    var controller: ControllerConnection?
    var peers: WorkerPeers?
    private var rows: [RowsHandle: ByteBuffer] = [:]
    private var rowsBytes = 0
    private var rowsCount: UInt64 = 0

    init(
        options: WorkerOptions, model: WorkerModel, incarnation: Incarnation, security: LinkSecurity,
        compute: ComputeThread, logger: Logger, eventLoop: any EventLoop
    ) {
        self.security = security
        self.options = options
        self.model = model
        self.compute = compute
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
        peers = WorkerPeers(core: self)
        controller = ControllerConnection(core: self)
        controller?.connect()
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
        case .loaded(let assignment):
            logger.info(
                "stage loaded",
                metadata: ["layers": "\(assignment.layers)", "cells": "\(assignment.cellCount)"])
            handle(.loaded(assignment.pipeline, assignment.epoch))
        case .loadFailed(let assignment, let error):
            logger.error(
                "stage not loaded", metadata: ["layers": "\(assignment.layers)", "error": "\(error)"])
            handle(.loadFailed(assignment.pipeline, assignment.epoch, error))
        case .openFailed(let sequence, let error):
            logger.error("sequence not opened", metadata: ["sequence": "\(sequence)", "error": "\(error)"])
        case .hidden(let pass, let bytes, let computed, let idle):
            handle(.computed(pass, .hidden(keep(bytes)), computed: computed, idleBefore: idle))
        case .sampled(let pass, let tokens, let computed, let idle):
            handle(.computed(pass, .sampled(tokens), computed: computed, idleBefore: idle))
        case .failed(let pass, let error):
            logger.error("pass failed", metadata: ["pass": "\(pass)", "error": "\(error)"])
            handle(.computeFailed(pass, error))
        }
        flush()
    }

    /// Rows from the stage before.
    ///
    /// - Returns: false if the process holds as many as it may.
    func received(_ bytes: ByteBuffer, of pass: Pass, term: Term, from peer: Incarnation) -> Bool {
        guard rowsBytes + bytes.readableBytes <= options.linkLimits.unsentBytesMax else { return false }
        handle(.hidden(from: peer, term, pass, keep(bytes)))
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
        case .rejectController(let reason): controller?.close(reason)
        case .load(let assignment): compute.order(.load(assignment))
        case .connect(let peer): peers?.connect(to: peer)
        case .disconnect(let peer): peers?.disconnect(from: peer)
        case .open(let record, let cells, _): compute.order(.open(record, cells: cells))
        case .release(let sequence): compute.order(.release(sequence))
        case .compute(let pass, let handle): compute.order(.run(pass, rows: handle.map { take($0) }))
        case .forward(let peer, let term, let pass, let handle):
            peers?.write(.hidden(term, pass, rows: take(handle)), to: peer)
        case .drop(let handle): _ = take(handle)
        case .setTimer(let timer, let instant): setTimer(timer, at: instant)
        case .exit(let code, let reason): end(WorkerExit(code: code, reason: reason), farewell: reason)
        case .loadReplica(let assignment):
            handle(.replicaLoadFailed(assignment.id, DejaVuError(.unsupported, "this worker holds no replicas")))
        case .unload, .dropReplica, .openReplica, .releaseReplica, .promote, .adopt, .replicate, .endReplication: break
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
        ended?(exit)
        ended = nil
    }
}
