public import DejaVuCore
public import DejaVuKV
public import NIOCore
import Synchronization

/// A transport over messages: the one behind memory and links, which differ in how messages get across.
public final class PeerTransport: Transport {
    public let capabilities: TransportCapabilities
    public let staging: StagingPool
    /// Who is at the other end, as far as it has proved it.
    public let peer: LinkIdentity
    private let kind: String
    private let session: NIOLoopBound<PeerSession>
    private let ended = Mutex<LinkEnd?>(nil)

    /// - Precondition: called on the session's event loop.
    init(_ session: PeerSession, kind: String, capabilities: TransportCapabilities, staging: StagingPool) {
        self.kind = kind
        self.capabilities = capabilities
        self.staging = staging
        peer = session.wire.peer
        self.session = session.bound
        session.whenEnded { [weak self] end in self?.ended.withLock { $0 = end } }
    }

    public var description: String { "\(kind) to \(peer)" }
    public var end: LinkEnd? { ended.withLock { $0 } }

    public func whenEnded(_ body: @escaping @Sendable (LinkEnd) -> Void) {
        onLoop { $0.whenEnded(body) }
    }

    public func close(_ reason: String) { onLoop { $0.wire.close(reason) } }

    private func onLoop(_ body: @escaping @Sendable (PeerSession) -> Void) {
        let session = self.session
        if session.eventLoop.inEventLoop {
            body(session.value)
        } else {
            session.eventLoop.execute { body(session.value) }
        }
    }

    // MARK: Frames

    public func post(_ frame: FramePost, rows: Staging) -> Posting {
        precondition(
            rows.contents.readableBytes == frame.header.payloadBytes,
            "a frame brings the bytes that its header says")
        let posting = Posting(rows: rows)
        let session = self.session
        onLoop {
            let number = $0.post(frame, rows: rows.contents, admitted: nil) { posting.finish($0) }
            guard let number else { return }
            posting.onCancel {
                session.eventLoop.execute {
                    session.value.giveUp(number, DejaVuError(.cancelled, "the frame was cancelled"))
                }
            }
        }
        return posting
    }

    public func begin(_ frame: FramePost, asks: Bool) async throws(DejaVuError) -> FrameAdmission {
        let landing = PeerLanding(session, isEager: !asks)
        let session = self.session
        let result: Result<FrameAdmission, DejaVuError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                landing.awaitAdmission(continuation)
                session.eventLoop.execute { landing.begin(frame) }
            }
        } onCancel: {
            landing.abandon()
        }
        return try result.get()
    }

    // MARK: Calls

    private func ask(
        _ call: PeerCall, of store: String, byteCount: Int = 0, within: TimeSpan
    ) async throws(DejaVuError) -> (PeerAnswer, ByteBuffer) {
        let session = self.session
        let ticket = CallTicket()
        let result: Result<(PeerAnswer, ByteBuffer), DejaVuError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                session.eventLoop.execute {
                    let number = session.value.call(call, of: store, byteCount: byteCount, within: within) {
                        continuation.resume(returning: $0)
                    }
                    if let number, ticket.isCancelled(orHas: number) { Self.cancel(number, session.value) }
                }
            }
        } onCancel: {
            if let number = ticket.cancel() { session.eventLoop.execute { Self.cancel(number, session.value) } }
        }
        return try result.get()
    }

    private static func cancel(_ number: UInt64, _ session: PeerSession) {
        session.giveUpCall(number, DejaVuError(.cancelled, "the call was cancelled"))
    }

    public func describe(_ store: String, within: TimeSpan) async throws(DejaVuError) -> StoreDescription {
        guard
            case .description(let layers, let rowBytes, let numericClass) =
                try await ask(.describe, of: store, within: within).0
        else { throw .malformed("another answer than was asked for") }
        return StoreDescription(layers: layers, rowBytes: rowBytes, numericClass: numericClass)
    }

    public func open(
        _ ticket: Ticket, tokens: [TokenID], in store: String, within: TimeSpan
    ) async throws(DejaVuError) {
        _ = try await ask(.open(ticket, tokens: tokens), of: store, within: within)
    }

    public func renew(_ ticket: Ticket, in store: String, within: TimeSpan) async throws(DejaVuError) {
        _ = try await ask(.renew(ticket), of: store, within: within)
    }

    public func watermark(
        of sequence: SequenceID, layers: LayerRange, in store: String, within: TimeSpan
    ) async throws(DejaVuError) -> Int {
        guard case .number(let watermark) = try await ask(.watermark(sequence, layers), of: store, within: within).0
        else { throw .malformed("another answer than was asked for") }
        return watermark
    }

    public func release(_ sequence: SequenceID, in store: String, within: TimeSpan) async throws(DejaVuError) {
        _ = try await ask(.release(sequence), of: store, within: within)
    }

    public func read(
        _ span: Span, rowBytes: Int, from store: String, priority: StreamPriority, within: TimeSpan
    ) async throws(DejaVuError) -> ByteBuffer {
        let (bytes, overflow) = span.rowCount.multipliedReportingOverflow(by: rowBytes)
        guard !overflow, bytes <= staging.bytesMax else {
            throw DejaVuError(
                .invalidArgument, "\(span) is more than the \(staging.bytesMax) bytes that may be in flight")
        }
        let room = try await staging.take(bytes, priority: priority, within: within)
        defer { room.release() }
        let answer = try await ask(.read(span, priority), of: store, byteCount: bytes, within: within)
        guard case .rows = answer.0 else { throw .malformed("another answer than was asked for") }
        return answer.1
    }
}

/// Brings together a call's number and the cancellation of the task that waits for it, whichever comes first.
private final class CallTicket: Sendable {
    private let state = Mutex<(number: UInt64?, isCancelled: Bool)>((nil, false))

    func isCancelled(orHas number: UInt64) -> Bool {
        state.withLock {
            $0.number = number
            return $0.isCancelled
        }
    }

    func cancel() -> UInt64? {
        state.withLock {
            $0.isCancelled = true
            return $0.number
        }
    }
}
