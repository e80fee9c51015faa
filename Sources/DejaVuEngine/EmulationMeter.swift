package import DejaVuCore
import Synchronization

/// Collects the usage of engines on their threads for readers on others.
public final class EmulationMeter: Sendable {
    private let total = Mutex(EmulationUsage())
    public init() {}
    package var usage: EmulationUsage { total.withLock { $0 } }
    func add(_ usage: EmulationUsage) { total.withLock { $0 = $0 + usage } }
}
