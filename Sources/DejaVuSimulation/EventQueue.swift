import DejaVuCore

/// What is to happen, earliest first; of two at the same time the one that was scheduled first.
struct EventQueue<Element: Sendable>: Sendable {
    struct Entry: Sendable {
        let at: Instant
        let serial: UInt64
        let element: Element

        func precedes(_ other: Entry) -> Bool { at == other.at ? serial < other.serial : at < other.at }
    }

    /// A binary heap.
    private var heap: [Entry] = []
    private var serialCount: UInt64 = 0

    var count: Int { heap.count }
    var next: Instant? { heap.first?.at }

    mutating func push(_ element: Element, at: Instant) {
        serialCount += 1
        insert(Entry(at: at, serial: serialCount, element: element))
    }

    /// Puts off what was popped; it keeps its rank among those of the same time, so that links stay in order.
    mutating func postpone(_ entry: Entry, to at: Instant) {
        insert(Entry(at: at, serial: entry.serial, element: entry.element))
    }

    private mutating func insert(_ entry: Entry) {
        heap.append(entry)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].precedes(heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    mutating func pop() -> Entry? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        guard !heap.isEmpty else { return first }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
                if heap[child].precedes(heap[least]) { least = child }
            }
            guard least != parent else { return first }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
