/// Many byte strings end to end, numbered from 0.
struct ByteStrings: Sendable {
    private(set) var bytes: [UInt8] = []
    private var ends: [UInt32] = []

    var count: Int { ends.count }

    /// Appends a string. All strings together are below 4 GiB: they come from metadata, which is bounded by then.
    mutating func append(_ string: some Collection<UInt8>) {
        bytes.append(contentsOf: string)
        precondition(bytes.count <= Int(UInt32.max), "vocabulary larger than 4 GiB")
        ends.append(UInt32(bytes.count))
    }

    func range(_ index: Int) -> Range<Int> { (index == 0 ? 0 : Int(ends[index - 1]))..<Int(ends[index]) }
    subscript(_ index: Int) -> ArraySlice<UInt8> { bytes[range(index)] }

    func equals(_ index: Int, _ other: UnsafeBufferPointer<UInt8>) -> Bool {
        let range = range(index)
        guard range.count == other.count else { return false }
        var position = range.lowerBound
        for byte in other {
            guard bytes[position] == byte else { return false }
            position += 1
        }
        return true
    }
}

/// Finds byte strings by content: a hash table with open addressing over `ByteStrings`.
///
/// The hash starts from a random number, so that nobody can choose strings that all meet in one place.
struct ByteStringIndex: Sendable {
    private(set) var strings = ByteStrings()
    /// The number of a string below, 32 bits of its hash above, so that few other strings are looked at.
    private var slots: [UInt64]
    private let seed = UInt64.random(in: 0 ... .max)
    private static let empty = UInt64.max

    init(minimumCapacity: Int) {
        var capacity = 64
        while capacity < minimumCapacity * 2 { capacity *= 2 }
        slots = [UInt64](repeating: Self.empty, count: capacity)
    }

    /// The number of a string, or -1.
    func find(_ string: UnsafeBufferPointer<UInt8>) -> Int32 {
        let hash = hash(string)
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while true {
            let found = slots[slot]
            if found == Self.empty { return -1 }
            if found >> 32 == hash >> 32 {
                let index = Int32(truncatingIfNeeded: found)
                if strings.equals(Int(index), string) { return index }
            }
            slot = (slot + 1) & mask
        }
    }

    /// The number of a string, which is added if it is not there. Returns also whether it was added.
    mutating func insert(_ string: UnsafeBufferPointer<UInt8>) -> (index: Int32, isNew: Bool) {
        let found = find(string)
        guard found < 0 else { return (found, false) }
        let index = Int32(strings.count)
        if (strings.count + 1) * 2 > slots.count { grow() }
        strings.append(string)
        place(index, hash(string))
        return (index, true)
    }

    /// Gives the next number to something that cannot be found.
    mutating func appendUnfindable() { strings.append([]) }

    private mutating func grow() {
        let old = slots
        slots = [UInt64](repeating: Self.empty, count: old.count * 2)
        strings.bytes.withUnsafeBufferPointer { bytes in
            for found in old where found != Self.empty {
                let index = Int32(truncatingIfNeeded: found)
                place(index, hash(UnsafeBufferPointer(rebasing: bytes[strings.range(Int(index))])))
            }
        }
    }

    private mutating func place(_ index: Int32, _ hash: UInt64) {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while slots[slot] != Self.empty { slot = (slot + 1) & mask }
        slots[slot] = (hash & ~0xFFFF_FFFF) | UInt64(UInt32(bitPattern: index))
    }

    private func hash(_ string: UnsafeBufferPointer<UInt8>) -> UInt64 {
        var state = seed ^ UInt64(truncatingIfNeeded: string.count) &* 0x9E37_79B9_7F4A_7C15
        let raw = UnsafeRawBufferPointer(string)
        var offset = 0
        while offset + 8 <= raw.count {
            state = Self.mix(state, raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self), seed)
            offset += 8
        }
        var rest: UInt64 = 0
        while offset < raw.count {
            rest = rest << 8 | UInt64(raw[offset])
            offset += 1
        }
        return Self.mix(state, rest, seed)
    }

    private static func mix(_ state: UInt64, _ word: UInt64, _ seed: UInt64) -> UInt64 {
        let product = (state ^ word).multipliedFullWidth(by: seed | 1)
        return (product.high ^ product.low) &+ 0x9E37_79B9_7F4A_7C15
    }
}
