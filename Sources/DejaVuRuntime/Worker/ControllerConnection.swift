import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuLib
import Glibc
import Logging
import NIOCore

/// A worker's link to its controller: made, made again when it breaks, and the heart that beats beside it. Confined to
/// the worker's event loop.
final class ControllerConnection {
    private unowned let core: WorkerCore
    private let firstDeadline: Instant
    private let address: LinkAddress
    private var link: Link?
    private var heart: WorkerHeart?
    /// Beats over this link while the heart has none: before its own is open, or where only this one gets through.
    private var stopgap: RepeatedTask?
    private var retryDelay: TimeSpan = retryDelayMin
    private var openedAt = Instant.zero
    private var hasJoined = false
    private var hasEnded = false

    private static let retryDelayMin = TimeSpan.milliseconds(100)
    private static let retryDelayMax = TimeSpan.seconds(2)
    /// The same for one that has joined before: a controller that begins anew waits for it, and not for long.
    private static let rejoinDelayMax = TimeSpan.milliseconds(250)
    /// A link that lived so long was a good one: the next attempt comes at once.
    private static let goodLife = TimeSpan.seconds(10)

    init(core: WorkerCore) {
        self.core = core
        address = core.relayed(core.options.controller, of: .controller)
        firstDeadline = MonotonicClock.now + core.options.orphanGrace
    }

    private var bound: NIOLoopBound<WorkerCore> { core.bound }

    func connect() {
        let bound = self.bound
        let endpoint = LinkEndpoint(
            key: core.options.key, limits: core.options.linkLimits, security: core.security,
            judge: { peer in
                peer.role == .controller && peer.term != nil
                    ? nil : DejaVuError(.refused, "\(peer) is no controller, but a worker wants to join one")
            },
            identity: { bound.value.identity })
        endpoint.connect(to: address, on: core.eventLoop) { link in
            bound.value.controller?.opened(link)
            return { event in bound.value.controller?.received(event, from: link) }
        }.whenFailure { error in
            let error = error as? DejaVuError ?? DejaVuError(.network, "\(error)")
            bound.value.controller?.failed(error)
        }
    }

    private func failed(_ error: DejaVuError) {
        guard !hasEnded else { return }
        // Who holds another key or model will still do so in a second. A controller whose reign is over makes room for
        // the one that this worker obeys.
        if error.subject != "term", error.code == .refused || error.code == .mismatch {
            core.end(WorkerExit(code: 1, reason: error.message), farewell: error.message)
            return
        }
        if !hasJoined, MonotonicClock.now >= firstDeadline {
            core.end(WorkerExit(code: 1, reason: error.message), farewell: error.message)
            return
        }
        core.logger.debug("no link to the controller", metadata: ["error": "\(error)"])
        retry()
    }

    private func retry() {
        let bound = self.bound
        core.eventLoop.scheduleTask(in: .nanoseconds(retryDelay.nanoseconds)) {
            if !bound.value.hasEnded { bound.value.controller?.connect() }
        }
        retryDelay = min(retryDelay * 2, hasJoined ? Self.rejoinDelayMax : Self.retryDelayMax)
    }

    private func opened(_ link: Link) {
        guard !hasEnded, self.link == nil, let term = link.peer.term, let peers = core.peers,
            let replicas = core.replicas
        else {
            link.close("this worker has no use for the link")
            return
        }
        self.link = link
        core.compute.tracer.turnOff()
        openedAt = MonotonicClock.now
        let bound = self.bound
        peers.listen(at: link.localHost).and(replicas.listen(at: link.localHost)).whenComplete { result in
            switch result {
            case .success((let address, let bulk)):
                bound.value.controller?.join(over: link, term: term, peerAddress: address, bulkAddress: bulk)
            case .failure(let error):
                let reason = (error as? DejaVuError)?.message ?? "\(error)"
                bound.value.end(WorkerExit(code: 1, reason: reason), farewell: reason)
            }
        }
    }

    private func join(over link: Link, term: Term, peerAddress: LinkAddress, bulkAddress: LinkAddress) {
        guard !hasEnded, self.link === link else { return }
        hasJoined = true
        let model = core.model
        link.write(
            Envelope.hello(
                WorkerHello(
                    incarnation: core.incarnation, term: core.term, model: model.model,
                    peerAddress: core.relayed(peerAddress, of: .peer).description,
                    bulkAddress: core.relayed(bulkAddress, of: .bulk).description,
                    layerCount: model.layerCount,
                    kvBytesPerPositionAndLayer: model.kvBytesPerPositionAndLayer, kvBytesMax: model.kvBytesMax,
                    deviceBytesMax: model.deviceBytesMax,
                    replicaBytesMax: model.replicaBytesMax,
                    numericClass: model.numericClass, processID: getpid(),
                    processStart: ProcessIdentity.start(of: getpid()) ?? 0, name: core.options.name)
            ).message)
        core.logger.info(
            "joined the controller", metadata: ["controller": "\(core.options.controller)", "term": "\(term)"])
        core.handle(.controllerConnected(term))
        core.flush()
        let bound = self.bound
        stopgap = core.eventLoop.scheduleRepeatedTask(
            initialDelay: .zero, delay: .nanoseconds(core.options.heartbeatInterval.nanoseconds)
        ) { _ in bound.value.controller?.beat() }
    }

    private func beat() {
        sendTrace()
        guard heart?.isBeating != true else { return }
        write(.heartbeat(WorkerHeart.sign(core.compute, core.meter, core.swap)))
        flush()
    }

    /// What there is, if the controller wants to know.
    private func sendTrace() {
        guard let batch = core.compute.tracer.take(at: MonotonicClock.now) else { return }
        link?.write(Envelope.trace(batch).message)
        flush()
    }

    private func received(_ message: LinkMessage, under term: Term) throws(DejaVuError) {
        switch try Envelope(message) {
        case .control(let term, let order): core.handle(.message(term, order))
        case .heartbeats(let address):
            heart?.end("another address came")
            heart = WorkerHeart(
                to: core.relayed(try LinkAddress(parsing: address), of: .heartbeats), under: term, of: core)
        case .traceWanted: core.compute.tracer.turnOn()
        default: throw DejaVuError(.network, "a controller does not send messages of kind \(message.kind)")
        }
    }

    private func received(_ event: LinkEvent, from link: Link) {
        guard self.link === link, let term = link.peer.term else { return }
        switch event {
        case .message(let message):
            do throws(DejaVuError) { try received(message, under: term) } catch {
                core.logger.error("the controller's message makes no sense", metadata: ["error": "\(error)"])
                link.close(error.message)
            }
        case .batchEnd: core.flush()
        case .writable, .piece: break
        case .closed(let end): lost(end)
        }
    }

    private func lost(_ end: LinkEnd) {
        link = nil
        stopBeating("the link to the controller is gone")
        guard !hasEnded else { return }
        core.logger.warning("the link to the controller is gone", metadata: ["reason": "\(end)"])
        if MonotonicClock.now - openedAt >= Self.goodLife { retryDelay = Self.retryDelayMin }
        core.handle(.controllerLost(reason: end.description))
        retry()
    }

    func write(_ message: WorkerMessage) {
        guard let link, let term = core.term else { return }
        link.write(Envelope.report(term, message).message)
    }

    func flush() { link?.flush() }
    func close(_ reason: String) { link?.close(reason) }

    func end(_ reason: String) {
        hasEnded = true
        stopBeating(reason)
        link?.close(reason)
    }

    private func stopBeating(_ reason: String) {
        stopgap?.cancel()
        stopgap = nil
        heart?.end(reason)
        heart = nil
    }
}
