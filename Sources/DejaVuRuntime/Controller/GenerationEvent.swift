package import DejaVuControl
package import DejaVuCore

/// What becomes of a submitted request, in order. The last event is `refused`, or the `finished` of the last choice.
package enum GenerationEvent: Hashable, Sendable {
    /// It has left the queue.
    case admitted
    /// The next token of a choice: each exactly once.
    case token(choice: Int, SampledToken)
    /// The choice's last event.
    case finished(choice: Int, FinishReason)
    /// The request's only event.
    case refused(Refusal)
}
