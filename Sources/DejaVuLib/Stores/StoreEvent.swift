public import DejaVuCore
public import DejaVuKV

/// What a store has to say without being asked.
public enum StoreEvent: Hashable, Sendable {
    /// Rows that were committed turned out bad or are gone; the error says how.
    case lowered(Ledger.Lowering, DejaVuError)
    /// A peer has sent damaged or foreign frames again and again.
    case peerFault(PeerFault)
    /// A file that is not ours, or of another model, was left alone.
    case ignored(file: String, DejaVuError)
    /// The memory behind the store fails: a full disk, an I/O error. What is kept can still be read.
    case failed(DejaVuError)
}
