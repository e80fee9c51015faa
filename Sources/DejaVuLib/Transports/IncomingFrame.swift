import DejaVuCore
import DejaVuKV
import NIOCore
import Synchronization

/// A frame that a peer sends, between the event loop that takes its bytes and the task that lands them.
///
/// Where the landing never waits, the loop hands it the bytes itself: no other thread is woken for them, and they are
/// still in the cache. The task asks the store, and commits.
final class IncomingFrame: Sendable {
    private enum Next {
        case bytes([ByteBuffer])
        case end(checksum: UInt32)
    }

    private struct Inbox {
        var bytes: [ByteBuffer] = []
        var checksum: UInt32?
        var failure: DejaVuError?
        /// Takes what comes from now on, on the event loop.
        var direct: (any ImmediateLanding)?
        var waiter: CheckedContinuation<Void, Never>?
    }

    let header: FrameHeader
    /// The sender waits to hear whether the store takes it.
    let asks: Bool
    private let inbox = Mutex(Inbox())

    init(header: FrameHeader, asks: Bool) {
        self.header = header
        self.asks = asks
    }

    // MARK: The event loop's side

    /// - Returns: whether the store has the bytes already; else the task says so, by its grants.
    func put(_ bytes: ByteBuffer) -> Bool {
        // Who takes them is decided and done in one step, or they could overtake those that the task is about to write.
        let (direct, waiter) = inbox.withLock { inbox -> ((any ImmediateLanding)?, CheckedContinuation<Void, Never>?) in
            if let direct = inbox.direct { return (direct, nil) }
            inbox.bytes.append(Self.compact(bytes))
            defer { inbox.waiter = nil }
            return (nil, inbox.waiter)
        }
        waiter?.resume()
        guard let direct else { return false }
        do throws(DejaVuError) { try direct.writeNow(bytes) } catch { fail(error) }
        return true
    }

    /// A small slice must not keep a large receive buffer from being used again.
    private static func compact(_ bytes: ByteBuffer) -> ByteBuffer {
        guard bytes.readableBytes < 32 << 10, bytes.storageCapacity > 4 * bytes.readableBytes else { return bytes }
        var copy = ByteBuffer()
        copy.writeImmutableBuffer(bytes)
        return copy
    }

    func end(checksum: UInt32) { change { $0.checksum = checksum } }
    /// No more will come. What has come is dropped.
    func fail(_ error: DejaVuError) {
        change {
            if $0.failure == nil { $0.failure = error }
            $0.bytes = []
            $0.direct = nil
        }
    }

    private func change(_ body: (inout Inbox) -> Void) {
        let waiter = inbox.withLock { inbox in
            body(&inbox)
            defer { inbox.waiter = nil }
            return inbox.waiter
        }
        waiter?.resume()
    }

    // MARK: The landing task's side

    /// Lands the frame: asks the store, hands it the bytes as they come, and commits.
    ///
    /// - Parameter grant: that many bytes more may come. The first call says that the store takes the frame.
    func land(in store: any KVStore, grant: (Int) -> Void) async -> Result<FrameReceipt, DejaVuError> {
        do throws(DejaVuError) {
            switch try await store.begin(header) {
            case .known(let watermark): return .success(.known(watermark: watermark))
            case .gap(let watermark): return .success(.gap(watermark: watermark))
            case .land(let landing): return .success(.committed(watermark: try await land(landing, grant)))
            }
        } catch {
            return .failure(error)
        }
    }

    private func land(_ landing: any FrameLanding, _ grant: (Int) -> Void) async throws(DejaVuError) -> Int {
        let isLong = header.payloadBytes > PeerProtocol.windowFirst
        if isLong {
            grant(PeerProtocol.window - PeerProtocol.windowFirst)
        } else if asks {
            grant(0)
        }
        let checksum: UInt32
        do throws(DejaVuError) { checksum = try await write(to: landing, isLong ? grant : { _ in }) } catch {
            landing.abandon()
            throw error
        }
        return try await landing.finish(checksum: checksum)
    }

    /// - Returns: the checksum of the sender, after the last byte.
    private func write(to landing: any FrameLanding, _ grant: (Int) -> Void) async throws(DejaVuError) -> UInt32 {
        let direct = landing as? any ImmediateLanding
        var taken = 0
        while true {
            switch try await next(direct) {
            case .end(let checksum): return checksum
            case .bytes(let pieces):
                for piece in pieces {
                    try await landing.write(piece)
                    taken += piece.readableBytes
                    // Seldom: each wakes the sender. It has the rest of the window meanwhile.
                    if taken >= PeerProtocol.window / 4 {
                        grant(taken)
                        taken = 0
                    }
                }
            }
        }
    }

    /// - Parameter direct: takes what comes once all that has come is taken.
    private func next(_ direct: (any ImmediateLanding)?) async throws(DejaVuError) -> Next {
        while true {
            let next: Next? = try inbox.withLock { inbox throws(DejaVuError) in
                if let failure = inbox.failure { throw failure }
                if !inbox.bytes.isEmpty {
                    defer { inbox.bytes = [] }
                    return .bytes(inbox.bytes)
                }
                return inbox.checksum.map { .end(checksum: $0) }
            }
            if let next { return next }
            await withCheckedContinuation { continuation in
                let isReady = inbox.withLock { inbox in
                    let isReady = !inbox.bytes.isEmpty || inbox.checksum != nil || inbox.failure != nil
                    if !isReady {
                        inbox.direct = direct
                        inbox.waiter = continuation
                    }
                    return isReady
                }
                if isReady { continuation.resume() }
            }
        }
    }
}
