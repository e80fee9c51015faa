/// Which pairs of symbols byte-pair encoding joins: a hash table from (left, right) to the merge's rank and result.
struct MergeTable: Sendable {
    /// What a pair becomes.
    struct Merge: Sendable {
        /// Lower ranks are joined first.
        let rank: UInt32
        let result: Int32
    }

    private struct Slot {
        var key: UInt64
        var merge: Merge
    }

    private static let empty = UInt64.max
    private var slots: [Slot]
    private let multiplier = UInt64.random(in: 0 ... .max) | 1
    private let shift: Int

    init(capacity: Int) {
        var bits = 6
        while 1 << bits < capacity * 2 { bits += 1 }
        slots = [Slot](
            repeating: Slot(key: Self.empty, merge: Merge(rank: .max, result: -1)), count: 1 << bits)
        shift = 64 - bits
    }

    /// Adds a merge. The first one of a pair stays.
    mutating func insert(_ left: Int32, _ right: Int32, _ merge: Merge) {
        let key = Self.key(left, right)
        var slot = start(key)
        while slots[slot].key != Self.empty {
            guard slots[slot].key != key else { return }
            slot = (slot + 1) & (slots.count - 1)
        }
        slots[slot] = Slot(key: key, merge: merge)
    }

    /// The merge of a pair; its rank is `.max` if there is none.
    @inline(__always)
    func find(_ left: Int32, _ right: Int32) -> Merge {
        let key = Self.key(left, right)
        var slot = start(key)
        while true {
            let found = slots[slot]
            if found.key == key || found.key == Self.empty { return found.merge }
            slot = (slot + 1) & (slots.count - 1)
        }
    }

    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    /// Where a key's search starts: multiply-shift with a random multiplier, which nobody can prepare a file against.
    private func start(_ key: UInt64) -> Int {
        Int(truncatingIfNeeded: ((key ^ key >> 29) &* multiplier) >> UInt64(shift))
    }
}
