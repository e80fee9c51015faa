import DejaVuCore
import DejaVuKV
import NIOCore
import Synchronization

/// Moves spans from one store to another, each once. The engine's subscriptions do the same again and again.
///
/// All calls may be made from any task. They end with `.cancelled` when their task is cancelled and with
/// `.deadlineExceeded` when their time is over; what has committed by then stays, nothing else is changed.
public final class Streamer: Sendable {
    public let options: StreamOptions
    /// What the frames say of their sequences' texts.
    public let tokens: TokenBook
    /// All staging memory of this streamer: it bounds the bytes in flight.
    public let staging: StagingPool
    let counts = Mutex(StreamCounters())

    public init(options: StreamOptions = StreamOptions(), tokens: TokenBook = TokenBook()) {
        options.check()
        self.options = options
        self.tokens = tokens
        staging = StagingPool(bytesMax: options.bytesInFlightMax)
    }

    /// What has been done, by this streamer and by the engine that uses it.
    public var counters: StreamCounters {
        var counters = counts.withLock { $0 }
        counters.bytesInFlight = staging.bytesInFlight
        return counters
    }

    /// The header of a frame under a ticket.
    ///
    /// - Throws: `.notFound` if the tokens of the span are not known here.
    func header(
        _ span: Span, ticket: Ticket, source: any KVStore
    ) throws(DejaVuError) -> FrameHeader {
        guard let text = tokens.text(of: span.sequence, in: span.positions) else {
            throw DejaVuError(.notFound, "the tokens of \(span) are not known to who streams it")
        }
        return FrameHeader(
            ticket: ticket.number, writer: ticket.writer, span: span, tokens: text.tokens, tokensHash: text.hash,
            numericClass: source.numericClass, payloadBytes: span.rowCount * source.rowBytes)
    }

    /// The packed rows of a span in staging memory.
    func read(
        _ span: Span, from source: any KVStore, priority: StreamPriority
    ) async throws(DejaVuError) -> StagedRows {
        let byteCount = span.rowCount * source.rowBytes
        let lease = try await staging.take(byteCount, priority: priority, within: options.frameTimeMax)
        // The buffer is taken out of the lease while it is filled: memory with one owner is not copied.
        var bytes = lease.detach()
        try await source.read(span, into: &bytes)
        lease.replace(with: bytes)
        guard bytes.readableBytes == byteCount else { throw Self.wrongLength(bytes.readableBytes, span, source) }
        counts.withLock {
            $0.reads += 1
            $0.bytesRead += bytes.readableBytes
        }
        return StagedRows(bytes: bytes, checksum: Checksum.of(bytes), lease: lease)
    }
}

/// Long loops look here between two steps.
func checkCancellation() throws(DejaVuError) {
    if Task.isCancelled { throw DejaVuError(.cancelled, "the transfer was cancelled") }
}

/// Packed rows in staging memory, shared by all who send them.
struct StagedRows: Sendable {
    let bytes: ByteBuffer
    let checksum: UInt32
    /// Counts them as in flight until the last user lets go of it.
    let lease: Staging
}
