public import DejaVuCore
public import DejaVuKV
public import NIOCore

/// A place that holds spans: device, host, disk or peer. All take and give packed rows, so that any two can be joined.
///
/// A store drives a `Ledger`; its promises are the ledger's (docs/streaming.md). All calls may be made from any task.
/// A call that fails or is cancelled changes no watermark.
public protocol KVStore: AnyObject, Sendable {
    /// For logs and metrics.
    var name: String { get }
    var layers: LayerRange { get }
    /// Bytes of K and V of one position in one layer, packed.
    var rowBytes: Int { get }
    var numericClass: NumericClass { get }

    /// Gives a writer leave, and the sequence its place. `tokens` are those known so far; frames bring the others.
    ///
    /// - Throws: `.resourceExhausted` if the budget does not hold the ticket's positions; `.invalidArgument` if the
    ///   number was used before or the sequence is open.
    func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError)

    /// Gives an open sequence a new ticket, for another writer, in the same memory. What is committed stays; the old
    /// number is dead at once, and what it let in can no longer commit.
    ///
    /// - Throws: `.notFound` if the sequence is not open; `.invalidArgument` if the number was used before, or layers
    ///   and limit are not those of the old ticket; `.unsupported` if the store cannot.
    func renew(_ ticket: Ticket) async throws(DejaVuError)

    /// How many leading positions are committed, the least over these layers; 0 for an unknown sequence.
    func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int

    /// The packed rows of a committed span.
    ///
    /// - Throws: `.notFound` above the watermark; `.invalidFile` if what is kept turned out bad: the watermark has
    ///   been lowered then.
    func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer

    /// The same behind what the buffer holds already: a buffer that is used again needs no fresh memory. If it throws,
    /// the buffer is as it was.
    func read(_ span: Span, into buffer: inout ByteBuffer) async throws(DejaVuError)

    /// Asks for leave to land a frame.
    func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission

    /// Revokes the ticket at once. Returns when nothing can be written any more and the place is free.
    func release(_ sequence: SequenceID) async throws(DejaVuError)
}

extension KVStore {
    public func renew(_ ticket: Ticket) async throws(DejaVuError) {
        throw DejaVuError(.unsupported, "\(name) cannot give \(ticket.sequence) a new ticket", subject: "ticket")
    }

    public func read(_ span: Span, into buffer: inout ByteBuffer) async throws(DejaVuError) {
        var bytes = try await read(span)
        buffer.writeBuffer(&bytes)
    }
}

/// A store's answer to a frame's header.
public enum FrameAdmission: Sendable {
    /// Send the bytes.
    case land(any FrameLanding)
    /// All of it is committed already, up to this watermark.
    case known(watermark: Int)
    /// There is a gap: go back to this watermark.
    case gap(watermark: Int)
}

/// One frame on its way into a store. Used by one task; ends by `finish` or `abandon`, exactly once.
public protocol FrameLanding: Sendable {
    /// The next bytes of the packed rows, in order. Suspends while the store cannot take more.
    func write(_ bytes: ByteBuffer) async throws(DejaVuError)
    /// All bytes are there: verifies and commits.
    ///
    /// - Parameter checksum: crc32c (Castagnoli) of the whole payload.
    /// - Returns: the watermark over the frame's layers.
    /// - Throws: `.mismatch` if the checksum differs; `.refused` if the ticket was revoked meanwhile.
    func finish(checksum: UInt32) async throws(DejaVuError) -> Int
    /// Gives the frame up; nothing is committed. No effect after `finish`.
    func abandon()
    /// A shorter way for sources in this process; nil if there is none for this frame.
    var inPlace: (any InPlaceLanding)? { get }
    /// Where its bytes leave from: what is made there is in that processor's cache when it is sent. nil if that does
    /// not matter.
    var executor: (any TaskExecutor)? { get }
}

/// A landing that takes bytes without waiting for anybody: whoever receives them may hand them over at once, while
/// they are in its cache.
public protocol ImmediateLanding: FrameLanding {
    /// `write`, from a thread that must not wait. Not while a `write` is under way.
    func writeNow(_ bytes: ByteBuffer) throws(DejaVuError)
}

extension FrameLanding {
    public var inPlace: (any InPlaceLanding)? { nil }
    public var executor: (any TaskExecutor)? { nil }
}
