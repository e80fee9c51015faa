public import DejaVuCore

/// A store as those who stream to it know it.
public struct StoreID: Identifier {
    public static let prefix = "d"
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
}

public struct SubscriptionID: Identifier {
    public static let prefix = "u"
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Names one frame on its way, within its book. Never used again.
public struct FlightID: Identifier {
    public static let prefix = "f"
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// A standing order: raise the destination's watermarks to the source's.
public struct Subscription: Hashable, Sendable {
    public enum Sequences: Hashable, Sendable {
        /// Those that the source has and will have.
        case all
        case only([SequenceID])

        func contains(_ sequence: SequenceID) -> Bool {
            switch self {
            case .all: true
            case .only(let some): some.contains(sequence)
            }
        }
    }

    public let id: SubscriptionID
    public let destination: StoreID
    /// Need not be the source's: a source may feed several destinations whose layers are cut otherwise.
    public let layers: LayerRange
    public let sequences: Sequences
    public let priority: StreamPriority

    public init(
        id: SubscriptionID, destination: StoreID, layers: LayerRange, sequences: Sequences = .all,
        priority: StreamPriority
    ) {
        self.id = id
        self.destination = destination
        self.layers = layers
        self.sequences = sequences
        self.priority = priority
    }
}

/// How much one book takes on.
public struct SubscriptionLimits: Hashable, Sendable {
    public var subscriptionsMax = 64
    public var sequencesMax = 4096
    /// Bytes of one frame's rows.
    public var frameBytesMax = 4 << 20
    /// For each destination.
    public var bytesInFlightMax = 64 << 20
    /// For each destination.
    public var flightsMax = 256

    public init() {}
}

/// A frame to be sent now.
public struct Dispatch: Hashable, Sendable {
    public let flight: FlightID
    public let subscription: SubscriptionID
    public let destination: StoreID
    public let priority: StreamPriority
    /// The destination's leave, under which the frame goes.
    public let ticket: Ticket
    public let span: Span
    public let bytes: Int
}

/// How far destinations are behind their source.
public struct Backlog: Hashable, Sendable {
    /// Sequences that lack something.
    public var sequences = 0
    /// Over these sequences, what the layer furthest behind lacks.
    public var positions = 0
    /// Over all layers.
    public var rows = 0
    public var bytes = 0

    public init(sequences: Int = 0, positions: Int = 0, rows: Int = 0, bytes: Int = 0) {
        self.sequences = sequences
        self.positions = positions
        self.rows = rows
        self.bytes = bytes
    }

    public var isEmpty: Bool { rows == 0 }
}
