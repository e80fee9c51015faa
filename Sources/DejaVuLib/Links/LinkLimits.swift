public import DejaVuCore

/// What a link takes from its peer and keeps for it, in bytes and time.
public struct LinkLimits: Hashable, Sendable {
    /// Bytes of a message's header; a prompt of a million tokens fits.
    public var headerBytesMax = 8 << 20
    /// Bytes of a message's payload: the hidden rows of one pass.
    public var payloadBytesMax = 256 << 20
    /// Messages of this kind and above are not gathered: they come in pieces. nil gathers all.
    public var streamedKindMin: UInt8?
    /// How many unsent bytes the kernel keeps for a TCP peer; nil leaves it to the kernel. What waits here can still
    /// be overtaken by what is more urgent, what waits in the kernel cannot.
    public var kernelUnsentBytesMax: Int?
    /// Above this many unsent bytes the link reports that it is not writable...
    public var writableBytesHigh = 1 << 20
    /// ...and below this many that it is again.
    public var writableBytesLow = 256 << 10
    /// A peer that leaves more than this unread is dropped.
    public var unsentBytesMax = 512 << 20
    public var connectTime = TimeSpan.seconds(Int64(5))
    /// From the open connection to the end of the handshake.
    public var handshakeTime = TimeSpan.seconds(Int64(5))
    /// From the first byte of a message to its last.
    public var messageTime = TimeSpan.seconds(Int64(30))
    /// How long a TCP peer may leave sent bytes unacknowledged before the kernel gives up.
    public var silenceTime = TimeSpan.seconds(Int64(2))
    /// How long an orderly close waits for what is still to be sent.
    public var closeTime = TimeSpan.seconds(Int64(1))
    /// Connections whose handshake is not done, for each listener.
    public var handshakeCountMax = 64
    /// Open links, for each listener.
    public var linkCountMax = 1024

    public init() {}

    /// - Precondition: the limits agree with each other.
    func check() {
        precondition(headerBytesMax > 0 && payloadBytesMax >= 0 && writableBytesLow > 0, "limits must be positive")
        precondition(writableBytesLow <= writableBytesHigh, "the water marks are the wrong way round")
        precondition(writableBytesHigh <= unsentBytesMax, "a link must say that it is full before it is dropped")
        precondition(headerBytesMax + payloadBytesMax <= unsentBytesMax, "the largest message must fit")
        precondition(handshakeCountMax > 0 && linkCountMax > 0, "a listener takes at least one link")
    }
}
