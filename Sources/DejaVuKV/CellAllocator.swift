package import DejaVuCore

/// Hands out contiguous runs of cells.
///
/// Every cell is at any moment in exactly one run, free or used: runs never overlap, none is lost, and two free runs
/// never touch. Counts and starts are multiples of `CellRun.granularity`. Best fit, the lowest address among equals:
/// the large runs are kept for those who need them.
package struct CellAllocator: Hashable, Sendable {
    package let cellCount: Int
    /// Ascending by start.
    package private(set) var free: [CellRun]
    /// Ascending by start.
    package private(set) var used: [CellRun] = []
    package private(set) var usedCount = 0

    /// - Precondition: `cellCount` is a multiple of the granularity and not negative.
    package init(cellCount: Int) {
        precondition(
            cellCount >= 0 && cellCount % CellRun.granularity == 0, "cells come in whole granules, not \(cellCount)")
        self.cellCount = cellCount
        free = cellCount > 0 ? [CellRun(start: 0, count: cellCount)] : []
    }

    package var freeCount: Int { cellCount - usedCount }
    /// The longest run that can be had now.
    package var longestFree: Int { free.reduce(0) { max($0, $1.count) } }

    /// Takes a run for `positions` positions, rounded up to whole granules; nil if no free run is long enough.
    ///
    /// - Precondition: `positions >= 1`.
    package mutating func allocate(positions: Int) -> CellRun? {
        precondition(positions >= 1, "a run holds at least one position")
        let count = CellRun.count(forPositions: positions)
        var best: Int?
        for index in free.indices where free[index].count >= count {
            if let current = best, free[current].count <= free[index].count { continue }
            best = index
        }
        guard let index = best else { return nil }
        let source = free[index]
        let run = CellRun(start: source.start, count: count)
        if source.count == count {
            free.remove(at: index)
        } else {
            free[index] = CellRun(start: run.end, count: source.count - count)
        }
        used.insert(run, at: Self.position(of: run.start, in: used))
        usedCount += count
        return run
    }

    /// Takes a certain run, if it is free and one that could have been given out.
    package mutating func reserve(_ run: CellRun) -> Bool {
        let granule = CellRun.granularity
        guard run.start >= 0, run.count > 0, run.start % granule == 0, run.count % granule == 0,
            run.count <= cellCount, run.start <= cellCount - run.count,
            let index = free.firstIndex(where: { $0.start <= run.start && run.end <= $0.end })
        else { return false }
        let source = free.remove(at: index)
        if run.end < source.end { free.insert(CellRun(start: run.end, count: source.end - run.end), at: index) }
        if source.start < run.start {
            free.insert(CellRun(start: source.start, count: run.start - source.start), at: index)
        }
        used.insert(run, at: Self.position(of: run.start, in: used))
        usedCount += run.count
        return true
    }

    /// Takes a run for each of `count` sequences, or none at all.
    package mutating func allocate(positions: Int, times count: Int) -> [CellRun]? {
        var trial = self
        var runs: [CellRun] = []
        for _ in 0..<count {
            guard let run = trial.allocate(positions: positions) else { return nil }
            runs.append(run)
        }
        self = trial
        return runs
    }

    /// Gives a run back, and joins it with its free neighbours.
    ///
    /// - Precondition: the run is in use, exactly as it was allocated.
    package mutating func free(_ run: CellRun) {
        let index = Self.position(of: run.start, in: used)
        precondition(
            index < used.count && used[index] == run, "cells \(run.start)..<\(run.end) are not in use as one run")
        used.remove(at: index)
        usedCount -= run.count
        var start = run.start
        var end = run.end
        var place = Self.position(of: run.start, in: free)
        if place < free.count, free[place].start == end {
            end = free[place].end
            free.remove(at: place)
        }
        if place > 0, free[place - 1].end == start {
            place -= 1
            start = free[place].start
            free.remove(at: place)
        }
        free.insert(CellRun(start: start, count: end - start), at: place)
    }

    /// The index of the first run that does not start below `start`.
    private static func position(of start: Int, in runs: [CellRun]) -> Int {
        var low = 0
        var high = runs.count
        while low < high {
            let middle = (low + high) / 2
            if runs[middle].start < start { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Proves that every cell is in exactly one run and that free runs are joined.
    package func checkIntegrity() {
        var freeIndex = 0
        var usedIndex = 0
        var next = 0
        var lastWasFree = false
        var used = 0
        while next < cellCount {
            if freeIndex < free.count, free[freeIndex].start == next {
                precondition(!lastWasFree, "two free runs touch at cell \(next)")
                precondition(free[freeIndex].count > 0, "an empty free run at cell \(next)")
                next = free[freeIndex].end
                freeIndex += 1
                lastWasFree = true
            } else {
                precondition(
                    usedIndex < self.used.count && self.used[usedIndex].start == next,
                    "cell \(next) is lost or in two runs")
                precondition(self.used[usedIndex].count > 0, "an empty used run at cell \(next)")
                next = self.used[usedIndex].end
                used += self.used[usedIndex].count
                usedIndex += 1
                lastWasFree = false
            }
            precondition(next % CellRun.granularity == 0, "a run ends inside a granule, at cell \(next)")
        }
        precondition(next == cellCount, "a run reaches beyond the last cell")
        precondition(freeIndex == free.count && usedIndex == self.used.count, "runs beyond the last cell")
        precondition(used == usedCount, "\(used) cells are in use, \(usedCount) are counted")
    }
}
