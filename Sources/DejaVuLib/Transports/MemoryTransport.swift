public import DejaVuCore
public import NIOCore
import NIOPosix

/// Two sessions in one process that hand each other's buffers over.
public enum MemoryTransport {
    /// Joins two ends.
    ///
    /// - Parameters:
    ///   - left: who the first end is, as the second sees it, and the stores that it offers.
    ///   - loops: where each end works; two loops keep them from waiting for each other.
    /// - Returns: the first end's way to the second, and the second's to the first.
    /// - Throws: `.mismatch` or `.refused` if the two must not work together.
    public static func join(
        _ left: (identity: LinkIdentity, server: StoreServer?), _ right: (identity: LinkIdentity, server: StoreServer?),
        on loops: (any EventLoop, any EventLoop), bytesInFlightMax: Int = 256 << 20
    ) async throws(DejaVuError) -> (PeerTransport, PeerTransport) {
        if let error = left.identity.mismatch(with: right.identity) { throw error }
        let pipes = (MemoryPipe(loops.0), MemoryPipe(loops.1))
        let first = await end(right.identity, left.server, from: pipes.0, to: pipes.1, bytesInFlightMax)
        let second = await end(left.identity, right.server, from: pipes.1, to: pipes.0, bytesInFlightMax)
        return (first, second)
    }

    private static func end(
        _ peer: LinkIdentity, _ server: StoreServer?, from pipe: MemoryPipe, to other: MemoryPipe, _ bytesMax: Int
    ) async -> PeerTransport {
        await withCheckedContinuation { continuation in
            pipe.loop.execute {
                let session = PeerSession(
                    wire: MemoryWire(peer: peer, incoming: pipe, outgoing: other), server: server)
                var capabilities = TransportCapabilities()
                capabilities.isSameProcess = true
                capabilities.isEncrypted = true
                let transport = PeerTransport(
                    session, kind: "memory", capabilities: capabilities, staging: StagingPool(bytesMax: bytesMax))
                pipe.open { session.received($0) }
                continuation.resume(returning: transport)
            }
        }
    }
}

/// What comes in at one end of a memory transport. Confined to that end's loop.
private final class MemoryPipe: Sendable {
    private struct Content {
        var receiver: ((LinkEvent) -> Void)?
        /// What came before there was a receiver.
        var early: [LinkEvent] = []
        var hasEnded = false
    }

    let loop: any EventLoop
    private let content: NIOLoopBoundBox<Content>

    init(_ loop: any EventLoop) {
        self.loop = loop
        content = NIOLoopBoundBox.makeBoxSendingValue(Content(), eventLoop: loop)
    }

    func open(_ receiver: @escaping (LinkEvent) -> Void) {
        content.value.receiver = receiver
        let early = content.value.early
        content.value.early = []
        for event in early { tell(event) }
    }

    func tell(_ event: LinkEvent) {
        guard !content.value.hasEnded else { return }
        guard let receiver = content.value.receiver else { return content.value.early.append(event) }
        if case .closed = event { content.value.hasEnded = true }
        receiver(event)
    }

    func deliver(_ messages: [LinkMessage]) {
        for message in messages { tell(Self.event(of: message)) }
        tell(.batchEnd)
    }

    private static func event(of message: LinkMessage) -> LinkEvent {
        guard message.kind >= PeerProtocol.Kind.chunk else { return .message(message) }
        return .piece(
            LinkPiece(
                kind: message.kind, header: message.header, bytes: message.payload, offset: 0,
                total: message.payload.readableBytes))
    }
}

private final class MemoryWire: PeerWire, @unchecked Sendable {
    // Unchecked because it is confined to the loop of its own end; only `eventLoop` and `peer` are read elsewhere.
    let peer: LinkIdentity
    private let incoming: MemoryPipe
    private let outgoing: MemoryPipe
    private var batch: [LinkMessage] = []
    private var unsentBytes = 0
    private var isClosed = false

    init(peer: LinkIdentity, incoming: MemoryPipe, outgoing: MemoryPipe) {
        self.peer = peer
        self.incoming = incoming
        self.outgoing = outgoing
    }

    var eventLoop: any EventLoop { incoming.loop }
    var isWritable: Bool { unsentBytes < 2 * PeerProtocol.chunkBytesMax }

    func write(_ message: LinkMessage) {
        guard !isClosed else { return }
        batch.append(message)
        unsentBytes += message.wireBytes
    }

    func flush() {
        guard !batch.isEmpty, !isClosed else { return }
        let messages = batch
        batch = []
        let bytes = messages.reduce(0) { $0 + $1.wireBytes }
        let (incoming, outgoing) = (self.incoming, self.outgoing)
        outgoing.loop.execute {
            outgoing.deliver(messages)
            incoming.loop.execute { self.taken(bytes) }
        }
    }

    private func taken(_ bytes: Int) {
        let wasWritable = isWritable
        unsentBytes -= bytes
        if isWritable, !wasWritable { incoming.tell(.writable(true)) }
    }

    func close(_ reason: String) {
        guard !isClosed else { return }
        flush()
        isClosed = true
        let (incoming, outgoing) = (self.incoming, self.outgoing)
        let error = DejaVuError(.unavailable, "the peer closed: \(printable(reason, bytesMax: 1024))")
        outgoing.loop.execute { outgoing.tell(.closed(LinkEnd(.closedByPeer, error))) }
        incoming.loop.execute { incoming.tell(.closed(LinkEnd(.closedHere, DejaVuError(.cancelled, reason)))) }
    }
}
