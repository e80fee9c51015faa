import DejaVuCore
import DejaVuKV
import Testing

/// A device and the memory below it, with one word for each position, driven by a `Residency`.
private struct Device {
    var residency: Residency
    var cells: [Int]
    var below: [SequenceID: [Int]] = [:]
    var sizes: [SequenceID: Int] = [:]
    var copying: Residency.Fetch?
    var copied: [Int] = []

    init(cells count: Int) {
        residency = Residency(cellCount: count)
        cells = [Int](repeating: -1, count: count)
    }

    /// Begins a copy if there is one to make. What it reads it reads now, what it writes it writes at its end.
    mutating func beginCopy() {
        guard copying == nil, let fetch = residency.nextFetch() else { return }
        copying = fetch
        copied = Array((below[fetch.sequence] ?? []).prefix(fetch.positions))
    }

    mutating func endCopy() {
        guard let fetch = copying else { return }
        for (position, value) in copied.enumerated() { cells[fetch.cells.start + position] = value }
        copying = nil
        residency.fetched()
    }

    mutating func open(_ sequence: SequenceID, size: Int) {
        below[sequence] = []
        sizes[sequence] = size
        residency.open(sequence, cellCount: size, committed: 0)
    }

    mutating func release(_ sequence: SequenceID) {
        below[sequence] = nil
        sizes[sequence] = nil
        residency.release(sequence)
    }
}

/// Sequences come, run, grow and go, while copies are under way; every row that a pass reads is the right one.
@Test(arguments: UInt64(0)..<60)
func residency_randomPasses_readWhatWasWritten(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let count = random.next(in: 2...8) * CellRun.granularity
    var device = Device(cells: count)
    var nextID: UInt64 = 0
    var passes: UInt64 = 0
    var planned: [(pass: PassID, sequences: [SequenceID])] = []
    for _ in 0..<400 {
        if random.chance(0.2), device.sizes.count < 12 {
            nextID += 1
            let size = random.next(in: 1...max(1, count / CellRun.granularity / 2)) * CellRun.granularity
            device.open(SequenceID(nextID), size: size)
        }
        let free = device.sizes.keys.filter { id in !planned.contains { $0.sequences.contains(id) } }.sorted()
        if random.chance(0.08), let gone = free.first { device.release(gone) }
        // A pass of what fits on the device.
        var room = count
        let members = device.sizes.keys.sorted().filter { id in
            guard random.chance(0.4), let size = device.sizes[id], size <= room else { return false }
            room -= size
            return true
        }
        if !members.isEmpty {
            passes += 1
            planned.append((PassID(passes), members))
            if random.chance(0.8) { device.residency.announce(PassID(passes), members) }
        }
        if random.chance(0.5) { device.beginCopy() }
        if random.chance(0.5) { device.endCopy() }
        device.residency.checkIntegrity()
        guard !planned.isEmpty, random.chance(0.7) else { continue }
        let (pass, sequences) = planned.removeFirst()
        device.residency.begin(pass, sequences)
        var turns = 0
        while !device.residency.isReady {
            device.endCopy()
            device.beginCopy()
            turns += 1
            guard turns < 1000 else {
                Issue.record("\(pass) never gets its rows")
                return
            }
        }
        device.residency.run()
        for sequence in sequences {
            guard let run = device.residency.run(of: sequence), let rows = device.below[sequence] else {
                Issue.record("\(sequence) is not there")
                continue
            }
            #expect(run.count == device.sizes[sequence])
            #expect(Array(device.cells[run.start..<run.start + rows.count]) == rows, "\(pass), \(sequence)")
            if rows.count < run.count {
                // What it adds is on the device and below.
                let value = Int(random.next() >> 2)
                device.cells[run.start + rows.count] = value
                device.below[sequence]?.append(value)
                device.residency.committed(sequence, to: rows.count + 1)
            }
        }
        if random.chance(0.5) { device.beginCopy() }
        device.residency.checkIntegrity()
        device.residency.end()
        #expect(device.residency.usedCount <= count)
    }
}

private func residency(cells: Int, sequences: Int) -> Residency {
    var residency = Residency(cellCount: cells * CellRun.granularity)
    for id in 1...UInt64(sequences) {
        residency.open(SequenceID(id), cellCount: CellRun.granularity, committed: 10)
    }
    return residency
}

extension Residency {
    /// Makes all copies there are to make.
    fileprivate mutating func copyAll() -> [SequenceID] {
        var copied: [SequenceID] = []
        while let fetch = nextFetch() {
            copied.append(fetch.sequence)
            fetched()
        }
        return copied
    }

    fileprivate mutating func runThrough(_ pass: UInt64, _ sequences: [UInt64]) {
        begin(PassID(pass), sequences.map { SequenceID($0) })
        _ = copyAll()
        run()
        end()
    }
}

/// The paper's microbatch swapping: the next one is brought in while the present one computes.
@Test func residency_twoMicrobatchesOfThree_theNextIsThereWhenItsTurnComes() {
    var residency = residency(cells: 4, sequences: 6)
    let batches: [[UInt64]] = [[1, 2], [3, 4], [5, 6]]
    residency.begin(PassID(1), batches[0].map { SequenceID($0) })
    #expect(residency.copyAll() == [SequenceID(1), SequenceID(2)])
    residency.run()
    for turn in 2...10 {
        let next = batches[(turn - 1) % 3].map { SequenceID($0) }
        residency.announce(PassID(UInt64(turn)), next)
        #expect(residency.copyAll() == next, "turn \(turn)")
        residency.end()
        residency.begin(PassID(UInt64(turn)), next)
        #expect(residency.isReady)
        residency.run()
    }
}

@Test func residency_announcedLater_makesRoomForWhatIsSooner() {
    var residency = residency(cells: 3, sequences: 4)
    residency.runThrough(1, [1])
    residency.runThrough(2, [2])
    residency.runThrough(3, [3])
    // 1 is needed next, 2 after it, 3 by nobody.
    residency.announce(PassID(5), [SequenceID(1)])
    residency.announce(PassID(6), [SequenceID(2)])
    residency.begin(PassID(4), [SequenceID(4)])
    #expect(residency.copyAll() == [SequenceID(4)])
    #expect(residency.takeLeft() == [SequenceID(3)])
}

@Test func residency_nobodyMayLeave_waitsForThePassThatRuns() {
    var residency = residency(cells: 2, sequences: 3)
    residency.begin(PassID(1), [SequenceID(1), SequenceID(2)])
    _ = residency.copyAll()
    residency.run()
    residency.announce(PassID(2), [SequenceID(3)])
    #expect(residency.copyAll().isEmpty)
    residency.end()
    #expect(residency.copyAll() == [SequenceID(3)])
}

/// Runs of one granule lie scattered; a long one needs all of them to go.
@Test func residency_scatteredCells_thePassAtHandGetsThemInOne() {
    var residency = residency(cells: 4, sequences: 4)
    residency.runThrough(1, [1, 2, 3, 4])
    residency.release(SequenceID(1))
    residency.release(SequenceID(3))
    residency.open(SequenceID(9), cellCount: 2 * CellRun.granularity, committed: 300)
    residency.begin(PassID(2), [SequenceID(2), SequenceID(4), SequenceID(9)])
    _ = residency.copyAll()
    #expect(residency.isReady)
    residency.checkIntegrity()
}

/// The last of a pass needs the cells in which the first lies: all come back, in one go.
@Test func residency_aNewOneNeedsTheRoomOfOneBesideIt_bothGetThere() {
    var residency = residency(cells: 3, sequences: 3)
    residency.runThrough(1, [1, 2, 3])
    residency.release(SequenceID(1))
    residency.release(SequenceID(3))
    residency.open(SequenceID(9), cellCount: 2 * CellRun.granularity, committed: 0)
    residency.begin(PassID(2), [SequenceID(2), SequenceID(9)])
    #expect(residency.copyAll() == [SequenceID(2)])
    #expect(residency.isReady)
}

@Test func residency_releasedWhileItsRowsCome_theCellsAreFreeWhenTheyHave() {
    var residency = residency(cells: 1, sequences: 2)
    residency.announce(PassID(1), [SequenceID(1)])
    #expect(residency.nextFetch()?.sequence == SequenceID(1))
    residency.release(SequenceID(1))
    residency.begin(PassID(2), [SequenceID(2)])
    #expect(residency.nextFetch() == nil && residency.usedCount == CellRun.granularity)
    residency.fetched()
    #expect(residency.nextFetch()?.sequence == SequenceID(2))
    residency.fetched()
    #expect(residency.isReady)
    residency.checkIntegrity()
}

/// Another controller counts its passes from the start.
@Test func residency_passesOfAnotherController_areAnnouncedAsEver() {
    var residency = residency(cells: 2, sequences: 3)
    residency.announce(PassID(900), [SequenceID(3)])
    residency.runThrough(800, [1])
    residency.runThrough(1, [1])
    residency.announce(PassID(2), [SequenceID(2)])
    #expect(residency.copyAll() == [SequenceID(2)])
}
