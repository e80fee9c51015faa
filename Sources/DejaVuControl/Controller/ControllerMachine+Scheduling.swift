import DejaVuCore
import DejaVuKV

/// What the next pass is: the rule of work under the token budget.
///
/// Steps first, in microbatches of equal size, one for each stage and regrouped at every pass; then chunks of prompts
/// and replays, the oldest first. A sequence is in one pass at a time, except that the chunks of a prompt follow each
/// other through the stages.
extension ControllerMachine {
    mutating func schedule(_ index: Int) {
        let flightsMax = flightsMax(of: index)
        while pipelines[index].phase == .serving, !isPaused(index), pipelines[index].flights.count < flightsMax {
            let entries = nextEntries(index, flightsMax: flightsMax)
            guard !entries.isEmpty else { return }
            launch(entries, pipeline: index)
        }
    }

    /// One for each stage; where passes take turns on the devices one more, whose rows are brought in meanwhile.
    func flightsMax(of index: Int) -> Int {
        pipelines[index].stages.count + limits.passesExtra + (isSwapping(index) ? 1 : 0)
    }

    /// What a pass could contain.
    private struct Candidates {
        /// Indices into `sequences` of those that need one row and are in no pass.
        var steps: [Int] = []
        /// Those whose step is in flight.
        var stepsInFlight = 0
        /// Those that need more rows, and which; ascending by id.
        var chunks: [(at: Int, work: Range<Int>)] = []
        /// With a strike: each runs alone.
        var suspects: [(at: Int, work: Range<Int>)] = []
    }

    private func candidates(_ index: Int) -> Candidates {
        var candidates = Candidates()
        let chunksInFlightMax = pipelines[index].stages.count
        let cellsMax = guestCellsMax
        for id in workingSet(index) {
            guard let at = sequences.index(of: id) else { continue }
            let sequence = sequences.values[at]
            guard sequence.phase == .running, let work = sequence.work(in: index) else { continue }
            let inFlight = sequence[index]?.inFlight ?? 0
            if work.isEmpty {
                if work.upperBound == sequence.record.knownCount { candidates.stepsInFlight += 1 }
            } else if waitsForGuest(sequence, cellsMax) {
                continue
            } else if sequence.strikes > 0 {
                if inFlight == 0 { candidates.suspects.append((at, work)) }
            } else if inFlight == 0, work.lowerBound == sequence.record.knownCount - 1 {
                candidates.steps.append(at)
            } else if inFlight < chunksInFlightMax {
                candidates.chunks.append((at, work))
            }
        }
        return candidates
    }

    /// Whether a sequence's next work is a prompt pipeline's, which has not taken it in yet.
    func waitsForGuest(_ sequence: SequenceState, _ cellsMax: Int) -> Bool {
        cellsMax > 0 && needsGuest(sequence, cellsMax: cellsMax)
    }

    /// How many rows a pass of that pipeline has at most.
    func rowsMax(of index: Int) -> Int { pipelines[index].role == .prompt ? limits.promptRowsMax : limits.passRowsMax }

    private mutating func nextEntries(_ index: Int, flightsMax: Int) -> [PassEntry] {
        var candidates = candidates(index)
        if let suspect = candidates.suspects.first,
            !pipelines[index].lastWasAlone || (candidates.steps.isEmpty && candidates.chunks.isEmpty)
        {
            // The same cuts each time, so that strikes at one position fall on the same pass.
            pipelines[index].lastWasAlone = true
            return [entry(suspect.at, suspect.work, rowsMax: rowsMax(of: index))]
        }
        if case .paper(let sequencesMax) = configuration.batching {
            return paperEntries(index, sequencesMax: sequencesMax)
        }
        let running = candidates.steps.count + candidates.stepsInFlight
        let share = min((running + flightsMax - 1) / flightsMax, limits.microbatchSequencesMax, rowsMax(of: index))
        // Where not all of them fit on the devices at one time, those that have waited longest come first, too.
        if isSwapping(index) || candidates.steps.count > share {
            candidates.steps.sort { sequences.values[$0].lastTurn < sequences.values[$1].lastTurn }
            candidates.steps.removeSubrange(min(share, candidates.steps.count)...)
        }
        // Steps leave room for the first of those that are not so far. One that does not fit beside a step runs alone,
        // every other time.
        var kept = 0
        if isSwapping(index), let first = candidates.chunks.first, let step = candidates.steps.first {
            kept = cellCount(first.at, in: index)
            if kept + cellCount(step, in: index) > passCellsMax(index) {
                kept = 0
                if !pipelines[index].lastWasAlone {
                    pipelines[index].lastWasAlone = true
                    let rows = chunkRows(index, [first.work.count], beside: 0, running: running)
                    return [entry(first.at, first.work, rowsMax: rows)]
                }
            }
        }
        var entries: [PassEntry] = []
        entries.reserveCapacity(candidates.steps.count + 1)
        var cells = passCellsMax(index) - kept
        /// Whether the devices have room for it beside those that the pass has already.
        func hasRoom(_ at: Int) -> Bool {
            cells -= cellCount(at, in: index)
            return cells >= 0 || entries.isEmpty
        }
        for at in candidates.steps {
            guard hasRoom(at) else {
                cells += cellCount(at, in: index)
                break
            }
            let known = sequences.values[at].record.knownCount
            entries.append(entry(at, known - 1..<known, rowsMax: 1))
        }
        cells += kept
        var rows = chunkRows(index, candidates.chunks.map(\.work.count), beside: entries.count, running: running)
        for (at, work) in candidates.chunks where rows > 0 {
            guard hasRoom(at) else { break }
            let next = entry(at, work, rowsMax: rows)
            rows -= next.tokens.count
            entries.append(next)
        }
        if !entries.isEmpty { pipelines[index].lastWasAlone = false }
        return entries
    }

    private func cellCount(_ at: Int, in index: Int) -> Int { sequences.values[at][index]?.cells.count ?? 0 }

    /// How many rows of prompts and replays a pass may have. In a pipeline of several stages they are spread at least
    /// over the passes that are in flight together: a stage that waits for one large pass does nothing meanwhile.
    private func chunkRows(_ index: Int, _ waiting: [Int], beside steps: Int, running: Int) -> Int {
        var rows = rowsMax(of: index) - steps
        if running > 0, pipelines[index].role.isHome { rows = min(rows, limits.chunkRowsMax) }
        let flightsMax = flightsMax(of: index)
        guard flightsMax > 1, rows > limits.chunkRowsMin else { return rows }
        let inFlight = pipelines[index].flights.reduce(0) { sum, flight in
            flight.entries.reduce(sum) { $0 + ($1.end - $1.first > 1 ? $1.end - $1.first : 0) }
        }
        let all = waiting.reduce(inFlight, +)
        let share = (all + flightsMax - 1) / flightsMax
        let chunk = pipelines[index].passTimes.chunk(of: all, stages: flightsMax) ?? share
        return min(rows, max(min(share, chunk), limits.chunkRowsMin))
    }

    /// The first rows of a sequence's work, at most so many.
    func entry(_ at: Int, _ work: Range<Int>, rowsMax: Int) -> PassEntry {
        let known = sequences.values[at].record.knownCount
        let start = work.lowerBound
        let end = start + min(work.count, rowsMax)
        return PassEntry(
            sequence: sequences.keys[at], first: start,
            tokens: end - start == 1
                ? [sequences.values[at].record.token(at: start)] : sequences.values[at].record.tokens(in: start..<end),
            samples: end == known)
    }

    private mutating func launch(_ entries: [PassEntry], pipeline index: Int) {
        passCount += 1
        let pass = Pass(
            id: PassID(passCount), pipeline: pipelines[index].id, epoch: pipelines[index].epoch, entries: entries)
        var flight: [PipelineState.Flight.Entry] = []
        flight.reserveCapacity(entries.count)
        var rows = 0
        var rowsAgain = 0
        for entry in entries {
            guard let at = sequences.index(of: entry.sequence) else { preconditionFailure("a pass of nobody") }
            sequences[at: at].change(index) { place in
                place.inFlight += 1
                place.scheduledEnd = entry.end
            }
            turnCount += 1
            sequences[at: at].lastTurn = turnCount
            rows += entry.tokens.count
            if entry.tokens.count == 1 && entry.samples {
                counters.stepRows += 1
            } else {
                counters.promptRows += UInt64(entry.tokens.count)
            }
            counters.replayRows += UInt64(max(0, min(entry.end, sequences[at: at].sentMax) - entry.first))
            let again = max(0, min(entry.end, sequences[at: at].committedMax) - entry.first)
            counters.positionsRunAgain += UInt64(again)
            rowsAgain += again
            sequences[at: at].sentMax = max(sequences[at: at].sentMax, entry.end)
            flight.append(.init(sequence: entry.sequence, first: entry.first, end: entry.end, samples: entry.samples))
        }
        counters.passesSent += 1
        pipelines[index].flights.append(
            .init(id: pass.id, entries: flight, rows: rows, rowsAgain: rowsAgain, since: now))
        if pipelines[index].recovery?.epoch == pipelines[index].epoch {
            pipelines[index].recovery?.positionsRunAgain += rowsAgain
        }
        guard let first = pipelines[index].stages[0].worker else { preconditionFailure("a pass without a first stage") }
        send(.run(pass), to: first)
        for (message, worker) in announcements(of: pass, in: index) { send(message, to: worker) }
    }
}
