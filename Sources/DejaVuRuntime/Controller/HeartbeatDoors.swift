import DejaVuControl
import DejaVuCore
import DejaVuLib
import Logging
import NIOCore

/// Where the hearts of all workers beat to. Each address has a thread of its own, which does nothing but hear beats and
/// bring them to the controller's loop; what follows from silence is decided there.
final class HeartbeatDoors: Sendable {
    /// For workers of this machine.
    let local: LinkAddress
    /// For those of others, if they can join; any free port.
    let cluster: LinkAddress?
    private let listeners: [HeartbeatListener]

    private init(_ listeners: [HeartbeatListener]) {
        self.listeners = listeners
        local = listeners[0].address
        cluster = listeners.count > 1 ? listeners[1].address : nil
    }

    /// - Parameter endpoint: as for the links over which workers are commanded.
    /// - Throws: `.network` if an address cannot be bound. Nothing is left behind then.
    static func open(
        in directory: StateDirectory, cluster: LinkAddress?, as endpoint: LinkEndpoint,
        core: NIOLoopBound<ControllerCore>, _ logger: Logger
    ) async throws(DejaVuError) -> HeartbeatDoors {
        var addresses = [LinkAddress.unix(path: directory.socketDirectory + "/heartbeats.sock")]
        if case .tcp(let host, _) = cluster { addresses.append(.tcp(host: host, port: 0)) }
        var listeners: [HeartbeatListener] = []
        for address in addresses {
            do throws(DejaVuError) {
                listeners.append(
                    try await HeartbeatListener.listen(at: address, as: endpoint) { peer, event in
                        guard case .beat(let content) = event else { return }
                        Self.heard(content, from: peer, core, logger)
                    } refused: { error in
                        logger.warning("a heart was turned away", metadata: ["error": "\(error)"])
                    })
            } catch {
                for listener in listeners { await listener.close() }
                throw error
            }
        }
        return HeartbeatDoors(listeners)
    }

    private static func heard(
        _ content: ByteBuffer, from peer: LinkIdentity, _ core: NIOLoopBound<ControllerCore>, _ logger: Logger
    ) {
        do throws(DejaVuError) {
            let beat = try WorkerBeat(content)
            core.eventLoop.execute { core.value.heard(beat, from: peer.incarnation) }
        } catch {
            logger.error("a heartbeat makes no sense", metadata: ["name": "\(peer.name)", "error": "\(error)"])
        }
    }

    /// Ends all links and threads.
    func close() async {
        for listener in listeners { await listener.close() }
    }
}
