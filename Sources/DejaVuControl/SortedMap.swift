/// A map that is iterated in the order of its keys, whatever the order of insertion: the machines must do the same in
/// every process. Small, and fast where new keys are the greatest, as ids are.
struct SortedMap<Key: Comparable & Sendable, Value: Sendable>: Sendable {
    private(set) var keys: [Key] = []
    private(set) var values: [Value] = []

    var count: Int { keys.count }
    var isEmpty: Bool { keys.isEmpty }
    var indices: Range<Int> { keys.indices }

    /// The index of the first key that is not below `key`.
    private func position(of key: Key) -> Int {
        if let last = keys.last, last < key { return keys.count }
        var low = 0
        var high = keys.count
        while low < high {
            let middle = (low + high) / 2
            if keys[middle] < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func index(of key: Key) -> Int? {
        let index = position(of: key)
        return index < keys.count && keys[index] == key ? index : nil
    }

    func contains(_ key: Key) -> Bool { index(of: key) != nil }

    subscript(key: Key) -> Value? { index(of: key).map { values[$0] } }

    subscript(at index: Int) -> Value {
        // Values are large: one who reads a part must not pay for a copy.
        _read { yield values[index] }
        _modify { yield &values[index] }
    }

    /// - Precondition: the key is new.
    mutating func insert(_ value: Value, for key: Key) {
        let index = position(of: key)
        precondition(index == keys.count || keys[index] != key, "\(key) is there already")
        keys.insert(key, at: index)
        values.insert(value, at: index)
    }

    @discardableResult
    mutating func remove(_ key: Key) -> Value? {
        guard let index = index(of: key) else { return nil }
        keys.remove(at: index)
        return values.remove(at: index)
    }

    mutating func removeAll() {
        keys.removeAll()
        values.removeAll()
    }
}
