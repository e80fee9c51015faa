public import DejaVuCore
import Glibc
public import NIOCore
import NIOPosix
import Synchronization

/// Waits for peers at one address and opens a link with each that passes the handshake.
public final class LinkListener: Sendable {
    /// Where peers reach it; the port is the real one if 0 was asked for.
    public let address: LinkAddress
    private let channel: any Channel

    private init(address: LinkAddress, channel: any Channel) {
        self.address = address
        self.channel = channel
    }

    /// Who is at the door, and in.
    private final class Gate: Sendable {
        private struct Counts {
            var shaking = 0
            var open = 0
        }
        private let counts = Mutex(Counts())
        private let limits: LinkLimits
        init(limits: LinkLimits) { self.limits = limits }

        func knock() -> Bool {
            counts.withLock {
                guard $0.shaking < limits.handshakeCountMax else { return false }
                $0.shaking += 1
                return true
            }
        }
        func enter() -> Bool {
            counts.withLock {
                $0.shaking -= 1
                guard $0.open < limits.linkCountMax else { return false }
                $0.open += 1
                return true
            }
        }
        func turnAway() { counts.withLock { $0.shaking -= 1 } }
        func leave() { counts.withLock { $0.open -= 1 } }
    }

    /// Listens; every link lives on the one event loop.
    ///
    /// - Parameters:
    ///   - open: called on the event loop for each new link before its first message; returns who takes its events.
    ///   - refused: told of each peer that did not get in, and why. Handles none of its bytes.
    /// - Throws: `.network` if the address cannot be bound.
    public static func listen(
        at address: LinkAddress, as endpoint: LinkEndpoint, on eventLoop: any EventLoop,
        open: @escaping @Sendable (Link) -> Link.Receiver, refused: @escaping @Sendable (DejaVuError) -> Void
    ) async throws(DejaVuError) -> LinkListener {
        let gate = Gate(limits: endpoint.limits)
        let certificate = try endpoint.security.certificate(for: address)
        let initialize: @Sendable (any Channel, SpoolPlace?) -> EventLoopFuture<Void> = { channel, place in
            channel.eventLoop.makeCompletedFuture {
                guard gate.knock() else {
                    throw DejaVuError(.resourceExhausted, "too many handshakes at once")
                }
                do {
                    let handler = Self.handler(endpoint, certificate, gate, open: open, refused: refused)
                    try endpoint.add(handler, certificate, to: channel, at: address, through: place, isClient: false)
                } catch {
                    gate.turnAway()
                    throw error
                }
            }
        }
        if case .disk(let directory) = address {
            let channel = try await SpoolDoor.listen(in: directory, on: eventLoop) {
                initialize($0, $1)
            } failed: {
                refused($0)
            }
            return LinkListener(address: address, channel: channel)
        }
        let bootstrap = ServerBootstrap(group: eventLoop)
            .serverChannelOption(.backlog, value: 64)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: address.isTCP ? 1 : 0)
            .childChannelInitializer { initialize($0, nil) }
        do {
            let channel =
                switch address {
                case .unix(let path):
                    try await bootstrap.bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true).get()
                case .tcp(let host, let port): try await bootstrap.bind(host: host, port: port).get()
                case .disk: preconditionFailure("files have no socket to bind")
                }
            return LinkListener(address: address.resolved(by: channel), channel: channel)
        } catch {
            throw DejaVuError(.network, "cannot listen at \(address): \(error)")
        }
    }

    private static func handler(
        _ endpoint: LinkEndpoint, _ certificate: LinkCertificate?, _ gate: Gate,
        open: @escaping @Sendable (Link) -> Link.Receiver,
        refused: @escaping @Sendable (DejaVuError) -> Void
    ) -> LinkHandler {
        endpoint.handler(.acceptor, certificate: certificate) { result in
            switch result {
            case .failure(let error):
                gate.turnAway()
                refused(error)
                return nil
            case .success(let link):
                guard gate.enter() else {
                    refused(DejaVuError(.resourceExhausted, "\(link.peer): no more links are taken"))
                    return nil
                }
                let receiver = open(link)
                return { event in
                    if case .closed = event { gate.leave() }
                    receiver(event)
                }
            }
        }
    }

    /// Takes no more peers; the open links stay.
    public func close() async {
        try? await channel.close()
        switch address {
        case .unix(let path): unlink(path)
        case .disk(let directory): SpoolDoor.remove(directory)
        case .tcp: break
        }
    }
}

extension LinkAddress {
    fileprivate func resolved(by channel: any Channel) -> LinkAddress {
        guard case .tcp(let host, _) = self, let port = channel.localAddress?.port else { return self }
        return .tcp(host: host, port: port)
    }
}
