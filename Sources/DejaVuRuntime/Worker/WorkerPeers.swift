import DejaVuControl
import DejaVuCore
import DejaVuLib
import Glibc
import Logging
import NIOCore

/// A worker's links to the stages before and after it. Confined to the worker's event loop.
final class WorkerPeers {
    private unowned let core: WorkerCore
    private(set) var listener: LinkListener?
    private var incoming: [ObjectIdentifier: Link] = [:]
    private var outgoing: [Incarnation: Outgoing] = [:]
    private var attempts = 0
    private var hasEnded = false

    private struct Outgoing {
        /// Tells this wish for a link from an earlier one for the same peer.
        let attempt: Int
        var link: Link?
    }

    /// A link that does not open is tried once more after this.
    private static let retryDelay = TimeSpan.milliseconds(100)

    init(core: WorkerCore) { self.core = core }

    private func endpoint(judge: @escaping @Sendable (LinkIdentity) -> DejaVuError?) -> LinkEndpoint {
        let bound = core.bound
        return LinkEndpoint(
            key: core.options.key, limits: core.options.linkLimits, security: core.security,
            pace: core.options.wires?.activations, judge: judge, identity: { bound.value.identity })
    }

    // MARK: The stage before

    /// Listens for other workers, once.
    ///
    /// - Parameter host: this machine's address in the cluster's network, if a port is to be opened at all.
    /// - Returns: where they reach this worker.
    func listen(at host: String?) -> EventLoopFuture<LinkAddress> {
        if let listener { return core.eventLoop.makeSucceededFuture(listener.address) }
        let address = Self.address(of: core, host: host, suffix: "")
        let bound = core.bound
        let endpoint = endpoint { peer in
            peer.role == .worker ? nil : DejaVuError(.refused, "\(peer) is no worker, but knocks where workers meet")
        }
        let loop = core.eventLoop
        return loop.makeFutureWithTask {
            try await LinkListener.listen(at: address, as: endpoint, on: loop) { link in
                bound.value.peers?.opened(link)
                return { event in bound.value.peers?.received(event, from: link) }
            } refused: { error in
                bound.value.logger.warning("a peer was turned away", metadata: ["error": "\(error)"])
            }
        }.map { listener in
            bound.value.peers?.listener = listener
            return listener.address
        }
    }

    /// Where a worker waits for others.
    ///
    /// - Parameter suffix: tells several places of one worker apart.
    static func address(of core: WorkerCore, host: String?, suffix: String) -> LinkAddress {
        switch core.options.peerListening {
        case .directory(let path): .unix(path: "\(path)/\(socketName(of: getpid(), core.incarnation, suffix))")
        case .host(let name): .tcp(host: name ?? host ?? "127.0.0.1", port: 0)
        }
    }

    /// The name of a worker's socket begins with its process id, so that it can be removed after the process.
    static func socketName(of process: Int32, _ incarnation: Incarnation, _ suffix: String) -> String {
        "peer-\(process)-\(String(incarnation.rawValue, radix: 36))\(suffix).sock"
    }

    private func opened(_ link: Link) {
        guard !hasEnded else { return link.close("this worker is ending") }
        incoming[ObjectIdentifier(link)] = link
    }

    private func received(_ event: LinkEvent, from link: Link) {
        switch event {
        case .message(let message):
            do throws(DejaVuError) {
                guard case .hidden(let term, let pass, let stage, let rows) = try Envelope(message) else {
                    throw DejaVuError(.network, "a worker does not send messages of kind \(message.kind)")
                }
                guard core.received(rows, of: pass, stageIndex: stage, term: term, from: link.peer.incarnation) else {
                    throw DejaVuError(.resourceExhausted, "too many hidden rows wait at this worker")
                }
            } catch {
                core.logger.error(
                    "a peer's message is not taken", metadata: ["peer": "\(link.peer)", "error": "\(error)"])
                link.close(error.message)
            }
        case .batchEnd: core.flush()
        case .writable, .piece: break
        case .closed: incoming[ObjectIdentifier(link)] = nil
        }
    }

    // MARK: The stage after

    func connect(to peer: PeerAddress) {
        attempts += 1
        outgoing[peer.incarnation] = Outgoing(attempt: attempts)
        connect(to: peer, attempt: attempts, retries: 1)
    }

    private func connect(to peer: PeerAddress, attempt: Int, retries: Int) {
        guard isWanted(peer.incarnation, attempt), !hasEnded else { return }
        let address: LinkAddress
        do throws(DejaVuError) { address = try LinkAddress(parsing: peer.address) } catch {
            return lost(peer.incarnation, attempt: attempt, reason: error.message)
        }
        let bound = core.bound
        let endpoint = endpoint { other in
            other.incarnation == peer.incarnation
                ? nil : DejaVuError(.refused, "\(other) is not the worker that was meant to be at \(address)")
        }
        endpoint.connect(to: address, on: core.eventLoop) { link in
            bound.value.peers?.opened(link, to: peer, attempt: attempt)
            return { event in
                guard case .closed(let end) = event else { return }
                bound.value.peers?.lost(peer.incarnation, attempt: attempt, reason: end.description)
                bound.value.flush()
            }
        }.whenFailure { error in
            let reason = (error as? DejaVuError)?.message ?? "\(error)"
            guard let peers = bound.value.peers else { return }
            if retries == 0 {
                peers.lost(peer.incarnation, attempt: attempt, reason: reason)
                bound.value.flush()
            } else {
                bound.value.eventLoop.scheduleTask(in: .nanoseconds(Self.retryDelay.nanoseconds)) {
                    bound.value.peers?.connect(to: peer, attempt: attempt, retries: retries - 1)
                }
            }
        }
    }

    private func isWanted(_ peer: Incarnation, _ attempt: Int) -> Bool { outgoing[peer]?.attempt == attempt }

    private func opened(_ link: Link, to peer: PeerAddress, attempt: Int) {
        guard isWanted(peer.incarnation, attempt), !hasEnded else { return link.close("it is not needed any more") }
        outgoing[peer.incarnation]?.link = link
        core.handle(.peerConnected(peer.incarnation))
        core.flush()
    }

    private func lost(_ peer: Incarnation, attempt: Int, reason: String) {
        guard isWanted(peer, attempt), !hasEnded else { return }
        outgoing[peer] = nil
        core.logger.warning("the link to the next stage is gone", metadata: ["reason": "\(reason)"])
        core.handle(.peerLost(peer, reason: reason))
    }

    func disconnect(from peer: Incarnation) {
        outgoing.removeValue(forKey: peer)?.link?.close("another worker is the next stage now")
    }

    func write(_ envelope: Envelope, to peer: Incarnation) {
        outgoing[peer]?.link?.write(envelope.message)
    }

    func flush() {
        for peer in outgoing.values { peer.link?.flush() }
    }

    func end(_ reason: String) {
        hasEnded = true
        for link in incoming.values { link.close(reason) }
        for peer in outgoing.values { peer.link?.close(reason) }
    }
}
