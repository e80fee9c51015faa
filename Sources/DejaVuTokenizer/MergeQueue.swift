/// Joins neighbouring symbols, the most urgent pair first and of equal pairs the left one, until no pair can be joined.
///
/// Short texts are searched from end to end each time. Long ones have a heap of pairs: n log n in the length, whatever
/// the text.
struct MergeQueue {
    /// A piece of the text. Dead ones, which were joined to their left neighbour, have length 0.
    struct Symbol {
        var id: Int32
        var start: Int32
        var length: Int32
        var previous: Int32
        var next: Int32
    }

    private struct Pair {
        /// Priority, then the left symbol's index. The smallest is first.
        let key: UInt64
        let right: Int32
        /// The length of both together when the pair was found; another one now means that one of them has changed.
        let length: Int32
        let result: Int32
        var left: Int32 { Int32(truncatingIfNeeded: key) }
    }

    private(set) var symbols: [Symbol] = []
    private var heap: [Pair] = []
    private var merges: [MergeTable.Merge] = []
    private static let shortCountMax = 32

    mutating func removeAll() {
        symbols.removeAll(keepingCapacity: true)
        heap.removeAll(keepingCapacity: true)
    }

    /// Appends a symbol to the text.
    mutating func append(id: Int32, start: Int, length: Int) {
        let index = Int32(symbols.count)
        if index > 0 { symbols[Int(index) - 1].next = index }
        symbols.append(
            Symbol(id: id, start: Int32(start), length: Int32(length), previous: index - 1, next: -1))
    }

    /// Joins what can be joined; afterwards `symbols` holds what is left, and perhaps dead ones. `merge` tells what two
    /// neighbours become, with a priority that is `.max` for nothing.
    mutating func run(_ merge: (Symbol, Symbol) -> MergeTable.Merge) {
        if symbols.count <= Self.shortCountMax {
            runShort(merge)
        } else {
            runLong(merge)
        }
    }

    private mutating func runShort(_ merge: (Symbol, Symbol) -> MergeTable.Merge) {
        merges.removeAll(keepingCapacity: true)
        for index in symbols.indices.dropLast() { merges.append(merge(symbols[index], symbols[index + 1])) }
        while true {
            var best = -1
            var bestRank = UInt32.max
            for index in merges.indices where merges[index].rank < bestRank {
                best = index
                bestRank = merges[index].rank
            }
            guard best >= 0 else { return }
            symbols[best].id = merges[best].result
            symbols[best].length += symbols[best + 1].length
            symbols.remove(at: best + 1)
            merges.remove(at: best)
            if best > 0 { merges[best - 1] = merge(symbols[best - 1], symbols[best]) }
            if best < merges.count { merges[best] = merge(symbols[best], symbols[best + 1]) }
        }
    }

    private mutating func runLong(_ merge: (Symbol, Symbol) -> MergeTable.Merge) {
        for index in symbols.indices.dropFirst() { consider(Int32(index) - 1, Int32(index), merge) }
        while let pair = popFirst() {
            let left = Int(pair.left)
            let right = Int(pair.right)
            guard symbols[left].length > 0, symbols[right].length > 0,
                symbols[left].length + symbols[right].length == pair.length
            else { continue }
            symbols[left].length = pair.length
            symbols[left].id = pair.result
            symbols[right].length = 0
            let next = symbols[right].next
            symbols[left].next = next
            if next >= 0 { symbols[Int(next)].previous = pair.left }
            if symbols[left].previous >= 0 { consider(symbols[left].previous, pair.left, merge) }
            if next >= 0 { consider(pair.left, next, merge) }
        }
    }

    private mutating func consider(
        _ left: Int32, _ right: Int32, _ merge: (Symbol, Symbol) -> MergeTable.Merge
    ) {
        let found = merge(symbols[Int(left)], symbols[Int(right)])
        guard found.rank != .max else { return }
        let length = symbols[Int(left)].length + symbols[Int(right)].length
        push(
            Pair(
                key: UInt64(found.rank) << 32 | UInt64(UInt32(bitPattern: left)), right: right, length: length,
                result: found.result))
    }

    private mutating func push(_ pair: Pair) {
        heap.append(pair)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].key < heap[parent].key else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func popFirst() -> Pair? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        guard !heap.isEmpty else { return first }
        var hole = 0
        while true {
            var child = 2 * hole + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1].key < heap[child].key { child += 1 }
            guard heap[child].key < last.key else { break }
            heap[hole] = heap[child]
            hole = child
        }
        heap[hole] = last
        return first
    }
}
