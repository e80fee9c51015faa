/// What a pass asks of a device, without its tokens.
public struct PassLoad: Hashable, Sendable {
    /// Rows of one sequence's prompt, or of a replay.
    public struct Chunk: Hashable, Sendable {
        /// The position of the first row.
        public var first: Int
        public var count: Int
        public init(first: Int, count: Int) {
            self.first = first
            self.count = count
        }
        public var end: Int { first + count }
    }

    public var chunks: [Chunk] = []
    /// Sequences that make one step.
    public var stepCount = 0
    /// The positions that these attend to, summed up.
    public var stepPositions = 0

    public init(chunks: [Chunk] = [], stepCount: Int = 0, stepPositions: Int = 0) {
        self.chunks = chunks
        self.stepCount = stepCount
        self.stepPositions = stepPositions
    }

    /// Entries of one token are steps, all others chunks.
    public init(_ pass: Pass) {
        for entry in pass.entries {
            if entry.tokens.count == 1 {
                stepCount += 1
                stepPositions += entry.end
            } else {
                chunks.append(Chunk(first: entry.first, count: entry.tokens.count))
            }
        }
    }

    public var chunkRows: Int { chunks.reduce(0) { $0 + $1.count } }
    public var rows: Int { chunkRows + stepCount }
}
