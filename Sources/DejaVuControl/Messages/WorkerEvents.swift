public import DejaVuCore
public import DejaVuKV

/// Names hidden rows that the worker's process holds. The machine sees the name alone, never the bytes.
///
/// Every handle that the machine is given it gives back exactly once: in `.compute`, in `.forward` or in `.drop`.
public struct RowsHandle: Hashable, Codable, Sendable {
    public let rawValue: UInt64
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
}

/// Names an engine of the worker's process: that of a stage. Never used again.
public struct EngineID: Hashable, Comparable, Codable, Sendable {
    public let rawValue: UInt64
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    public static func < (left: EngineID, right: EngineID) -> Bool { left.rawValue < right.rawValue }
}

/// Whose memory knows a sequence's tokens.
public enum RecordKeeper: Hashable, Codable, Sendable {
    case stage(EngineID)
    case replica(ReplicaID)
}

/// What came out of a pass on this stage.
public enum ComputeOutput: Hashable, Codable, Sendable {
    /// Rows for the next stage.
    case hidden(RowsHandle)
    /// The last stage's tokens, one for each entry that samples, in their order; empty if none does.
    case sampled([SampledToken])
}

/// Everything that can happen to the worker machine.
///
/// Heartbeats do not go through the machine: they come from a thread of their own.
public enum WorkerEvent: Hashable, Codable, Sendable {
    /// The link to a controller is open and the handshake has passed; the controller's term.
    case controllerConnected(Term)
    case controllerLost(reason: String)
    case message(Term, ControllerMessage)
    /// Rows of a pass from the stage before, for that stage; the term travels with them.
    case hidden(from: Incarnation, Term, Pass, stageIndex: Int, RowsHandle)
    /// The answers to `.load`.
    case loaded(EngineID)
    case loadFailed(EngineID, DejaVuError)
    /// The answers to `.connect`; a peer may also be lost later.
    case peerConnected(Incarnation)
    case peerLost(Incarnation, reason: String)
    /// The answers to `.compute`: how long the stage computed and how long its thread had waited for work before.
    case computed(PassID, ComputeOutput, computed: TimeSpan, idleBefore: TimeSpan)
    case computeFailed(PassID, DejaVuError)
    case timer(TimerID)
    /// The process was asked to end: its stages are to go to others first.
    case leave
    /// The answers to `.loadReplica`.
    case replicaLoaded(ReplicaID)
    case replicaLoadFailed(ReplicaID, DejaVuError)
    /// Sequences were opened in a replica (their mark is 0) or frames have been committed.
    case landed(ReplicaID, [SequenceMark])
    /// The answer to `.releaseReplica`: nobody can write to its cells any more.
    case replicaReleased(ReplicaID, SequenceID)
    /// The answer to `.promote`: what is committed.
    case promoted(ReplicaID, [SequenceMark])
    /// The answer to `.releaseLanded`: nobody can write to its cells any more.
    case landedReleased(EngineID, SequenceID)
    /// The answer to `.share`, with what is committed.
    case shared(EngineID, SequenceID, ticket: UInt64, watermark: Int)
    /// Frames of prompt stages have been committed in a stage.
    case stageLanded(EngineID, [SequenceMark])
}

/// Everything that the worker machine can ask of its process.
///
/// `.load`, `.open`, `.release`, `.compute` and the orders about replicas are done one after the other in the order in
/// which they were given.
public enum WorkerAction: Hashable, Codable, Sendable {
    /// To the controller, with this worker's incarnation and the term that it obeys.
    case send(WorkerMessage)
    /// Send `.record` of a sequence that has not ended, with the outputs that passes and frames have brought there.
    case sendRecord(SequenceRecord, knownTo: RecordKeeper)
    /// Close the link to a controller whose term has passed.
    case rejectController(reason: String)
    /// Make an engine of these layers with that many cells. Answered by `.loaded` or `.loadFailed`.
    case load(EngineID, StageAssignment)
    /// Open a link for hidden rows to the next stage. Answered by `.peerConnected` or `.peerLost`.
    case connect(PeerAddress)
    /// Close the link to a former next stage. Not answered.
    case disconnect(Incarnation)
    case open(EngineID, SequenceRecord, cells: CellRun, Ticket)
    case release(EngineID, SequenceID)
    /// Release a sequence to whose cells frames may still be written. Answered by `.landedReleased`.
    case releaseLanded(EngineID, SequenceID)
    /// Run an engine; at most one at a time. Answered by `.computed` or `.computeFailed`. The handle is used up.
    case compute(EngineID, Pass, RowsHandle?)
    /// Send rows to the worker of that stage, with the term, in order. The handle is used up.
    case forward(to: Incarnation, Term, Pass, stageIndex: Int, RowsHandle)
    /// Nobody wants these rows any more.
    case drop(RowsHandle)
    /// That engine will run a pass with these sequences. Done at once, while another may run.
    case announce(EngineID, PassID, [SequenceID])
    case setTimer(TimerID, at: Instant)
    /// End the process.
    case exit(code: Int32, reason: String)
    /// Drop a stage's engine.
    case unload(EngineID)
    /// Make another engine, with cells into which frames will land. Answered by `.replicaLoaded` or
    /// `.replicaLoadFailed`.
    case loadReplica(ReplicaAssignment)
    /// Drop a replica's engine and all that is in it. Not answered, and nothing more is said of it.
    case dropReplica(ReplicaID)
    /// Open a sequence in a replica. Answered by `.landed` with a mark of 0.
    case openReplica(ReplicaID, SequenceRecord, cells: CellRun, Ticket)
    /// Revoke a sequence's ticket in a replica and forget it. Answered by `.replicaReleased`.
    case releaseReplica(ReplicaID, SequenceID)
    /// The replica's engine becomes the stage's, under that name. Answered by `.promoted`.
    case promote(ReplicaID, EngineID)
    /// A sequence that came with the replica: its record, as far as it is known now, and the ticket in place of the one
    /// that the old source has. Frames of that one are refused from here on. What only some layers have is forgotten.
    case adopt(EngineID, SequenceRecord, Ticket)
    /// Copy what the stage holds of a sequence, and will hold until its release, to cells elsewhere.
    case replicate(EngineID, SequenceID, Ticket, to: StoreAddress)
    /// Copy nothing more of it to those cells.
    case endReplication(EngineID, to: StoreAddress)
    /// Let a further writer into a stage's cells, which others find under that pipeline and these layers. It is let out
    /// again by the next pass that contains the sequence. Answered by `.shared`.
    case share(EngineID, Ticket, pipeline: PipelineID, LayerRange)
}
