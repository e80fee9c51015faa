import DejaVuCore

/// What is to happen, earliest first; of two at the same time the one that was scheduled first.
struct EventQueue<Element: Sendable>: Sendable {
    struct Entry: Sendable {
        let at: Instant
        let serial: UInt64
        let element: Element
    }
    /// What the heap moves about: elements are large.
    private struct Key: Sendable {
        let at: Instant
        let serial: UInt64
        let slot: Int

        func precedes(_ other: Key) -> Bool { at == other.at ? serial < other.serial : at < other.at }
    }

    /// A binary heap.
    private var heap: [Key] = []
    private var elements: [Element?] = []
    /// Of `elements`, those that are nil.
    private var free: [Int] = []
    private var serialCount: UInt64 = 0

    var count: Int { heap.count }
    var next: Instant? { heap.first?.at }

    mutating func push(_ element: Element, at: Instant) {
        serialCount += 1
        insert(element, serial: serialCount, at: at)
    }

    /// Puts off what was popped; it keeps its rank among those of the same time, so that links stay in order.
    mutating func postpone(_ entry: Entry, to at: Instant) {
        insert(entry.element, serial: entry.serial, at: at)
    }

    private mutating func insert(_ element: Element, serial: UInt64, at: Instant) {
        let slot: Int
        if let known = free.popLast() {
            slot = known
            elements[slot] = element
        } else {
            slot = elements.count
            elements.append(element)
        }
        heap.append(Key(at: at, serial: serial, slot: slot))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].precedes(heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    mutating func pop() -> Entry? {
        guard let key = popKey() else { return nil }
        guard let element = elements[key.slot].take() else { preconditionFailure("an entry without its element") }
        free.append(key.slot)
        return Entry(at: key.at, serial: key.serial, element: element)
    }

    private mutating func popKey() -> Key? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        guard !heap.isEmpty else { return first }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            let left = 2 * parent + 1
            if left < heap.count, heap[left].precedes(heap[least]) { least = left }
            if left + 1 < heap.count, heap[left + 1].precedes(heap[least]) { least = left + 1 }
            guard least != parent else { return first }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
