package import DejaVuControl
package import DejaVuCore

/// Hears what a controller does, for metrics. Called on the controller's event loop: it must count and return.
package protocol ControllerObserver: Sendable {
    func requestSubmitted(promptTokens: Int, choices: Int)
    func requestRefused(_ code: DejaVuError.Code)
    /// - Parameter queued: how long it waited for cells.
    func requestAdmitted(queued: TimeSpan)
    /// A choice's first token.
    func firstToken(after: TimeSpan)
    /// Each further token of a choice, and the time since the one before.
    func nextToken(after: TimeSpan)
    func choiceFinished(_ reason: FinishReason, outputTokens: Int, after: TimeSpan)
    func passRan(_ timing: PassTiming, by worker: WorkerID)
    func workerJoined(_ worker: WorkerID, _ hello: WorkerHello)
    func workerLost(_ worker: WorkerID, reason: String)
    /// How long the controller took for an event and everything that followed from it.
    func handled(in span: TimeSpan)
    /// Whether workers shall write down what they do.
    var wantsTrace: Bool { get }
    /// - Parameter isLocal: whether the worker's clock is this process's.
    func traced(_ batch: TraceBatch, by worker: WorkerID, isLocal: Bool, at now: Instant)
}

/// An observer implements what it wants to hear.
extension ControllerObserver {
    package func requestSubmitted(promptTokens: Int, choices: Int) {}
    package func requestRefused(_ code: DejaVuError.Code) {}
    package func requestAdmitted(queued: TimeSpan) {}
    package func firstToken(after: TimeSpan) {}
    package func nextToken(after: TimeSpan) {}
    package func choiceFinished(_ reason: FinishReason, outputTokens: Int, after: TimeSpan) {}
    package func passRan(_ timing: PassTiming, by worker: WorkerID) {}
    package func workerJoined(_ worker: WorkerID, _ hello: WorkerHello) {}
    package func workerLost(_ worker: WorkerID, reason: String) {}
    package func handled(in span: TimeSpan) {}
    package var wantsTrace: Bool { false }
    package func traced(_ batch: TraceBatch, by worker: WorkerID, isLocal: Bool, at now: Instant) {}
}
