import DejaVuCore
import DejaVuKV
import NIOCore

/// Whose chunk is next: the most urgent priority that has one, and within it each in turn.
struct SendQueue {
    private var rings = [CircularBuffer<UInt64>](repeating: [], count: StreamPriority.allCases.count)

    /// Puts a stream behind its equals. It is the caller's to put each in once.
    mutating func append(_ stream: UInt64, _ priority: StreamPriority) {
        rings[Int(priority.rawValue)].append(stream)
    }

    mutating func next() -> UInt64? {
        for rank in rings.indices {
            if let stream = rings[rank].popFirst() { return stream }
        }
        return nil
    }
}

/// Bytes on their way out, cut into chunks: a frame's rows, or a read's.
final class OutgoingStream {
    enum Trailer {
        /// More bytes may come.
        case open
        /// All bytes are here; the checksum is computed in passing.
        case computed
        /// All bytes are here, and their checksum is known.
        case given(UInt32)
    }

    let number: UInt64
    let priority: StreamPriority
    let chunkKind: UInt8
    /// Goes before the first chunk.
    var front: LinkMessage?
    /// What the receiver takes at the moment.
    var credit: Int
    var trailer: Trailer
    var isQueued = false
    private(set) var pendingBytes = 0
    private var pending = CircularBuffer<ByteBuffer>()
    private var checksum = Checksum()

    init(_ number: UInt64, _ priority: StreamPriority, chunkKind: UInt8, credit: Int, trailer: Trailer) {
        self.number = number
        self.priority = priority
        self.chunkKind = chunkKind
        self.credit = credit
        self.trailer = trailer
    }

    func append(_ bytes: ByteBuffer) {
        guard bytes.readableBytes > 0 else { return }
        pending.append(bytes)
        pendingBytes += bytes.readableBytes
    }

    func drop() {
        pending.removeAll()
        pendingBytes = 0
    }

    /// All bytes are sent, and no more will come.
    var isDrained: Bool {
        if case .open = trailer { false } else { pendingBytes == 0 && front == nil }
    }

    var isSendable: Bool { front != nil || (pendingBytes > 0 && credit > 0) }

    /// The next chunk, not copied; nil if there is none that may be sent.
    func nextChunk() -> ByteBuffer? {
        guard pendingBytes > 0, credit > 0, var bytes = pending.popFirst() else { return nil }
        let count = min(bytes.readableBytes, PeerProtocol.chunkBytesMax, credit)
        guard let chunk = bytes.readSlice(length: count) else { preconditionFailure("the bytes were counted") }
        if bytes.readableBytes > 0 { pending.prepend(bytes) }
        pendingBytes -= count
        credit -= count
        if case .computed = trailer { checksum.update(chunk) }
        return chunk
    }

    /// The checksum of everything, once it is drained.
    var finalChecksum: UInt32 {
        if case .given(let known) = trailer { known } else { checksum.value }
    }
}
