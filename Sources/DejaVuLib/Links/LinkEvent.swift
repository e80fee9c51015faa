public import DejaVuCore

/// What happens to an open link, in order; told on the link's event loop.
public enum LinkEvent: Sendable {
    case message(LinkMessage)
    /// A part of a message of a streamed kind; only where the link's limits name such kinds.
    case piece(LinkPiece)
    /// The bytes at hand are used up: the moment to flush what the messages before have caused.
    case batchEnd
    /// The unsent bytes have crossed a water mark.
    case writable(Bool)
    /// The last event.
    case closed(LinkEnd)
}

/// How a link ended. Who is dead is for others to decide.
public struct LinkEnd: Hashable, Sendable, CustomStringConvertible {
    public enum Cause: String, Hashable, Sendable {
        /// This side called `close`.
        case closedHere
        /// The peer said goodbye.
        case closedByPeer
        /// The connection broke, or ended without a word.
        case lost
        /// The peer broke the protocol or a limit; this side hung up.
        case dropped
    }
    public let cause: Cause
    public let error: DejaVuError

    public init(_ cause: Cause, _ error: DejaVuError) {
        self.cause = cause
        self.error = error
    }
    public var description: String { "\(cause): \(error.message)" }
}
