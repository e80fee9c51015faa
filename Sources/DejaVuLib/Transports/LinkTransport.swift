public import DejaVuCore
public import NIOCore

/// Transports over links: TCP and unix sockets, with or without TLS, and segment files on a disk.
///
/// A link for frames is one of its own: activations and control messages have theirs, and never wait behind a gigabyte
/// in the same socket.
public enum LinkTransport {
    /// Opens a link for frames to a process that listens for them.
    ///
    /// - Parameters:
    ///   - server: the stores that the peer may use over the same link.
    ///   - bytesInFlightMax: staging for what this end sends and reads.
    public static func connect(
        to address: LinkAddress, as endpoint: LinkEndpoint, serving server: StoreServer? = nil,
        on eventLoop: any EventLoop, bytesInFlightMax: Int = 256 << 20
    ) async throws(DejaVuError) -> PeerTransport {
        var endpoint = endpoint
        endpoint.limits = PeerProtocol.limits(endpoint.limits)
        let made = eventLoop.makePromise(of: PeerTransport.self)
        let connected = endpoint.connect(to: address, on: eventLoop) { link in
            let (transport, receiver) = open(link, server: server, bytesInFlightMax: bytesInFlightMax)
            made.succeed(transport)
            return receiver
        }
        connected.whenFailure { made.fail($0) }
        do { return try await made.futureResult.get() } catch {
            throw error as? DejaVuError ?? DejaVuError(.network, "cannot connect to \(address): \(error)")
        }
    }

    /// Waits for peers that want to send frames, or to read.
    ///
    /// - Parameters:
    ///   - opened: told of each peer, on the event loop, with the way back to it.
    ///   - refused: told of each peer that did not get in, and why.
    public static func listen(
        at address: LinkAddress, as endpoint: LinkEndpoint, serving server: StoreServer, on eventLoop: any EventLoop,
        bytesInFlightMax: Int = 256 << 20, opened: @escaping @Sendable (PeerTransport) -> Void = { _ in },
        refused: @escaping @Sendable (DejaVuError) -> Void
    ) async throws(DejaVuError) -> LinkListener {
        var endpoint = endpoint
        endpoint.limits = PeerProtocol.limits(endpoint.limits)
        return try await LinkListener.listen(at: address, as: endpoint, on: eventLoop) { link in
            let (transport, receiver) = open(link, server: server, bytesInFlightMax: bytesInFlightMax)
            opened(transport)
            return receiver
        } refused: {
            refused($0)
        }
    }

    private static func open(
        _ link: Link, server: StoreServer?, bytesInFlightMax: Int
    ) -> (PeerTransport, Link.Receiver) {
        let session = PeerSession(wire: link, server: server)
        var capabilities = TransportCapabilities()
        capabilities.crossesMachines = link.localHost != nil
        capabilities.isEncrypted = link.isEncrypted || link.localHost == nil
        let transport = PeerTransport(
            session, kind: link.isSpooled ? "disk" : link.localHost == nil ? "unix" : "tcp", capabilities: capabilities,
            staging: StagingPool(bytesMax: bytesInFlightMax))
        let bound = session.bound
        return (transport, { bound.value.received($0) })
    }
}
