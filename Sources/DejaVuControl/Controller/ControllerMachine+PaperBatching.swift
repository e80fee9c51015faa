import DejaVuCore

/// Passes as the paper's baseline makes them; see `Batching.paper`.
///
/// Other than there, a microbatch begins with those that are there when its place is free, and who ends early takes no
/// part in its later passes: nothing is padded.
extension ControllerMachine {
    /// The pass of the microbatch whose turn it is; empty if it has to be waited for.
    mutating func paperEntries(_ index: Int, sequencesMax: Int) -> [PassEntry] {
        let count = pipelines[index].stages.count
        if pipelines[index].places.count != count {
            pipelines[index].places = [[SequenceID]](repeating: [], count: count)
            pipelines[index].turn = 0
        }
        for offset in 0..<count {
            // An empty place is passed over and keeps its turn.
            let turn = (pipelines[index].turn + offset) % count
            var members = pipelines[index].places[turn].filter { isRunning($0, in: index) }
            if members.isEmpty { members = unplaced(index, most: sequencesMax) }
            pipelines[index].places[turn] = members
            guard !members.isEmpty else { continue }
            // In its turn or not at all: a stage serves microbatches in one order.
            if members.contains(where: { isInFlight($0, in: index) }) { return [] }
            pipelines[index].turn = (turn + 1) % count
            pipelines[index].lastWasAlone = false
            return entries(of: members, in: index)
        }
        return []
    }

    /// All that each has to run, as far as a pass may have rows.
    private func entries(of members: [SequenceID], in index: Int) -> [PassEntry] {
        var rows = rowsMax(of: index)
        var entries: [PassEntry] = []
        for id in members where rows > 0 {
            guard let at = sequences.index(of: id), let work = sequences.values[at].work(in: index) else {
                preconditionFailure("\(id) has a place but nothing to run")
            }
            let next = entry(at, work, rowsMax: rows)
            rows -= next.tokens.count
            entries.append(next)
        }
        return entries
    }

    private func isInFlight(_ id: SequenceID, in index: Int) -> Bool { (sequences[id]?[index]?.inFlight ?? 0) > 0 }

    /// Whether it has something to run here, or something in flight.
    private func isRunning(_ id: SequenceID, in index: Int) -> Bool {
        guard let sequence = sequences[id], sequence.phase == .running, sequence.strikes == 0 else { return false }
        return sequence.work(in: index) != nil && !waitsForGuest(sequence, guestCellsMax)
    }

    /// The oldest that are in no microbatch.
    private func unplaced(_ index: Int, most: Int) -> [SequenceID] {
        let places = pipelines[index].places
        var found: [SequenceID] = []
        var cells = canSwap(index) ? pipelines[index].swap.residentCount / 2 : Int.max
        for id in workingSet(index) where found.count < most {
            guard isRunning(id, in: index), !isInFlight(id, in: index), !places.contains(where: { $0.contains(id) })
            else { continue }
            cells -= sequences[id]?[index]?.cells.count ?? 0
            guard cells >= 0 || found.isEmpty else { break }
            found.append(id)
        }
        return found
    }
}
