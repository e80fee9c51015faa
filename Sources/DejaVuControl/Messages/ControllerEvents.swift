public import DejaVuCore

/// Names a timer that the controller has asked for.
public struct TimerID: Hashable, Codable, Sendable {
    public let rawValue: UInt64
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
}

/// Everything that can happen to the controller machine.
public enum ControllerEvent: Hashable, Codable, Sendable {
    /// The first event where a controller may have reigned here before: waits for these workers and for no others, at
    /// most until then, takes them over with what they have, and ends with `.adopted`. Nothing is placed before.
    ///
    /// - Parameter deadline: that of requests that are found.
    case adopt(expecting: [Incarnation], until: Instant, deadline: Instant)
    /// Some worker obeys a later controller: this one has nothing to say any more.
    case depose(reason: String)
    /// A worker's link is open and its handshake has passed. The id was never used before, even if the process is
    /// known.
    case workerJoined(WorkerID, WorkerHello)
    /// A link is broken or a local child has ended.
    case workerLost(WorkerID, reason: String)
    /// What a worker sent, with the incarnation and the term that travelled with it.
    case message(WorkerID, Incarnation, Term, WorkerMessage)
    /// The id was never used before.
    case submit(Request)
    /// The client is gone: every sequence of the request ends with `.cancelled`.
    case cancel(RequestID)
    /// The server found a stop string in this choice's text: it ends with `.stop`.
    case finish(RequestID, choice: Int)
    case timer(TimerID)
    /// Move the worker's stages to others and end it. No effect on one that is not there.
    case drainWorker(WorkerID)
    /// Admit nothing more; `.stopped` follows when the last sequence has ended or the deadline has passed.
    case drain(deadline: Instant)
}

/// Everything that the controller machine can ask of the world.
public enum ControllerAction: Hashable, Codable, Sendable {
    case send(WorkerID, ControllerMessage)
    case setTimer(TimerID, at: Instant)
    /// Close the link; if the worker is a local child, kill and reap it.
    case dismiss(WorkerID, reason: String)
    /// It was told to end, and is gone. A local child that has not ended after a while, nor come back, is killed.
    case parted(WorkerID, reason: String)
    /// The request has left the queue and holds its cells.
    case admitted(RequestID)
    /// An accepted token of a choice; each exactly once and in order. A stop token is emitted too, before `.finished`.
    case emit(RequestID, choice: Int, SampledToken)
    case finished(RequestID, choice: Int, FinishReason)
    /// The request was not taken at all; nothing was or will be emitted for it.
    case refused(RequestID, Refusal)
    /// A request of before this controller was found; of its choices that have not ended, what follows is emitted.
    case restored(RestoredRequest)
    /// From now on sequences take turns on the devices of that pipeline, or do not; why, in words.
    case swapping(PipelineID, isOn: Bool, reason: String)
    /// The answer to `adopt`, behind all that was restored.
    case adopted
    /// The answer to `drain`.
    case stopped
    /// Nothing is done any more: another controller reigns.
    case deposed(reason: String)
}

/// Why a request was not taken.
public struct Refusal: Hashable, Codable, Sendable {
    public let error: DejaVuError
    /// When it may be worth trying again; nil if never.
    public let retryAfter: TimeSpan?
    public init(error: DejaVuError, retryAfter: TimeSpan?) {
        self.error = error
        self.retryAfter = retryAfter
    }
}
