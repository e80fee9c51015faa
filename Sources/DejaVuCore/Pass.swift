/// A sequence's contiguous run of cells in a stage's KV tensors.
public struct CellRun: Hashable, Codable, Sendable {
    /// The unit of cell runs: counts and starts are multiples of it, so that attention reads whole tiles.
    public static let granularity = 256

    public let start: Int
    public let count: Int
    public init(start: Int, count: Int) {
        self.start = start
        self.count = count
    }
    @inlinable public var end: Int { start + count }

    /// The smallest multiple of the granularity that holds `positions` positions.
    public static func count(forPositions positions: Int) -> Int {
        (positions + granularity - 1) / granularity * granularity
    }
}

/// What a pass does for one sequence: run the tokens at `first ..< first + tokens.count`.
public struct PassEntry: Hashable, Codable, Sendable {
    public let sequence: SequenceID
    /// The position of the first token.
    public let first: Int
    /// Never empty.
    public let tokens: [TokenID]
    /// Whether the last stage samples a token from the last row.
    public let samples: Bool

    public init(sequence: SequenceID, first: Int, tokens: [TokenID], samples: Bool) {
        self.sequence = sequence
        self.first = first
        self.tokens = tokens
        self.samples = samples
    }
    @inlinable public var end: Int { first + tokens.count }
}

/// One run of a stage, and so of a pipeline, over a list of sequences. Prompt chunks, steps and replays are all this.
///
/// A sequence appears at most once in a pass.
public struct Pass: Hashable, Codable, Sendable {
    public let id: PassID
    public let pipeline: PipelineID
    public let epoch: Epoch
    public let entries: [PassEntry]

    public init(id: PassID, pipeline: PipelineID, epoch: Epoch, entries: [PassEntry]) {
        self.id = id
        self.pipeline = pipeline
        self.epoch = epoch
        self.entries = entries
    }

    /// The number of rows that every layer computes.
    public var rowCount: Int { entries.reduce(0) { $0 + $1.tokens.count } }
}
