public import DejaVuCore
public import DejaVuKV

/// What a worker says of itself when its link opens.
public struct WorkerHello: Hashable, Codable, Sendable {
    public let incarnation: Incarnation
    /// The greatest term that the worker has obeyed; nil if none yet.
    public let term: Term?
    public let model: ModelID
    /// Where other workers reach it for activations: `unix:/path` or `host:port`.
    public let peerAddress: String
    /// Where they reach it with frames of KV.
    public let bulkAddress: String
    public let layerCount: Int
    public let kvBytesPerPositionAndLayer: Int
    /// What the worker may hold in KV of its own stages, in bytes.
    public let kvBytesMax: Int
    /// What of that its device holds at one time; the rest lies in the memory below. As much where nothing is swapped.
    public let deviceBytesMax: Int
    /// What it may hold in KV for other workers beside the stage that it may run, in bytes. Where a worker runs more
    /// than fits in `kvBytesMax`, because it took over what it held, the rest counts here.
    public let replicaBytesMax: Int
    public let numericClass: NumericClass
    /// Its process id on this machine if the controller started it.
    public let processID: Int32
    /// When that process began, as the kernel counts: with the id it names one process and no other. 0 if not known.
    public let processStart: UInt64
    /// A name for people: `local-0`, or host name and process id.
    public let name: String

    public init(
        incarnation: Incarnation, term: Term?, model: ModelID, peerAddress: String, bulkAddress: String,
        layerCount: Int,
        kvBytesPerPositionAndLayer: Int, kvBytesMax: Int, deviceBytesMax: Int? = nil, replicaBytesMax: Int,
        numericClass: NumericClass, processID: Int32, processStart: UInt64 = 0, name: String
    ) {
        self.incarnation = incarnation
        self.term = term
        self.model = model
        self.peerAddress = peerAddress
        self.bulkAddress = bulkAddress
        self.layerCount = layerCount
        self.kvBytesPerPositionAndLayer = kvBytesPerPositionAndLayer
        self.kvBytesMax = kvBytesMax
        self.deviceBytesMax = deviceBytesMax ?? kvBytesMax
        self.replicaBytesMax = replicaBytesMax
        self.numericClass = numericClass
        self.processID = processID
        self.processStart = processStart
        self.name = name
    }
}

/// The stage that a worker is to run, and where its hidden rows go.
public struct StageAssignment: Hashable, Codable, Sendable {
    public let pipeline: PipelineID
    public let epoch: Epoch
    public let stageIndex: Int
    public let stageCount: Int
    public let layers: LayerRange
    public let cellCount: Int
    /// How many of the cells are on the device at one time; all where nothing is swapped.
    public let residentCellCount: Int
    /// The worker of the next stage; nil on the last.
    public let next: PeerAddress?
    /// The replica that the worker holds of this stage: it becomes the stage, with the rows that it has.
    public let replica: ReplicaID?

    public init(
        pipeline: PipelineID, epoch: Epoch, stageIndex: Int, stageCount: Int, layers: LayerRange, cellCount: Int,
        residentCellCount: Int? = nil, next: PeerAddress?, replica: ReplicaID? = nil
    ) {
        self.pipeline = pipeline
        self.epoch = epoch
        self.stageIndex = stageIndex
        self.stageCount = stageCount
        self.layers = layers
        self.cellCount = cellCount
        self.residentCellCount = residentCellCount ?? cellCount
        self.next = next
        self.replica = replica
    }
}

extension StageAssignment {
    /// Whether the device holds fewer sequences than the stage.
    public var swaps: Bool { residentCellCount < cellCount }
}

/// The copy of a stage that a standby is to hold.
public struct ReplicaAssignment: Hashable, Codable, Sendable {
    public let id: ReplicaID
    public let pipeline: PipelineID
    public let stageIndex: Int
    public let stageCount: Int
    public let layers: LayerRange
    /// As many as the stage has: a sequence has the same cells in both.
    public let cellCount: Int
    /// How many would be on the device if the replica became the stage.
    public let residentCellCount: Int

    public init(
        id: ReplicaID, pipeline: PipelineID, stageIndex: Int, stageCount: Int, layers: LayerRange, cellCount: Int,
        residentCellCount: Int? = nil
    ) {
        self.id = id
        self.pipeline = pipeline
        self.stageIndex = stageIndex
        self.stageCount = stageCount
        self.layers = layers
        self.cellCount = cellCount
        self.residentCellCount = residentCellCount ?? cellCount
    }
}

/// How many leading positions of a sequence are committed, said by the one that has them.
public struct SequenceMark: Hashable, Codable, Sendable {
    public let sequence: SequenceID
    public let watermark: Int
    public init(sequence: SequenceID, watermark: Int) {
        self.sequence = sequence
        self.watermark = watermark
    }
}

/// Another worker, as this one is to reach it.
public struct PeerAddress: Hashable, Codable, Sendable {
    public let worker: WorkerID
    public let incarnation: Incarnation
    public let address: String
    public init(worker: WorkerID, incarnation: Incarnation, address: String) {
        self.worker = worker
        self.incarnation = incarnation
        self.address = address
    }
}

/// Cells at another worker to which rows are copied: those of a stage, or of its replica. Never both at one worker.
public struct StoreAddress: Hashable, Codable, Sendable {
    /// With the address for frames.
    public let peer: PeerAddress
    public let pipeline: PipelineID
    /// Of that stage.
    public let layers: LayerRange
    public init(peer: PeerAddress, pipeline: PipelineID, layers: LayerRange) {
        self.peer = peer
        self.pipeline = pipeline
        self.layers = layers
    }
}

/// From the controller to a worker. Every message travels with the controller's term, which fences it.
public enum ControllerMessage: Hashable, Codable, Sendable {
    /// Accepted; the worker's id from now on. The worker starts with a clean slate: no stage and no sequences.
    case welcome(WorkerID)
    /// Accepted, with all that the worker has from an earlier controller; its id from now on. It says what that is:
    /// `.record`s, then `.report`. It keeps everything that it is not told to drop, and runs nothing before `.assign`.
    case adopt(WorkerID)
    /// Not taken: the worker shows the error, which names both sides, and exits 1.
    case refused(DejaVuError)
    /// Load these layers and wire the next stage. Answered by `.assigned`. A worker may have several stages, all of one
    /// pipeline: this one comes to the others, or ends those of another pipeline. If it has this stage with as many
    /// cells it keeps the engine and the open sequences; passes of earlier epochs are void. With a replica that one's
    /// engine becomes the stage's, and its sequences wait for `.open`, which ends their old tickets.
    case assign(StageAssignment)
    /// Give a sequence its cells. Sent before the first pass that contains it and not answered. Rows from the stage
    /// before may overtake it, since they come over another link: a pass waits until all its sequences are open. A
    /// sequence that came with a replica keeps its rows and its cells.
    case open(SequenceRecord, cells: CellRun, ticket: Ticket)
    /// Forget a sequence in that pipeline's stages and replicas, and revoke its tickets there. Answered by `.released`
    /// once the memory is quiet. The controller sends it only when no pass of the pipeline's current epoch that
    /// contains the sequence is in flight.
    case release(SequenceID, of: PipelineID)
    /// The sequence has ended so, with these outputs: its record is kept for that long after its release, in case that
    /// the controller dies before the client has all of it.
    case ended(SequenceID, outputs: [TokenID], FinishReason, keep: TimeSpan)
    /// To the first stage: run this and pass it on.
    case run(Pass)
    /// To a later stage that swaps: a pass with these sequences is on its way. Not answered, and of no matter if lost.
    case announce(PipelineID, Epoch, stageIndex: Int, PassID, [SequenceID])
    /// Finish what is running, then exit 0.
    case shutdown
    /// To a holder: load these layers and make these cells for a replica. Answered by `.held` or `.holdFailed`.
    case hold(ReplicaAssignment)
    /// To a holder: forget a replica and all that is in it. Not answered.
    case discard(ReplicaID)
    /// To a holder: give a sequence its cells in a replica, and its source leave to write. Answered by a mark of 0.
    case openReplica(ReplicaID, SequenceRecord, cells: CellRun, ticket: Ticket)
    /// To the worker of a stage: copy a sequence's rows to a holder, or from a prompt stage to a token stage: those
    /// that are there and those that come, under the receiver's ticket, until the sequence is released.
    case replicate(SequenceID, Ticket, to: StoreAddress)
    /// To the worker of a stage: what was meant for these cells is not wanted any more.
    case endReplication(stageIndex: Int, to: StoreAddress)
    /// To the worker of a token stage: let that writer, a prompt stage, into an open sequence's cells, too, instead of
    /// whoever was let into these layers before. Its leave ends with the first pass of this stage that contains the
    /// sequence. Answered by `.shared`.
    case share(SequenceID, Ticket)
    /// The stage is another worker's now: forget it, engine and all. Not answered.
    case retire(PipelineID, stageIndex: Int)
}

/// From a worker to the controller. Every message travels with the worker's incarnation and the term it obeys.
public enum WorkerMessage: Hashable, Codable, Sendable {
    /// The stage is ready. What it holds of the sequences that it has kept; one that is not named is unknown here.
    case assigned(PipelineID, Epoch, stageIndex: Int, [SequenceMark])
    /// Loading failed; the worker stays without the stage.
    case assignFailed(PipelineID, Epoch, stageIndex: Int, DejaVuError)
    case released(SequenceID, of: PipelineID)
    /// The stage has run a pass: how long it computed, and how long its thread had waited for work before it.
    case passed(PassTiming)
    /// From the last stage, for every pass: the pass has crossed all stages. No tokens if no entry samples.
    case sampled(PassID, PipelineID, Epoch, [SampledToken])
    /// The pass could not be run; nothing of it was committed here.
    case passFailed(PassID, PipelineID, Epoch, DejaVuError)
    /// Every 100 ms, from a thread of its own.
    case heartbeat(WorkerHeartbeat)
    /// The link to the next stage broke.
    case peerLost(WorkerID)
    /// The replica's layers and cells are there.
    case held(ReplicaID)
    /// The replica could not be made; the worker does not hold it.
    case holdFailed(ReplicaID, DejaVuError)
    /// What is committed of some of a replica's sequences. The first mark of each is 0: it is open.
    case replicated(ReplicaID, [SequenceMark])
    /// The writer with that ticket is let in; how much of the sequence is committed in the stage.
    case shared(SequenceID, ticket: UInt64, watermark: Int)
    /// What prompt stages have brought: how much of some sequences is committed in a token stage.
    case landed(PipelineID, stageIndex: Int, [SequenceMark])
    /// The worker was asked to end. It works on until `.shutdown`, which comes when others have its stages.
    case leaving
    /// To a controller that adopts: a sequence as far as this worker knows it, and how it ended if it has.
    case record(SequenceRecord, ended: FinishReason?)
    /// The answer to `.adopt`, when nothing that was released can be written to any more.
    case report(WorkerReport)
}

/// When and how long a stage computed.
public struct PassTiming: Hashable, Codable, Sendable {
    public let pass: PassID
    public let pipeline: PipelineID
    public let epoch: Epoch
    public let stageIndex: Int
    public let computed: TimeSpan
    public let idleBefore: TimeSpan
    public init(
        pass: PassID, pipeline: PipelineID, epoch: Epoch, stageIndex: Int, computed: TimeSpan, idleBefore: TimeSpan
    ) {
        self.pass = pass
        self.pipeline = pipeline
        self.epoch = epoch
        self.stageIndex = stageIndex
        self.computed = computed
        self.idleBefore = idleBefore
    }
}

/// A sign of life, and of progress.
public struct WorkerHeartbeat: Hashable, Codable, Sendable {
    /// Another number whenever the compute thread has finished something: a pass, or a layer of one.
    public let progress: UInt64
    /// Another number whenever an engine that is loaded has got on.
    public let loading: UInt64
    /// Whether a pass is running.
    public let busy: Bool
    /// How often K and V of a committed position came out otherwise when they were computed again; never falls.
    public let rewriteMismatches: UInt64
    /// Whether an emulated device keeps its times, since the worker's start; nil for a real one.
    public let emulation: EmulationUsage?
    /// What it has swapped; nil if it cannot.
    public let swap: SwapUsage?
    public init(
        progress: UInt64, loading: UInt64 = 0, busy: Bool, rewriteMismatches: UInt64 = 0,
        emulation: EmulationUsage? = nil,
        swap: SwapUsage? = nil
    ) {
        self.progress = progress
        self.loading = loading
        self.busy = busy
        self.rewriteMismatches = rewriteMismatches
        self.emulation = emulation
        self.swap = swap
    }
}
