/// A number that names one thing of one kind, and is never used again for another.
///
/// Identifiers of different kinds do not mix: passing a `RequestID` where a `SequenceID` is meant does not compile.
public protocol Identifier: RawRepresentable, Hashable, Comparable, Codable, Sendable, CustomStringConvertible
where RawValue == UInt64 {
    init(rawValue: UInt64)
    /// The letter that stands before the number in logs.
    static var prefix: String { get }
}

extension Identifier {
    @inlinable public init(_ rawValue: UInt64) { self.init(rawValue: rawValue) }
    @inlinable public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    public var description: String { Self.prefix + String(rawValue) }
    public init(from decoder: any Decoder) throws {
        self.init(rawValue: try decoder.singleValueContainer().decode(UInt64.self))
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }
}

/// What one client asked; it has one sequence for each of its `n` choices.
public struct RequestID: Identifier {
    public static let prefix = "r"
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// One running generation.
public struct SequenceID: Identifier {
    public static let prefix = "s"
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// A worker as the controller knows it. A restarted process is a new worker.
public struct WorkerID: Identifier {
    public static let prefix = "w"
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// One chain of stages that covers all layers.
public struct PipelineID: Identifier {
    public static let prefix = "p"
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// One run of a pipeline over a list of entries.
public struct PassID: Identifier {
    public static let prefix = "x"
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// The random id of one worker process. It fences what an earlier process of the same place has sent.
public struct Incarnation: Identifier {
    public static let prefix = "i"
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// One copy of a stage's KV at one holder.
public struct ReplicaID: Identifier {
    public static let prefix = "c"
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// The number of a pipeline's placement within a term. It fences passes, results and routing.
public struct Epoch: Identifier {
    public static let prefix = "e"
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
    public var next: Epoch { Epoch(rawValue + 1) }
}

/// A controller's reign. A worker obeys only the greatest term that it has seen.
public struct Term: Hashable, Comparable, Codable, Sendable, CustomStringConvertible {
    /// Written durably before use, one more than any before it.
    public let number: UInt64
    /// Tells two controllers apart that took the same number.
    public let nonce: UInt64

    public init(number: UInt64, nonce: UInt64) {
        self.number = number
        self.nonce = nonce
    }

    public static func < (left: Term, right: Term) -> Bool {
        (left.number, left.nonce) < (right.number, right.nonce)
    }

    public var description: String { "t\(number)" }
}
