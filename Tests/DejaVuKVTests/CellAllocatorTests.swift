import DejaVuCore
import DejaVuKV
import Testing

@Test(arguments: UInt64(0)..<40)
func cellAllocator_randomUse_neverOverlapsAndLosesNothing(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var allocator = CellAllocator(cellCount: random.next(in: 0...40) * CellRun.granularity)
    var held: [CellRun] = []
    for _ in 0..<500 {
        if random.chance(0.55) {
            let positions = random.next(in: 1...1500)
            let longest = allocator.longestFree
            if let run = allocator.allocate(positions: positions) {
                #expect(run.count >= positions && run.count - positions < CellRun.granularity)
                #expect(run.start % CellRun.granularity == 0 && run.end <= allocator.cellCount)
                for other in held { #expect(run.end <= other.start || other.end <= run.start) }
                held.append(run)
            } else {
                #expect(longest < CellRun.count(forPositions: positions))
            }
        } else if !held.isEmpty {
            allocator.free(held.remove(at: random.next(below: held.count)))
        }
        allocator.checkIntegrity()
        #expect(allocator.usedCount == held.reduce(0) { $0 + $1.count })
    }
    for run in held { allocator.free(run) }
    allocator.checkIntegrity()
    #expect(allocator.freeCount == allocator.cellCount && allocator.longestFree == allocator.cellCount)
}

@Test func cellAllocator_severalAtOnce_takesAllOrNothing() {
    var allocator = CellAllocator(cellCount: 1024)
    let tooMany = allocator.allocate(positions: 300, times: 3)
    #expect(tooMany == nil && allocator.freeCount == 1024)
    let runs = allocator.allocate(positions: 300, times: 2)
    #expect(runs?.map(\.count) == [512, 512])
    let more = allocator.allocate(positions: 1)
    #expect(more == nil)
}

@Test func cellAllocator_holesOfSeveralSizes_takesTheSmallestThatFits() throws {
    var allocator = CellAllocator(cellCount: 256 * 8)
    let all = allocator.allocate(positions: 256, times: 8)
    let runs = try #require(all)
    for index in [0, 1, 2, 4, 6, 7] { allocator.free(runs[index]) }
    let starts = [200, 500, 700].map { allocator.allocate(positions: $0)?.start }
    #expect(starts == [runs[4].start, runs[6].start, 0])
}

@Test func cellAllocator_runFreedTwice_traps() async {
    await #expect(processExitsWith: .failure) {
        var allocator = CellAllocator(cellCount: 512)
        guard let run = allocator.allocate(positions: 1) else { return }
        allocator.free(run)
        allocator.free(run)
    }
}
