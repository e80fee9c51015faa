/// What an engine has done and what is under way. Plain numbers, for others to export.
public struct StreamCounters: Hashable, Codable, Sendable {
    /// Payload bytes taken out of sources; each read counts once, however many subscriptions used it.
    public var bytesRead = 0
    /// Payload bytes handed to destinations, those of frames that failed included.
    public var bytesPosted = 0
    /// Payload bytes of frames that committed.
    public var bytesCommitted = 0
    public var reads = 0
    /// Frames that used a read made for another.
    public var readsShared = 0
    public var framesPosted = 0
    public var framesCommitted = 0
    /// The destination had it already.
    public var framesKnown = 0
    /// The destination lacked something before it.
    public var framesGap = 0
    /// The ticket was dead, or the destination had no place.
    public var framesRefused = 0
    /// Checksum, text or numeric class differed.
    public var framesMismatched = 0
    /// Given up at the deadline.
    public var framesLate = 0
    /// Anything else: a link lost, a store's fault.
    public var framesFailed = 0
    public var retries = 0
    /// Doorbell notes that found no room; the engine asked the stores instead.
    public var doorbellsOverflowed = 0

    // Levels, not sums.

    /// Rows (positions times layers) that destinations lack, over all subscriptions.
    public var backlogRows = 0
    public var framesInFlight = 0
    public var bytesInFlight = 0

    public init() {}
}
