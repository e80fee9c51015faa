public import DejaVuCore

/// The part of a model that one worker runs, and the memory it has for it.
public struct StageDescription: Hashable, Codable, Sendable {
    public let model: ModelID
    public let layers: LayerRange
    /// Layers of the whole model: the stage is the first if `layers.first == 0`, the last if `layers.end` is this.
    public let layerCount: Int
    /// Cells per layer; a multiple of `CellRun.granularity`.
    public let cellCount: Int
    /// Bytes of one hidden row on the wire.
    public let hiddenRowBytes: Int
    /// Bytes of K and V of one position in one layer, as accounted for.
    public let kvBytesPerPositionAndLayer: Int
    public let numericClass: NumericClass

    public init(
        model: ModelID, layers: LayerRange, layerCount: Int, cellCount: Int, hiddenRowBytes: Int,
        kvBytesPerPositionAndLayer: Int, numericClass: NumericClass
    ) {
        self.model = model
        self.layers = layers
        self.layerCount = layerCount
        self.cellCount = cellCount
        self.hiddenRowBytes = hiddenRowBytes
        self.kvBytesPerPositionAndLayer = kvBytesPerPositionAndLayer
        self.numericClass = numericClass
    }
    public var isFirst: Bool { layers.first == 0 }
    public var isLast: Bool { layers.end == layerCount }
}

/// What comes out of a stage.
public enum StageOutput: Sendable {
    /// One row for each token of the pass, in the order of its entries: for the next stage.
    case hidden([UInt8])
    /// One token for each entry that samples, in order: from the last stage.
    case sampled([SampledToken])
}

/// Runs passes over one stage. Used by one thread at a time; who makes it may hand it to another.
///
/// Guarantees row invariance: the bits of a row depend on its sequence's tokens up to it alone. A pass that starts
/// below the stage's watermark leaves the committed rows as they are and attends to them.
public protocol StageEngine: AnyObject {
    var stage: StageDescription { get }

    /// The cells, for those who copy rows out of them and into them.
    var memory: any StageMemory { get }

    /// Gives a sequence its cells. The run does not overlap that of any other open sequence.
    ///
    /// - Parameter watermark: how many leading positions lie in the cells already, put there through `memory`; the
    ///   record has their tokens.
    func open(_ record: SequenceRecord, cells: CellRun, watermark: Int) throws(DejaVuError)

    /// Forgets a sequence; its cells may be given to another. Unknown sequences are ignored.
    func release(_ sequence: SequenceID)

    /// How many leading positions of a sequence the stage holds; 0 if it is not open.
    func watermark(of sequence: SequenceID) -> Int

    /// How often K and V of a committed position came out otherwise when a pass computed them again; 0 if the engine
    /// does not look. Anything else says that row invariance is broken here.
    var rewriteMismatchCount: UInt64 { get }

    /// Runs the layers over a pass.
    ///
    /// - Parameter hidden: the rows of the stage before, `hiddenRowBytes` each; nil on the first stage.
    /// - Throws: `.invalidArgument` if an entry's sequence is not open, starts above the watermark or passes the end
    ///   of its cells; nothing was written then.
    func run(_ pass: Pass, hidden: [UInt8]?) throws(DejaVuError) -> StageOutput

    /// Sees to it that `memory` has the rows of the last pass. Called after what came out of it has been passed on, and
    /// before anybody may read them there.
    ///
    /// - Throws: if they cannot be kept; no pass runs after that.
    func settle() throws(DejaVuError)

    /// How long the last pass waited for rows of earlier ones to be brought to the device, before it computed.
    var lastWait: TimeSpan { get }

    /// For those who know early what will run; nil if the engine does not care.
    var announcements: (any PassAnnouncements)? { get }
}

/// Takes word of passes that will come, from any thread. Nothing is promised to come of it.
public protocol PassAnnouncements: AnyObject, Sendable {
    func announce(_ pass: PassID, _ sequences: [SequenceID])
}

extension StageEngine {
    public var rewriteMismatchCount: UInt64 { 0 }
    public func settle() throws(DejaVuError) {}
    public var lastWait: TimeSpan { .zero }
    public var announcements: (any PassAnnouncements)? { nil }
}

extension StageEngine {
    /// Gives a sequence cells in which nothing of it is yet.
    public func open(_ record: SequenceRecord, cells: CellRun) throws(DejaVuError) {
        try open(record, cells: cells, watermark: 0)
    }
}

/// A stage's cells as bytes: in each layer one row for each cell, K and then V.
///
/// Any thread may call it while the engine computes, as long as nobody reads rows that somebody else writes: passes
/// write above a sequence's watermark, so do frames, and never both; what is read is below it. It outlives its engine
/// for as long as it is held.
public protocol StageMemory: AnyObject, Sendable {
    /// Bytes of K and V of one position in one layer.
    var rowBytes: Int { get }
    /// Copies the rows of some cells out, `rowBytes` each.
    ///
    /// - Parameter layer: counted from the stage's first.
    /// - Throws: `.invalidFile` if what is kept in a file cannot be read, or turned out bad.
    func read(layer: Int, cells: Range<Int>, into bytes: UnsafeMutableRawBufferPointer) throws(DejaVuError)
    /// Copies rows in.
    ///
    /// - Throws: `.invalidFile` if a file cannot be written.
    func write(layer: Int, cells: Range<Int>, from bytes: UnsafeRawBufferPointer) throws(DejaVuError)
}
