package import DejaVuControl
package import DejaVuCore

/// What happens to a request, as the controller says it.
package enum GenerationEvent: Hashable, Sendable {
    /// It has left the queue.
    case admitted(RequestID)
    /// The next token of a choice: each once and in order.
    case token(RequestID, choice: Int, SampledToken)
    /// The choice's last event.
    case finished(RequestID, choice: Int, FinishReason)
    /// The request's only event.
    case refused(RequestID, Refusal)
}

/// What generates: the controller with its workers, or a fake in tests.
///
/// Every submitted request comes to an end by itself: `.refused`, or `.finished` for each choice. Calls return at once.
package protocol GenerationBackend: Sendable {
    /// The clock in which `Request.deadline` is counted.
    var now: Instant { get }

    /// Takes a request; everything about it is delivered to the mailbox, from any thread.
    func submit(_ request: Request, to mailbox: GenerationMailbox)

    /// What becomes of a request that a server before this one had taken is delivered to the mailbox from now on.
    func follow(_ request: RequestID, to mailbox: GenerationMailbox)

    /// The client is gone. Events may still come and are ignored; unknown requests too.
    func cancel(_ request: RequestID)

    /// A stop string ended this choice.
    func finish(_ request: RequestID, choice: Int)

    /// Lets a worker hand its stages over to others and end. Unknown ones are ignored.
    func drainWorker(_ worker: WorkerID)

    /// Kills a worker of this machine, as a demonstration.
    ///
    /// - Returns: whether there was one with this process id.
    func killWorker(_ process: Int32) -> Bool

    func status() async -> ClusterStatus
}

/// What one without workers, and that outlives no server, has no use for.
extension GenerationBackend {
    package func drainWorker(_ worker: WorkerID) {}
    package func follow(_ request: RequestID, to mailbox: GenerationMailbox) {}
}
