public import DejaVuCore
public import DejaVuKV

/// What an engine reports to whoever decides. None of it stops the other streams.
public enum StreamEvent: Hashable, Sendable {
    /// Nothing goes to this destination until it is attached again.
    case linkLost(StoreID, DejaVuError)
    /// The destination does not take a sequence: the stream stands still until there is a new ticket.
    case refused(SubscriptionID, SequenceID, DejaVuError)
    /// A frame failed and is tried again after a while.
    case delayed(SubscriptionID, SequenceID, DejaVuError)
    /// The source turned out to hold less than it had said.
    case sourceLowered(SequenceID, LayerRange, to: Int, DejaVuError)
}

/// A destination has committed something.
public struct StreamProgress: Hashable, Sendable {
    public let subscription: SubscriptionID
    public let sequence: SequenceID
    public let layers: LayerRange
    /// The destination's, over these layers.
    public let watermark: Int
}
