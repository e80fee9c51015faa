public import DejaVuCore
public import DejaVuKV
public import NIOCore

/// A store of another process, over any transport.
///
/// Several may stand for one remote store: one for each priority at which it is used.
public final class PeerStore: KVStore {
    public let name: String
    public let layers: LayerRange
    public let rowBytes: Int
    public let numericClass: NumericClass
    public let transport: any Transport
    public let priority: StreamPriority
    private let remoteName: String
    private let within: TimeSpan

    private init(
        _ remoteName: String, over transport: any Transport, description: StoreDescription, priority: StreamPriority,
        within: TimeSpan
    ) {
        name = "\(remoteName) at \(transport)"
        layers = description.layers
        rowBytes = description.rowBytes
        numericClass = description.numericClass
        self.transport = transport
        self.priority = priority
        self.remoteName = remoteName
        self.within = within
    }

    /// Asks the peer for the store.
    ///
    /// - Parameter within: the deadline of each call, and of each frame from its first byte to its receipt.
    /// - Throws: `.notFound` if the peer has none of that name.
    public static func named(
        _ name: String, over transport: any Transport, priority: StreamPriority, within: TimeSpan
    ) async throws(DejaVuError) -> PeerStore {
        let description = try await transport.describe(name, within: within)
        return PeerStore(name, over: transport, description: description, priority: priority, within: within)
    }

    /// The same store at another priority.
    public func at(_ priority: StreamPriority) -> PeerStore {
        let description = StoreDescription(layers: layers, rowBytes: rowBytes, numericClass: numericClass)
        return PeerStore(remoteName, over: transport, description: description, priority: priority, within: within)
    }

    public func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError) {
        try await transport.open(ticket, tokens: tokens, in: remoteName, within: within)
    }

    public func renew(_ ticket: Ticket) async throws(DejaVuError) {
        try await transport.renew(ticket, in: remoteName, within: within)
    }

    public func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int {
        try await transport.watermark(of: sequence, layers: layers, in: remoteName, within: within)
    }

    public func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer {
        try await transport.read(span, rowBytes: rowBytes, from: remoteName, priority: priority, within: within)
    }

    /// One round trip before the first byte. `post` does without.
    public func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission {
        try await transport.begin(post(of: header))
    }

    /// `begin` without the round trip: a frame that the store does not want is swallowed, and `finish` returns the
    /// store's watermark.
    func beginAtOnce(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission {
        try await transport.begin(post(of: header), asks: false)
    }

    public func release(_ sequence: SequenceID) async throws(DejaVuError) {
        try await transport.release(sequence, in: remoteName, within: within)
    }

    /// Sends a whole frame without waiting for leave: the bytes follow the header at once, and if the store does not
    /// want them they are swallowed.
    ///
    /// - Parameter rows: from the transport's pool; given back to it when the posting ends.
    public func post(_ header: FrameHeader, rows: Staging) -> Posting {
        transport.post(post(of: header), rows: rows)
    }

    private func post(of header: FrameHeader) -> FramePost {
        FramePost(header: header, store: remoteName, priority: priority, within: within)
    }
}
