import Synchronization

/// How many of a link's bytes wait somewhere else than in its channel. Set on the link's loop, looked at from anywhere.
final class UnsentGauge: Sendable {
    private let count = Atomic<Int>(0)
    private let full = Atomic<Bool>(false)

    var bytes: Int { count.load(ordering: .relaxed) }
    var isFull: Bool { full.load(ordering: .relaxed) }

    /// - Returns: whether it is full now and was not, or the other way round.
    func set(_ bytes: Int, limits: LinkLimits) -> Bool {
        count.store(bytes, ordering: .relaxed)
        let was = isFull
        let isFull = was ? bytes > limits.writableBytesLow : bytes >= limits.writableBytesHigh
        full.store(isFull, ordering: .relaxed)
        return isFull != was
    }
}
