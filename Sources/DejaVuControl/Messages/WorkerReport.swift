public import DejaVuCore
public import DejaVuKV

/// What a worker has when another controller takes it over: for everything in it there is a `.record` before it.
public struct WorkerReport: Hashable, Codable, Sendable {
    /// A sequence's place in a stage or in a replica.
    public struct Place: Hashable, Codable, Sendable {
        public let sequence: SequenceID
        public let cells: CellRun
        /// What is committed at least.
        public let watermark: Int
        /// Who may write: in a stage this worker itself, in a replica its source. nil in a stage that came from a
        /// replica and was not told to go on with the sequence.
        public let ticket: Ticket?
        public init(sequence: SequenceID, cells: CellRun, watermark: Int, ticket: Ticket?) {
            self.sequence = sequence
            self.cells = cells
            self.watermark = watermark
            self.ticket = ticket
        }
    }
    public struct Stage: Hashable, Codable, Sendable {
        public let assignment: StageAssignment
        /// Ascending by sequence.
        public let sequences: [Place]
        /// Where rows are copied to.
        public let targets: [StoreAddress]
        public init(assignment: StageAssignment, sequences: [Place], targets: [StoreAddress] = []) {
            self.assignment = assignment
            self.sequences = sequences
            self.targets = targets
        }
    }
    public struct Replica: Hashable, Codable, Sendable {
        public let assignment: ReplicaAssignment
        /// Whether its layers and cells are there; `.held` or `.holdFailed` follows if not.
        public let isReady: Bool
        /// Ascending by sequence.
        public let sequences: [Place]
        public init(assignment: ReplicaAssignment, isReady: Bool, sequences: [Place]) {
            self.assignment = assignment
            self.isReady = isReady
            self.sequences = sequences
        }
    }
    public let stages: [Stage]
    public let replicas: [Replica]

    public init(stages: [Stage], replicas: [Replica]) {
        self.stages = stages
        self.replicas = replicas
    }

    /// Every sequence that has a place.
    var sequences: [SequenceID] { (stages.flatMap(\.sequences) + replicas.flatMap(\.sequences)).map(\.sequence) }
}
