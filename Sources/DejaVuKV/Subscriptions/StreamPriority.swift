/// Who goes first when several streams share a path; the lower value wins.
public enum StreamPriority: UInt8, Hashable, Comparable, CaseIterable, Codable, Sendable {
    /// A microbatch that is to run next.
    case swapIn = 0
    /// What a taker lacks after a failure.
    case restoration = 1
    /// A prompt's KV on its way to the token pipeline.
    case handOver = 2
    /// The running copy of a stage.
    case replica = 3
    /// A replica that is made anew: only what the others leave.
    case rebuild = 4

    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}
