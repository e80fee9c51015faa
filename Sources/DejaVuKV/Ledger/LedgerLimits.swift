public import DejaVuCore

/// How much one ledger takes on. What is beyond is refused with a reason.
public struct LedgerLimits: Hashable, Sendable {
    /// Open sequences, and released ones whose memory is not quiet yet.
    public var sequencesMax = 4096
    /// Positions that the open tickets promise together.
    public var positionsMax = 1 << 26
    /// Positions of one sequence.
    public var positionsPerSequenceMax = 1 << 20
    /// Writers of one sequence besides the first.
    public var sharesPerSequenceMax = 64
    /// Frames that land at the same time.
    public var arrivalsMax = 4096
    public var arrivalsPerSequenceMax = 64
    /// So many integrity faults of one peer within `faultWindow` are reported.
    public var faultsMax = 3
    public var faultWindow = TimeSpan.seconds(60)
    /// Peers whose faults are remembered; the one that erred longest ago is forgotten first.
    public var peersMax = 256

    public init() {}

    /// - Precondition: every limit is at least 1.
    func check() {
        precondition(
            sequencesMax >= 1 && positionsMax >= 1 && positionsPerSequenceMax >= 1 && sharesPerSequenceMax >= 0
                && arrivalsMax >= 1
                && arrivalsPerSequenceMax >= 1 && faultsMax >= 1 && faultWindow > .zero && peersMax >= 1,
            "every limit is at least 1")
    }
}
