public import DejaVuCore

/// Names one arrival within its ledger. Never used again.
public struct ArrivalID: Identifier {
    public static let prefix = "a"
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// A frame that was admitted and is landing. Its rows lie above the watermark, where nobody reads.
public struct Arrival: Hashable, Sendable {
    /// Some layers of the frame and the positions of them that are to be written.
    public struct Part: Hashable, Sendable {
        public let layers: LayerRange
        /// The end of the frame's positions; what comes before is there already and must not be written. May be empty.
        public let positions: Range<Int>
    }

    public let id: ArrivalID
    /// The number that the sequence's memory goes by: of the ticket that it was opened or renewed with.
    public let ticket: UInt64
    /// The whole frame, as its bytes come.
    public let span: Span
    public let payloadBytes: Int
    /// What of it lands: all its layers, ascending.
    public let parts: [Part]

    /// Whether every row of the frame is to be written.
    public var landsWhole: Bool { parts.count == 1 && parts[0].positions == span.positions }
}

/// What a ledger says to a frame's header.
public enum Admission: Hashable, Sendable {
    /// Take the bytes; write those of `parts`.
    case land(Arrival)
    /// All of it is committed already; the least watermark over the frame's layers.
    case known(watermark: Int)
    /// The frame begins above what is there or on its way: go back to this watermark.
    case gap(watermark: Int)
    case refused(Refusal, fault: PeerFault?)
}

/// Why a frame is not taken, or not committed. Nothing was changed.
public enum Refusal: String, Hashable, Codable, Sendable, CaseIterable {
    /// No such sequence is open here: never opened, or released.
    case unknownSequence
    /// The ticket's number is not the open one.
    case oldTicket
    /// The ticket was given to another process.
    case otherWriter
    /// Layers or positions that the ticket does not cover.
    case beyondTicket
    /// The payload is not as long as its rows.
    case wrongLength
    /// An integrity fault: computed otherwise.
    case otherNumericClass
    /// An integrity fault: rows of another text.
    case otherTokens
    /// An integrity fault: the bytes are not those that were sent.
    case wrongChecksum
    /// Not all bytes came.
    case incomplete
    /// Somebody may still be writing there; later may work.
    case busy
    /// As many frames are landing as the limits allow; later may work.
    case tooManyArrivals
    /// What it was to continue did not commit: go back to the watermark.
    case orphaned
    /// The sequence was released or got a new ticket while the frame was landing.
    case revoked
    /// The arrival was ended before.
    case ended

    /// Whether the peer has erred in a way that is counted.
    public var isIntegrityFault: Bool {
        switch self {
        case .otherNumericClass, .otherTokens, .wrongChecksum: true
        default: false
        }
    }
    /// Whether the same frame may be taken later without anything else being done.
    public var isPassing: Bool {
        switch self {
        case .busy, .tooManyArrivals, .incomplete, .wrongChecksum, .orphaned: true
        default: false
        }
    }
}

/// What to do with the next bytes of an arrival.
public enum ChunkLeave: Hashable, Sendable {
    case write
    /// Its ticket is dead or it can no longer commit: read the bytes away and write nothing.
    case swallow
    /// More bytes than the header announced: abandon it.
    case tooMany
}

/// How an arrival ended, or that it waits.
public enum Completion: Hashable, Sendable {
    /// The least watermark over the frame's layers.
    case committed(watermark: Int)
    /// Whole, but the one before it is still landing: it is settled when that one ends.
    case waiting
    case refused(Refusal, watermark: Int)
}

/// What one call settled besides the thing that was asked.
public struct Settlement: Hashable, Sendable {
    /// Arrivals that were waiting, and how they ended, in order. Never `waiting`.
    public struct Ended: Hashable, Sendable {
        public let arrival: ArrivalID
        public let completion: Completion
        public init(arrival: ArrivalID, completion: Completion) {
            self.arrival = arrival
            self.completion = completion
        }
    }
    public var ended: [Ended] = []
    /// Numbers of dead tickets whose memory nobody can write any more: it may be given away.
    public var quiet: [UInt64] = []
    public var fault: PeerFault?

    public init() {}
}
