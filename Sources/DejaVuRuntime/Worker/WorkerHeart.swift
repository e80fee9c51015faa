import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuLib
import Logging
import NIOCore

/// A worker's heart: beats over a link and a thread of its own, so that nothing that its loops or its compute thread do
/// delays a beat. It belongs to one link to a controller and ends with it.
struct WorkerHeart: Sendable {
    private let sender: HeartbeatSender

    /// Begins to beat as soon as the controller can be reached there.
    ///
    /// - Precondition: called on the worker's loop.
    init(to address: LinkAddress, under term: Term, of core: WorkerCore) {
        let identity = core.identity
        let endpoint = LinkEndpoint(
            key: core.options.key, limits: core.options.linkLimits, security: core.security,
            judge: { peer in
                peer.role == .controller && peer.term == term
                    ? nil : DejaVuError(.refused, "\(peer) is not the controller that this heart beats for")
            },
            identity: { identity })
        let (compute, meter, swap, logger) = (core.compute, core.meter, core.swap, core.logger)
        sender = HeartbeatSender(to: address, as: endpoint, every: core.options.heartbeatInterval) {
            WorkerBeat(term: term, heartbeat: Self.sign(compute, meter, swap)).content
        } report: { event in
            switch event {
            case .opened: break
            case .ended(let end): logger.debug("the heartbeats' link is gone", metadata: ["reason": "\(end)"])
            case .failed(let error): logger.debug("no link for heartbeats", metadata: ["error": "\(error)"])
            }
        }
        sender.start()
    }

    /// What a worker says of itself. May be called on any thread.
    static func sign(
        _ compute: ComputeThread, _ meter: EmulationMeter?, _ swap: SwapMeter?
    ) -> WorkerHeartbeat {
        WorkerHeartbeat(
            progress: compute.progress, loading: compute.loadProgress, busy: compute.isBusy,
            rewriteMismatches: compute.rewriteMismatchCount, emulation: meter?.usage, swap: swap?.usage)
    }

    /// Whether beats have a link at the moment.
    var isBeating: Bool { sender.isBeating }

    func end(_ reason: String) { sender.end(reason) }
}
