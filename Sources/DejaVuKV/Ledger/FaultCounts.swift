public import DejaVuCore

/// A peer has erred so often within the window that somebody must decide about it.
public struct PeerFault: Hashable, Sendable {
    public let peer: Incarnation
    /// Integrity faults within the window.
    public let count: Int
    public init(peer: Incarnation, count: Int) {
        self.peer = peer
        self.count = count
    }
}

/// The integrity faults of each peer within a sliding window.
struct FaultCounts: Hashable, Sendable {
    private struct Peer: Hashable {
        let peer: Incarnation
        /// Ascending; never more than the limit.
        var times: [Instant]
    }

    private var peers: [Peer] = []

    /// Counts one fault.
    ///
    /// - Returns: a report if it is the last that the limits allow; the count then begins anew.
    mutating func add(_ peer: Incarnation, at now: Instant, limits: LedgerLimits) -> PeerFault? {
        let index: Int
        if let known = peers.firstIndex(where: { $0.peer == peer }) {
            index = known
        } else {
            if peers.count >= limits.peersMax { forgetOldest() }
            peers.append(Peer(peer: peer, times: []))
            index = peers.count - 1
        }
        peers[index].times.removeAll { now - $0 > limits.faultWindow }
        peers[index].times.append(now)
        guard peers[index].times.count >= limits.faultsMax else { return nil }
        let count = peers[index].times.count
        peers.remove(at: index)
        return PeerFault(peer: peer, count: count)
    }

    private mutating func forgetOldest() {
        var oldest = 0
        for index in peers.indices {
            if (peers[index].times.last ?? .zero) < (peers[oldest].times.last ?? .zero) { oldest = index }
        }
        peers.remove(at: oldest)
    }
}
