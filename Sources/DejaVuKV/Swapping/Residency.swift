package import DejaVuCore

/// Which sequences have their rows on a stage's device, where the memory below it holds more of them than the device:
/// what is to be brought in next, and who makes room for it. See docs/swapping.md.
///
/// Pure; whoever moves the bytes asks it. The memory below always has all committed rows, so whoever has to leave the
/// device just goes. Its promises: runs on the device never overlap; rows of a pass that runs stay; what is brought in
/// later never takes the room of what is needed sooner.
package struct Residency: Sendable {
    /// The leading rows of a sequence that are to be copied to a run of the device's cells.
    package struct Fetch: Hashable, Sendable {
        package let sequence: SequenceID
        package let cells: CellRun
        package let positions: Int
    }

    private struct Member {
        let cellCount: Int
        /// Rows that the memory below has.
        var committed: Int
        /// Its cells on the device: also while rows are on their way there.
        var run: CellRun?
        var isFetching = false
        var lastUse: UInt64 = 0
    }

    private struct Announcement {
        let pass: PassID
        let sequences: [SequenceID]
    }

    /// Passes that are announced and have not begun; more are not remembered.
    package static let announcedMax = 64

    private var cells: CellAllocator
    /// Ascending.
    private var ids: [SequenceID] = []
    private var members: [SequenceID: Member] = [:]
    /// Ascending by pass.
    private var announced: [Announcement] = []
    /// Those of the pass that runs, or waits for its rows.
    private var current: [SequenceID] = []
    private var lastBegun: PassID?
    private var isRunning = false
    /// What is on its way, and whether anybody still wants it.
    private var flight: (fetch: Fetch, isWanted: Bool)?
    /// Who has left the device since this was last asked for.
    private var left: [SequenceID] = []
    private var useCount: UInt64 = 0

    package init(cellCount: Int) { cells = CellAllocator(cellCount: cellCount) }

    package var cellCount: Int { cells.cellCount }
    package var usedCount: Int { cells.usedCount }
    /// Whether what is on its way is still to come: its sequence has not been released.
    package var isFetchWanted: Bool { flight?.isWanted ?? false }

    // MARK: Sequences

    /// Takes a sequence in that is not on the device.
    ///
    /// - Precondition: it is not known, and the device has so many cells.
    package mutating func open(_ sequence: SequenceID, cellCount: Int, committed: Int) {
        precondition(members[sequence] == nil, "\(sequence) is open already")
        precondition(cellCount <= cells.cellCount, "\(sequence) can never be on the device")
        members[sequence] = Member(cellCount: cellCount, committed: committed)
        ids.insert(sequence, at: ids.firstIndex { $0 > sequence } ?? ids.count)
    }

    /// Forgets a sequence. Cells to which rows are on their way are free when these have arrived.
    package mutating func release(_ sequence: SequenceID) {
        guard let member = members.removeValue(forKey: sequence) else { return }
        ids.removeAll { $0 == sequence }
        current.removeAll { $0 == sequence }
        left.removeAll { $0 == sequence }
        if member.isFetching {
            flight?.isWanted = false
        } else if let run = member.run {
            cells.free(run)
        }
    }

    /// The memory below has so many rows now, and so has the device if the sequence is there.
    package mutating func committed(_ sequence: SequenceID, to watermark: Int) {
        guard let committed = members[sequence]?.committed else { return }
        members[sequence]?.committed = max(committed, watermark)
    }

    // MARK: Passes

    /// A pass comes: its rows are wanted as soon as there is room. One that has begun, and what came before it, is not
    /// waited for any more.
    package mutating func announce(_ pass: PassID, _ sequences: [SequenceID]) {
        if let lastBegun, pass <= lastBegun { return }
        guard announced.count < Self.announcedMax, !announced.contains(where: { $0.pass == pass }) else { return }
        announced.insert(
            Announcement(pass: pass, sequences: sequences),
            at: announced.firstIndex { $0.pass > pass } ?? announced.count)
    }

    /// A pass is to run next: its rows come before all others. It runs when `isReady`, from `run` on.
    ///
    /// - Precondition: no other one runs, and the sequences are open.
    package mutating func begin(_ pass: PassID, _ sequences: [SequenceID]) {
        precondition(!isRunning, "a pass begins while another runs")
        // Another controller counts from the start again.
        let isOfAnother = lastBegun.map { pass < $0 } ?? false
        announced.removeAll { isOfAnother || $0.pass <= pass }
        lastBegun = pass
        current = sequences
        for sequence in sequences {
            precondition(members[sequence] != nil, "\(sequence) is not open")
            useCount += 1
            members[sequence]?.lastUse = useCount
        }
    }

    package var isReady: Bool { current.allSatisfy { run(of: $0) != nil } }

    /// Where a sequence's rows are; nil if they are not all there.
    package func run(of sequence: SequenceID) -> CellRun? {
        guard let member = members[sequence], !member.isFetching else { return nil }
        return member.run
    }

    /// From here on the sequences of the pass stay where they are, until its end.
    package mutating func run() {
        precondition(isReady, "a pass runs without its rows")
        isRunning = true
    }

    package mutating func end() {
        isRunning = false
        current.removeAll()
    }

    /// Who has left the device since this was last called.
    package mutating func takeLeft() -> [SequenceID] {
        defer { left.removeAll() }
        return left
    }

    // MARK: Copies

    /// The next rows to be brought in, if there is room for them. One copy is under way at a time; `fetched` ends it.
    package mutating func nextFetch() -> Fetch? {
        guard flight == nil else { return nil }
        var sooner: [SequenceID] = []
        for (index, group) in ([current] + announced.map(\.sequences)).enumerated() {
            sooner += group
            for sequence in group {
                guard let member = members[sequence], member.run == nil else { continue }
                guard let run = room(for: member.cellCount, sparing: sooner, isUrgent: index == 0 && !isRunning) else {
                    return nil
                }
                members[sequence]?.run = run
                // Nothing is to be copied; but somebody before it may have had to make room.
                guard member.committed > 0 else { return nextFetch() }
                members[sequence]?.isFetching = true
                let fetch = Fetch(sequence: sequence, cells: run, positions: member.committed)
                flight = (fetch, true)
                return fetch
            }
        }
        return nil
    }

    /// The rows have arrived.
    package mutating func fetched() {
        guard let (fetch, isWanted) = flight else { preconditionFailure("nothing was on its way") }
        flight = nil
        if isWanted {
            members[fetch.sequence]?.isFetching = false
        } else {
            cells.free(fetch.cells)
        }
    }

    /// A free run, for which others have left if need be: those that are needed latest first, and nobody of `spared`.
    /// Where the pass at hand cannot run because what is free lies scattered, all of its own rows leave, too.
    private mutating func room(for count: Int, sparing spared: [SequenceID], isUrgent: Bool) -> CellRun? {
        if let run = cells.allocate(positions: count) { return run }
        var trial = cells
        var leaving: [SequenceID] = []
        func leave(_ sequence: SequenceID) {
            guard let run = members[sequence]?.run else { return }
            trial.free(run)
            leaving.append(sequence)
        }
        var run: CellRun?
        for sequence in candidates(sparing: spared) where run == nil {
            leave(sequence)
            run = trial.allocate(positions: count)
        }
        if run == nil, isUrgent {
            for sequence in current where members[sequence]?.run != nil { leave(sequence) }
            run = trial.allocate(positions: count)
            precondition(run != nil, "a pass that does not fit on the device")
        }
        guard let run else { return nil }
        for sequence in leaving { members[sequence]?.run = nil }
        left += leaving
        cells = trial
        return run
    }

    /// Who may leave: first those that no announced pass contains, of these the one that was used last, since all have
    /// their turn; then those that are announced for later, the latest first.
    private func candidates(sparing spared: [SequenceID]) -> [SequenceID] {
        var found: [(next: Int, lastUse: UInt64, sequence: SequenceID)] = []
        for sequence in ids {
            guard let member = members[sequence], member.run != nil, !member.isFetching, !spared.contains(sequence),
                !current.contains(sequence)
            else { continue }
            let next = announced.firstIndex { $0.sequences.contains(sequence) } ?? Int.max
            found.append((next, member.lastUse, sequence))
        }
        return found.sorted { ($0.next, $0.lastUse) > ($1.next, $1.lastUse) }.map(\.sequence)
    }

    /// Proves that cells and sequences agree.
    package func checkIntegrity() {
        cells.checkIntegrity()
        var runs = ids.compactMap { members[$0]?.run }
        if let flight, !flight.isWanted { runs.append(flight.fetch.cells) }
        precondition(runs.sorted { $0.start < $1.start } == cells.used, "cells in use that no sequence has")
        precondition(ids.count == members.count && ids == ids.sorted(), "sequences are miscounted")
        let fetching = ids.filter { members[$0]?.isFetching == true }
        precondition(fetching == (flight.flatMap { $0.isWanted ? [$0.fetch.sequence] : nil } ?? []), "a lost copy")
    }
}
