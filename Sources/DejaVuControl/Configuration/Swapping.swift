/// Whether pipelines may hold more sequences than their devices do at one time.
package enum Swapping: String, Hashable, Codable, Sendable, CaseIterable {
    /// Where there is memory for it, as long as measured times say that it pays.
    case auto
    /// Where there is memory for it.
    case on
    /// Never: what the devices do not hold waits in the queue.
    case off
}
