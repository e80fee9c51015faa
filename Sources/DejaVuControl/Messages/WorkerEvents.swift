public import DejaVuCore

/// Names hidden rows that the worker's process holds. The machine sees the name alone, never the bytes.
///
/// Every handle that the machine is given it gives back exactly once: in `.compute`, in `.forward` or in `.drop`.
public struct RowsHandle: Hashable, Codable, Sendable {
    public let rawValue: UInt64
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
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
    /// Rows of a pass from the stage before; the term travels with them.
    case hidden(from: Incarnation, Term, Pass, RowsHandle)
    /// The answers to `.load`.
    case loaded(PipelineID, Epoch)
    case loadFailed(PipelineID, Epoch, DejaVuError)
    /// The answers to `.connect`; a peer may also be lost later.
    case peerConnected(Incarnation)
    case peerLost(Incarnation, reason: String)
    /// The answers to `.compute`: how long the stage computed and how long its thread had waited for work before.
    case computed(PassID, ComputeOutput, computed: TimeSpan, idleBefore: TimeSpan)
    case computeFailed(PassID, DejaVuError)
    case timer(TimerID)
}

/// Everything that the worker machine can ask of its process.
///
/// `.load`, `.open`, `.release` and `.compute` go to the compute thread, which does them one after the other in the
/// order in which they were given.
public enum WorkerAction: Hashable, Codable, Sendable {
    /// To the controller, with this worker's incarnation and the term that it obeys.
    case send(WorkerMessage)
    /// Close the link to a controller whose term has passed.
    case rejectController(reason: String)
    /// Make the engine of these layers with that many cells, in place of the one that is there. Answered by `.loaded`
    /// or `.loadFailed` with the same pipeline and epoch.
    case load(StageAssignment)
    /// Open a link for hidden rows to the next stage. Answered by `.peerConnected` or `.peerLost`.
    case connect(PeerAddress)
    /// Close the link to a former next stage. Not answered.
    case disconnect(Incarnation)
    case open(SequenceRecord, cells: CellRun)
    case release(SequenceID)
    /// Run the engine; at most one at a time. Answered by `.computed` or `.computeFailed`. The handle is used up.
    case compute(Pass, RowsHandle?)
    /// Send rows to the next stage, with the term, in order. The handle is used up.
    case forward(to: Incarnation, Term, Pass, RowsHandle)
    /// Nobody wants these rows any more.
    case drop(RowsHandle)
    case setTimer(TimerID, at: Instant)
    /// End the process.
    case exit(code: Int32, reason: String)
}
