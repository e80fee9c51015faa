public import DejaVuCore

/// How bytes are streamed. The defaults are the fast way; each switch can be turned off to measure what it brings.
///
/// The first three are the paper's optimisations, in its order. With all six off the engine is the paper's baseline:
/// one transport operation for each contiguous run, the whole prefix each time, and compute waits.
public struct StreamOptions: Hashable, Codable, Sendable {
    /// Packs small runs into a staging buffer and sends that. Off: each contiguous run of the source's memory is a copy
    /// and a transport operation of its own.
    public var bufferedCopies = true
    /// Sends a layer's rows while later layers compute. Off: waits until all layers of the source have the position.
    public var layerByLayer = true
    /// Streams while the next pass computes. Off: `passEnded` returns only when everything has been acknowledged.
    public var tokenOverlap = true
    /// Sends what the destination lacks. Off: sends the sequence from position 0 each time.
    public var deltas = true
    /// Joins runs that touch in both memories. Off: one copy for each smallest run.
    public var runMerging = true
    /// Reads a pass's rows once for all subscriptions that want them. Off: each reads for itself.
    public var sharedReads = true

    /// Bytes that may be in staging buffers at once, over all subscriptions.
    public var bytesInFlightMax = 64 << 20
    /// The most that one frame carries; a longer span goes as several. At least one position of one layer always fits.
    public var frameBytesMax = 4 << 20
    /// What is handed to a transport at once, so that something more urgent can go between.
    public var chunkBytesMax = 256 << 10
    /// Frames on their way to one destination at once.
    public var framesInFlightMax = 32
    /// From the read to the receipt. A frame that takes longer is given up and tried again.
    public var frameTimeMax: TimeSpan = .seconds(10)
    /// The wait before a failed frame is tried again; doubles with each failure in a row up to `retryTimeMax`.
    public var retryTime: TimeSpan = .milliseconds(10)
    public var retryTimeMax: TimeSpan = .seconds(2)
    /// Notes that a doorbell keeps between two looks of the engine; beyond that the engine asks the stores themselves.
    public var doorbellCountMax = 4096

    public init() {}

    /// Everything off: what the paper calls naive.
    public static let naive: StreamOptions = {
        var options = StreamOptions()
        options.bufferedCopies = false
        options.layerByLayer = false
        options.tokenOverlap = false
        options.deltas = false
        options.runMerging = false
        options.sharedReads = false
        return options
    }()

    /// Crashes if the limits contradict each other: they come from code, not from users.
    func check() {
        precondition(frameBytesMax > 0 && frameBytesMax <= bytesInFlightMax, "a frame must fit into what may fly")
        precondition(chunkBytesMax > 0 && framesInFlightMax > 0, "something must be able to fly")
        precondition(frameTimeMax > .zero && retryTime > .zero && retryTime <= retryTimeMax, "waits must be positive")
        precondition(doorbellCountMax > 0, "a doorbell keeps notes")
    }
}
