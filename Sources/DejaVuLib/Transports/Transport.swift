public import DejaVuCore
public import DejaVuKV
public import NIOCore

/// Moves frames to and from one other process (or another part of this one) that has stores.
///
/// The order of use: `prepare` a staging buffer, fill it with packed rows, `post` it with its header, `poll` or await
/// the receipt; the buffer returns to the pool by itself then (*release*). Promises:
/// - frames of one (store, sequence) reach the store in the order in which they were posted;
/// - a frame travels in chunks of at most `PeerProtocol.chunkBytesMax`; between any two of them whatever is more urgent
///   goes first, and equals take turns;
/// - a store that is slow to take a frame's bytes stops that frame, and no other;
/// - every posting ends exactly once: by its receipt, its deadline, its cancellation, or the end of the link;
/// - whatever ends early is abandoned at the receiver, once, and commits nothing.
public protocol Transport: AnyObject, Sendable, CustomStringConvertible {
    var capabilities: TransportCapabilities { get }
    /// Where staging buffers come from: it bounds the bytes in flight.
    var staging: StagingPool { get }
    /// Why nothing more can be sent; nil while it can.
    var end: LinkEnd? { get }

    /// Calls a body once, when the connection has ended; at once if it has.
    func whenEnded(_ body: @escaping @Sendable (LinkEnd) -> Void)

    /// Starts to send a frame and returns at once.
    ///
    /// - Parameter rows: exactly the header's payload. Given back to the pool when the posting ends.
    func post(_ frame: FramePost, rows: Staging) -> Posting

    /// Begins a frame whose bytes come later; its landing sends them.
    ///
    /// - Parameter asks: waits until the receiver has said whether it takes the frame. Else the bytes follow at once,
    ///   what the receiver does not want is swallowed there, and the landing's `finish` returns its watermark.
    func begin(_ frame: FramePost, asks: Bool) async throws(DejaVuError) -> FrameAdmission

    /// The packed rows of a committed span of the peer's store, verified.
    func read(
        _ span: Span, rowBytes: Int, from store: String, priority: StreamPriority, within: TimeSpan
    ) async throws(DejaVuError) -> ByteBuffer

    /// What the peer says of a store; `.notFound` if it has none of that name.
    func describe(_ store: String, within: TimeSpan) async throws(DejaVuError) -> StoreDescription
    func open(
        _ ticket: Ticket, tokens: [TokenID], in store: String, within: TimeSpan
    ) async throws(DejaVuError)
    /// Gives an open sequence a new ticket.
    func renew(_ ticket: Ticket, in store: String, within: TimeSpan) async throws(DejaVuError)
    func watermark(
        of sequence: SequenceID, layers: LayerRange, in store: String, within: TimeSpan
    ) async throws(DejaVuError) -> Int
    func release(_ sequence: SequenceID, in store: String, within: TimeSpan) async throws(DejaVuError)

    /// Ends the connection: what is under way fails, here and there.
    func close(_ reason: String)
}

extension Transport {
    /// Asks for leave to land a frame whose bytes come later.
    public func begin(_ frame: FramePost) async throws(DejaVuError) -> FrameAdmission {
        try await begin(frame, asks: true)
    }

    /// A staging buffer of that size, once the pool has room for it.
    public func prepare(
        _ byteCount: Int, priority: StreamPriority, within: TimeSpan
    ) async throws(DejaVuError) -> Staging {
        try await staging.take(byteCount, priority: priority, within: within)
    }
}

/// What a transport can do, for whoever chooses one.
public struct TransportCapabilities: Hashable, Sendable {
    /// Both ends are in one process: bytes are handed over, not copied.
    public var isSameProcess = false
    /// The peer may be on another machine.
    public var crossesMachines = false
    /// Nobody on the way can read or change the bytes.
    public var isEncrypted = false
    public init() {}
}

/// What to send, where to, and how urgent it is.
public struct FramePost: Sendable {
    public var header: FrameHeader
    public var store: String
    public var priority: StreamPriority
    /// From the call to the receipt.
    public var within: TimeSpan

    public init(header: FrameHeader, store: String, priority: StreamPriority, within: TimeSpan) {
        self.header = header
        self.store = store
        self.priority = priority
        self.within = within
    }
}

/// The receiver's answer to a frame. Refusals and faults are thrown instead.
public enum FrameReceipt: Hashable, Sendable {
    /// Committed; the watermark is the new one.
    case committed(watermark: Int)
    /// All of it was there already.
    case known(watermark: Int)
    /// It starts above the watermark: go back to it.
    case gap(watermark: Int)
}

/// What a peer says of one of its stores.
public struct StoreDescription: Hashable, Sendable {
    public var layers: LayerRange
    /// Bytes of K and V of one position in one layer, packed.
    public var rowBytes: Int
    public var numericClass: NumericClass

    public init(layers: LayerRange, rowBytes: Int, numericClass: NumericClass) {
        self.layers = layers
        self.rowBytes = rowBytes
        self.numericClass = numericClass
    }
}
