import DejaVuCore
import DejaVuKV

/// Where a sequence lies in a device's cells.
struct DevicePlace: Sendable {
    /// The cell of position 0.
    let start: Int
    let count: Int
    /// Whether the store's own allocator gave it out.
    let isOwn: Bool
}

/// Who gets which cells. Layouts of one slot give out runs; those of several give each sequence a slot.
struct DeviceCells: Sendable {
    private let layout: KVLayout
    private var allocator: CellAllocator
    /// Descending, so that the lowest is taken first.
    private var freeSlots: [Int]
    /// Given out by somebody else.
    private var assigned: [Range<Int>] = []

    init(_ layout: KVLayout) {
        self.layout = layout
        let isOne = layout.slots == 1
        allocator = CellAllocator(
            cellCount: isOne ? layout.slotLength / CellRun.granularity * CellRun.granularity : 0)
        freeSlots = isOne ? [] : (0..<layout.slots).reversed()
    }

    /// - Throws: `.resourceExhausted` with the numbers; `.invalidArgument` once somebody else gives cells out.
    mutating func take(positions: Int, of sequence: SequenceID) throws(DejaVuError) -> DevicePlace {
        guard assigned.isEmpty else {
            throw DejaVuError(.invalidArgument, "the cells of this device are given out by its owner")
        }
        if layout.slots == 1, positions > 0, positions <= allocator.longestFree,
            let run = allocator.allocate(positions: positions)
        {
            return DevicePlace(start: run.start, count: run.count, isOwn: true)
        }
        if layout.slots > 1, positions <= layout.slotLength, let slot = freeSlots.popLast() {
            return DevicePlace(start: slot * layout.slotLength, count: layout.slotLength, isOwn: true)
        }
        let free =
            layout.slots == 1
            ? "\(allocator.freeCount) of \(allocator.cellCount) are free, in runs of at most \(allocator.longestFree)"
            : "\(freeSlots.count) of \(layout.slots) slots of \(layout.slotLength) are free"
        throw DejaVuError(.resourceExhausted, "\(sequence) needs \(positions) cells; \(free)", subject: "cells")
    }

    /// Notes cells that somebody else has given out.
    mutating func assign(_ cells: CellRun, positions: Int, of sequence: SequenceID) throws(DejaVuError) -> DevicePlace {
        let range = cells.start..<cells.start + cells.count
        guard cells.start >= 0, positions <= cells.count, range.upperBound <= layout.cellCount,
            cells.start / layout.slotLength == (range.upperBound - 1) / layout.slotLength
        else {
            throw DejaVuError(.invalidArgument, "\(sequence) cannot lie in the cells \(range)", subject: "cells")
        }
        guard allocator.usedCount == 0, freeSlots.count == (layout.slots == 1 ? 0 : layout.slots),
            !assigned.contains(where: { $0.overlaps(range) })
        else {
            throw DejaVuError(.invalidArgument, "the cells \(range) of \(sequence) are others'", subject: "cells")
        }
        assigned.append(range)
        return DevicePlace(start: cells.start, count: cells.count, isOwn: false)
    }

    mutating func give(back place: DevicePlace) {
        if !place.isOwn {
            assigned.removeAll { $0.lowerBound == place.start }
        } else if layout.slots == 1 {
            allocator.free(CellRun(start: place.start, count: place.count))
        } else {
            freeSlots.append(place.start / layout.slotLength)
        }
    }

    func checkIntegrity() { allocator.checkIntegrity() }
}
