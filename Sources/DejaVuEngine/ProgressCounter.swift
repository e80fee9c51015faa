import Synchronization

/// A sign that a stage's thread gets on, which others read: an engine raises it after each layer, or group of layers,
/// of a pass and of loading. A stage that beats without raising it hangs.
public final class ProgressCounter: Sendable {
    private let count = Atomic<UInt64>(0)
    public init() {}
    public func advance() { count.wrappingAdd(1, ordering: .relaxed) }
    public var value: UInt64 { count.load(ordering: .relaxed) }
}
