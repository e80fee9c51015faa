public import DejaVuCore
import NIOPosix

/// For programs that have no event loops of their own: links live on the library's.
extension LinkTransport {
    /// Opens a link for frames to a process that listens for them.
    public static func connect(
        to address: LinkAddress, as endpoint: LinkEndpoint, serving server: StoreServer? = nil
    ) async throws(DejaVuError) -> PeerTransport {
        try await connect(
            to: address, as: endpoint, serving: server, on: MultiThreadedEventLoopGroup.singleton.next())
    }

    /// Waits for peers that want to send frames, or to read.
    public static func listen(
        at address: LinkAddress, as endpoint: LinkEndpoint, serving server: StoreServer,
        opened: @escaping @Sendable (PeerTransport) -> Void = { _ in },
        refused: @escaping @Sendable (DejaVuError) -> Void
    ) async throws(DejaVuError) -> LinkListener {
        try await listen(
            at: address, as: endpoint, serving: server, on: MultiThreadedEventLoopGroup.singleton.next(),
            opened: opened, refused: refused)
    }
}
