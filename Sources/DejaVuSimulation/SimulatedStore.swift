import DejaVuControl
import DejaVuCore
import DejaVuKV

/// A stage's memory with the ledger of who may write to it: a replica, or the stage that it has become.
struct SimulatedStore: Sendable {
    /// A frame that was admitted and whose bytes come.
    struct Landing: Sendable {
        let arrival: Arrival
        let frame: SimulatedFrame
        /// The source's link, and who it was.
        let from: Int
        let fromGeneration: UInt64
        let serial: UInt64
        var taken = 0
    }

    let layers: LayerRange
    /// Under which others find it, with the layers.
    var pipeline: PipelineID
    /// nil once it is the stage's.
    var replica: ReplicaID?
    var engine: EmulatedStage
    var ledger: Ledger
    /// What comes from elsewhere: at most a few.
    var landings: [Landing] = []
    /// Released sequences whose memory is not quiet yet, by ticket.
    var releasing: [(ticket: UInt64, answer: WorkerEvent)] = []

    init(engine: EmulatedStage, pipeline: PipelineID, replica: ReplicaID?) {
        layers = engine.layers
        self.pipeline = pipeline
        self.replica = replica
        self.engine = engine
        ledger = Ledger(layers: engine.layers, rowBytes: 8, numericClass: NumericClass(hash: 1))
    }
}

/// A frame on its way.
struct SimulatedFrame: Sendable {
    let flight: FlightID
    let target: StoreAddress
    let header: FrameHeader
    let rows: [UInt64]
    let intact: Bool
}

/// What a holder says to a frame.
enum FrameAnswer: Hashable, Sendable {
    case committed(watermark: Int)
    case gap(watermark: Int)
    /// May work later.
    case failed
    case refused
}

/// A source's link to cells elsewhere.
struct BulkLink: Sendable {
    let target: StoreAddress
    var holder: Incarnation { target.peer.incarnation }
    /// Tells it from an earlier one; nil while it is made.
    var serial: UInt64
    var connected = false
    /// When the last frame arrives, and the last answer: links keep order.
    var toHolder = Instant.zero
    var toSource = Instant.zero
}
