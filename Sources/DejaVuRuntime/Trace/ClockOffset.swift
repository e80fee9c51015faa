package import DejaVuCore

/// How far another machine's clock is behind ours, from messages that say when they were sent.
///
/// No message arrives before it was sent, so the smallest difference of late is the nearest to the truth, and too large
/// by the fastest way through the network.
package struct ClockOffset: Hashable, Sendable {
    /// Some seconds of heartbeats: clocks drift.
    private static let countMax = 64
    private var differences: [TimeSpan] = []
    private var next = 0

    package init() {}

    /// - Returns: what to add to the other clock's instants.
    package mutating func heard(sentAt: Instant, receivedAt: Instant) -> TimeSpan {
        let difference = receivedAt - sentAt
        if differences.count < Self.countMax {
            differences.append(difference)
        } else {
            differences[next] = difference
        }
        next = (next + 1) % Self.countMax
        return differences.reduce(difference, min)
    }
}
