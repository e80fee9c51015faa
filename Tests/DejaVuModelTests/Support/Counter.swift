import Synchronization

/// Counts what happens on other threads.
final class Counter: Sendable {
    private let atomic = Atomic<Int>(0)
    var count: Int { atomic.load(ordering: .sequentiallyConsistent) }
    func add(_ amount: Int) { atomic.add(amount, ordering: .sequentiallyConsistent) }
}
