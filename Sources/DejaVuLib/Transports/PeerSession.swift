import DejaVuCore
import DejaVuKV
import NIOCore

/// One end of a connection between two processes with stores: sends frames and calls (the client's part), takes the
/// other's (the server's part, if there is a server). Both ends are alike. Confined to the wire's event loop.
final class PeerSession {
    let wire: any PeerWire
    /// Whose stores the peer may use; nil for none.
    let server: StoreServer?
    private(set) var end: LinkEnd?
    private var whenEnded: [@Sendable (LinkEnd) -> Void] = []

    // What goes out in chunks: our frames, and the rows that the peer has asked for. Both numbers are even for frames
    // and odd for rows, so that they share one queue.
    var streams: [UInt64: OutgoingStream] = [:]
    private var queue = SendQueue()
    private var isPumping = false

    var client = ClientPart()
    var serving = ServerPart()

    init(wire: any PeerWire, server: StoreServer?) {
        self.wire = wire
        self.server = server
    }

    var eventLoop: any EventLoop { wire.eventLoop }
    var bound: NIOLoopBound<PeerSession> { NIOLoopBound(self, eventLoop: eventLoop) }

    // MARK: Events

    func received(_ event: LinkEvent) {
        guard end == nil else { return }
        do throws(DejaVuError) {
            switch event {
            case .message(let message): try received(PeerMessage(message))
            case .piece(let piece): try received(piece)
            case .batchEnd: pump()
            case .writable(let isWritable): if isWritable { pump() }
            case .closed(let end): ended(end)
            }
        } catch {
            // The peer does not keep the protocol: nothing that it says can be trusted.
            ended(LinkEnd(.dropped, error))
            wire.close(error.message)
        }
    }

    private func received(_ message: PeerMessage) throws(DejaVuError) {
        switch message {
        case .begin(let number, let store, let priority, let asks, let header):
            try began(number, store: store, priority, asks: asks, header)
        case .end(let number, let checksum): try frameEnded(number, checksum: checksum)
        case .abandon(let number): frameAbandoned(number)
        case .call(let number, let store, let call): try called(number, store: store, call)
        case .cancelCall(let number): callCancelled(number)
        case .credit(let number, let bytes): try credited(number, bytes)
        case .receipt(let number, let receipt): try replied(number, .success(receipt))
        case .failed(let number, let error): try replied(number, .failure(error))
        case .answer(let number, let answer): try answered(number, .success(answer))
        case .callFailed(let number, let error): try answered(number, .failure(error))
        }
    }

    private func received(_ piece: LinkPiece) throws(DejaVuError) {
        let number = try PeerMessage.owner(of: piece)
        switch piece.kind {
        case PeerProtocol.Kind.chunk: try framePiece(number, piece.bytes)
        case PeerProtocol.Kind.readChunk: try readPiece(number, piece.bytes)
        default: throw .malformed("kind \(piece.kind) is unknown")
        }
    }

    func whenEnded(_ body: @escaping @Sendable (LinkEnd) -> Void) {
        if let end { body(end) } else { whenEnded.append(body) }
    }

    private func ended(_ end: LinkEnd) {
        self.end = end
        streams = [:]
        queue = SendQueue()
        let error = DejaVuError(
            end.cause == .closedHere ? .cancelled : .network, "the link ended: \(end.error.message)")
        failClient(error)
        failServer(error)
        let bodies = whenEnded
        whenEnded = []
        for body in bodies { body(end) }
    }

    // MARK: Sending

    func send(_ message: PeerMessage) {
        guard end == nil else { return }
        wire.write(message.message)
    }

    /// A stream may have become sendable.
    func enqueue(_ stream: OutgoingStream) {
        guard !stream.isQueued, stream.isSendable || (stream.isDrained && streams[stream.number] != nil) else { return }
        stream.isQueued = true
        queue.append(stream.number, stream.priority)
    }

    /// Sends chunks as long as the wire takes them, the most urgent first, and hands all to the kernel.
    func pump() {
        guard !isPumping, end == nil else { return }
        isPumping = true
        while end == nil, wire.isWritable, let number = queue.next() {
            guard let stream = streams[number] else { continue }
            stream.isQueued = false
            sendTurn(of: stream)
        }
        isPumping = false
        if end == nil { wire.flush() }
    }

    private func sendTurn(of stream: OutgoingStream) {
        if let front = stream.front {
            stream.front = nil
            wire.write(front)
            frameBegan(stream.number)
        }
        if let chunk = stream.nextChunk() {
            wire.write(PeerMessage.chunk(stream.chunkKind, of: stream.number, chunk))
        }
        if stream.isDrained {
            streams[stream.number] = nil
            streamDrained(stream)
        } else {
            enqueue(stream)
            frameAdvanced(stream)
        }
    }

    private func streamDrained(_ stream: OutgoingStream) {
        if stream.chunkKind == PeerProtocol.Kind.chunk {
            frameDrained(stream)
        } else {
            rowsDrained(stream)
        }
    }
}
