import DejaVuCore
import DejaVuKV

/// From what workers have said to what the controller before knew: a function of their reports alone. What it leaves
/// open, stages without a worker and sequences without a place, is the matter of recovery and admission as ever.
extension ControllerMachine {
    mutating func rebuild(from adoption: Adoption) {
        let wanted = wantedRequests(in: adoption)
        var running = SortedMap<SequenceID, SequenceRecord>()
        for state in wanted.values {
            for known in state where known.ended == nil { running.insert(known.record, for: known.record.id) }
        }
        for index in pipelines.indices { rebuild(index, from: adoption, running) }
        dismissStrangers(adoption)
        for at in wanted.indices { restore(wanted.keys[at], wanted[at: at], deadline: adoption.deadline) }
        for id in sequences.keys {
            guard let state = sequences[id] else { continue }
            for place in [state.home, state.guest].compactMap({ $0 }) { settle(id, in: place.pipeline) }
        }
    }

    // MARK: Requests

    /// Requests of which every choice is known, with these in order.
    private func wantedRequests(in adoption: Adoption) -> SortedMap<RequestID, [Adoption.Known]> {
        var requests = SortedMap<RequestID, [Adoption.Known]>()
        for known in adoption.known.values where known.record.request != Self.probeRequest {
            if let at = requests.index(of: known.record.request) {
                requests[at: at].append(known)
            } else {
                requests.insert([known], for: known.record.request)
            }
        }
        for id in requests.keys {
            guard let at = requests.index(of: id) else { continue }
            let choices = requests[at: at].sorted { $0.record.choice < $1.record.choice }
            if isWhole(choices) {
                requests[at: at] = choices.map(settled)
            } else {
                requests.remove(id)
            }
        }
        return requests
    }

    private func isWhole(_ choices: [Adoption.Known]) -> Bool {
        guard let first = choices.first?.record, choices.count == first.choiceCount else { return false }
        func areTokens(_ tokens: [TokenID]) -> Bool {
            tokens.allSatisfy { $0 >= 0 && Int($0) < configuration.vocabularyCount }
        }
        return choices.indices.allSatisfy { index in
            let record = choices[index].record
            return !choices[index].isDisputed && record.choice == index && record.choiceCount == first.choiceCount
                && record.prompt == first.prompt && record.outputCountMax == first.outputCountMax
                && record.origin == first.origin && record.outputs.count <= record.outputCountMax
                && record.prompt.count <= limits.contextLength
                && record.outputCountMax <= limits.contextLength - record.prompt.count
                && areTokens(record.prompt) && areTokens(record.outputs)
        }
    }

    /// No worker keeps the probabilities of tokens that it has passed on. Where they are wanted the tokens are sampled
    /// again over the rows that are there: a step each, and the same as before.
    private func settled(_ known: Adoption.Known) -> Adoption.Known {
        var known = known
        if known.record.sampling.topLogprobs != nil {
            known.record.outputs.removeAll()
            known.ended = nil
        } else if known.ended == nil, let last = known.record.outputs.last {
            if known.record.stopTokens.contains(last) {
                known.ended = .stop
            } else if known.record.outputs.count == known.record.outputCountMax {
                known.ended = .length
            }
        }
        return known
    }

    private mutating func restore(_ id: RequestID, _ choices: [Adoption.Known], deadline: Instant) {
        let record = choices[0].record
        let request = Request(
            id: id, prompt: record.prompt, choiceCount: record.choiceCount, sampling: record.sampling,
            outputCountMax: record.outputCountMax, stopTokens: record.stopTokens, deadline: deadline,
            origin: record.origin)
        counters.requestsRestored += 1
        actions.append(
            .restored(
                RestoredRequest(
                    request: request,
                    choices: choices.map { RestoredRequest.Choice(outputs: $0.record.outputs, finish: $0.ended) })))
        guard choices.contains(where: { $0.ended == nil }) else { return }
        var state = RequestState(request: request, outputCountMax: record.outputCountMax, now: now)
        state.admittedAt = now
        state.choices = choices.map(\.record.id)
        state.ended = choices.map { $0.ended != nil }
        requests.insert(state, for: id)
        for known in choices where known.ended == nil && !sequences.contains(known.record.id) {
            let id = known.record.id
            sequences.insert(SequenceState(record: known.record, isProbe: false), for: id)
            parked.insert(id, at: parked.firstIndex { $0 > id } ?? parked.count)
        }
    }

    // MARK: Pipelines

    private mutating func rebuild(
        _ index: Int, from adoption: Adoption, _ running: SortedMap<SequenceID, SequenceRecord>
    ) {
        let stages = stages(of: index, in: adoption)
        let replicas = replicas(of: index, in: adoption)
        if let epoch = stages.map(\.stage.assignment.epoch).max() { pipelines[index].epoch = epoch }
        guard let cellCount = stages.first?.stage.assignment.cellCount ?? replicas.first?.replica.assignment.cellCount,
            (1...limits.cellsMax).contains(cellCount), cellCount % CellRun.granularity == 0
        else { return }
        let resident =
            stages.first?.stage.assignment.residentCellCount ?? replicas.first?.replica.assignment.residentCellCount
        guard let resident, (CellRun.granularity...cellCount).contains(resident), resident % CellRun.granularity == 0
        else { return }
        pipelines[index].swap.residentCount = resident
        var places = RebuiltPlaces(cellCount: cellCount, isHome: pipelines[index].role.isHome)
        for (id, stage) in stages { keep(stage, of: index, at: id, adoption, &places) }
        for (id, replica) in replicas { keep(replica, of: index, at: id, adoption, &places) }
        pipelines[index].cells = places.cells
        beginRecovery(index, reason: "another controller began", detect: .zero)
        for at in places.runs.indices {
            let id = places.runs.keys[at]
            guard let known = adoption.known[id] else { preconditionFailure("a place without a record") }
            settleIn(
                known, running[id], pipeline: index, cells: places.runs[at: at],
                places.found.filter { $0.place.sequence == id })
        }
    }

    /// The latest placement first.
    private func stages(of index: Int, in adoption: Adoption) -> [(worker: WorkerID, stage: WorkerReport.Stage)] {
        let pipeline = pipelines[index]
        var found: [(worker: WorkerID, stage: WorkerReport.Stage)] = []
        for at in adoption.reports.indices {
            for stage in adoption.reports[at: at].stages {
                let place = stage.assignment
                guard place.pipeline == pipeline.id, pipeline.stages.indices.contains(place.stageIndex),
                    pipeline.stages[place.stageIndex].layers == place.layers
                else { continue }
                found.append((adoption.reports.keys[at], stage))
            }
        }
        return found.sorted {
            ($1.stage.assignment.epoch, $0.worker) < ($0.stage.assignment.epoch, $1.worker)
        }
    }

    /// The youngest first.
    private func replicas(of index: Int, in adoption: Adoption) -> [(worker: WorkerID, replica: WorkerReport.Replica)] {
        let pipeline = pipelines[index]
        var found: [(worker: WorkerID, replica: WorkerReport.Replica)] = []
        for at in adoption.reports.indices {
            for replica in adoption.reports[at: at].replicas {
                let place = replica.assignment
                guard place.pipeline == pipeline.id, pipeline.stages.indices.contains(place.stageIndex),
                    pipeline.stages[place.stageIndex].layers == place.layers
                else { continue }
                found.append((adoption.reports.keys[at], replica))
            }
        }
        return found.sorted { $0.replica.assignment.id > $1.replica.assignment.id }
    }

    private mutating func keep(
        _ stage: WorkerReport.Stage, of index: Int, at id: WorkerID, _ adoption: Adoption,
        _ places: inout RebuiltPlaces
    ) {
        let place = stage.assignment
        guard let worker = workers.index(of: id), pipelines[index].stages[place.stageIndex].worker == nil,
            workers[at: worker].isFree || workers[at: worker].pipeline == index,
            place.cellCount == places.cells.cellCount,
            place.residentCellCount == pipelines[index].swap.residentCount,
            places.take(
                stage.sequences, stage: place.stageIndex, worker: id, replica: nil, records: adoption.known,
                isTaken: { hasPlace($0, like: index) })
        else { return }
        workers[at: worker].pipeline = index
        var seat = WorkerState.Seat(stage: place.stageIndex, layers: place.layers.count)
        seat.cellCount = place.cellCount
        seat.residentCount = place.residentCellCount
        workers[at: worker].seats.append(seat)
        pipelines[index].stages[place.stageIndex].worker = id
    }

    private mutating func keep(
        _ replica: WorkerReport.Replica, of index: Int, at id: WorkerID, _ adoption: Adoption,
        _ places: inout RebuiltPlaces
    ) {
        let place = replica.assignment
        let stage = pipelines[index].stages[place.stageIndex]
        guard configuration.replicates, let worker = workers.index(of: id), stage.replica == nil, stage.worker != id,
            place.cellCount == places.cells.cellCount,
            place.residentCellCount == pipelines[index].swap.residentCount, !workers[at: worker].leaving,
            workers[at: worker].canHold(
                cells: place.cellCount, resident: place.residentCellCount, layers: place.layers.count)
        else { return }
        // A frame must be of the one that runs the stage now, or of nobody who lives.
        if let source = stage.worker.flatMap({ workers[$0]?.hello.incarnation }) {
            guard replica.sequences.allSatisfy({ $0.ticket?.writer == source }) else { return }
        }
        guard
            places.take(
                replica.sequences, stage: place.stageIndex, worker: id, replica: place.id, records: adoption.known,
                isTaken: { hasPlace($0, like: index) })
        else { return }
        let hello = workers[at: worker].hello
        workers[at: worker].holds.append(
            WorkerState.Hold(
                id: place.id, pipeline: index, stage: place.stageIndex,
                bytes: workers[at: worker].bytes(
                    cells: workers[at: worker].held(cells: place.cellCount, resident: place.residentCellCount),
                    layers: place.layers.count),
                since: replica.isReady ? nil : now))
        workers[at: worker].progressAt = now
        workers[at: worker].loadingAt = now
        pipelines[index].stages[place.stageIndex].replica = PipelineState.Replica(
            id: place.id, holder: PeerAddress(worker: id, incarnation: hello.incarnation, address: hello.bulkAddress))
    }

    /// Whether a pipeline of the same role has given cells to the sequence.
    private func hasPlace(_ id: SequenceID, like index: Int) -> Bool {
        pipelines[index].role.isHome ? sequences[id]?.home != nil : sequences[id]?.guest != nil
    }

    /// A sequence that has cells: one that goes on, or one that nobody wants any more, whose cells come back.
    private mutating func settleIn(
        _ known: Adoption.Known, _ record: SequenceRecord?, pipeline index: Int, cells: CellRun,
        _ found: [RebuiltPlaces.Found]
    ) {
        let id = known.record.id
        if !sequences.contains(id) {
            var state = SequenceState(
                record: record ?? known.record, isProbe: known.record.request == Self.probeRequest)
            state.ended = record == nil
            state.finish = known.ended
            sequences.insert(state, for: id)
        }
        guard let at = sequences.index(of: id) else { preconditionFailure("\(id) was inserted but is not known") }
        let isHome = pipelines[index].role.isHome
        // A guest's tickets say how much of the prompt is its.
        let ends = found.compactMap { $0.place.ticket?.positionLimit }
        let positions = isHome ? max(1, sequences[at: at].positionsReserved) : ends.min() ?? cells.count
        var place = Place(
            pipeline: index, cells: cells, positions: positions, stageCount: pipelines[index].stages.count)
        for found in found {
            let mark = min(found.place.watermark, sequences[at: at].record.knownCount, place.positions)
            if let replica = found.replica {
                guard let ticket = found.place.ticket else { continue }
                place.copies[found.stage] = Place.Copy(
                    replica: replica, holder: found.worker, ticket: ticket, watermark: mark, opened: true)
            } else {
                place.watermarks.raise(found.stage, to: mark)
                if found.place.ticket == nil {
                    place.keptAt[found.stage] = found.worker
                } else {
                    place.openAt[found.stage] = found.worker
                }
            }
        }
        if isHome {
            // To sample once more what nobody knows any more is to lose nothing.
            sequences[at: at].committedMax = min(place.watermarks.least, sequences[at: at].record.knownCount - 1)
            let running = pipelines[index].members.reduce(0) { $0 + (sequences[$1]?.phase == .running ? 1 : 0) }
            place.isLeaving = record == nil || running >= limits.sequencesMax
            sequences[at: at].home = place
        } else {
            place.isLeaving = sequences[at: at].phase != .running || ends.count < found.count
            sequences[at: at].guest = place
            sequences[at: at].fedAt = now
        }
        pipelines[index].insertMember(id)
    }

    /// What no pipeline has a use for is forgotten where it is, and copied to nobody.
    private mutating func dismissStrangers(_ adoption: Adoption) {
        for at in adoption.reports.indices {
            let id = adoption.reports.keys[at]
            guard let worker = workers[id] else { continue }
            for stage in adoption.reports[at: at].stages {
                let index = worker.pipeline
                guard worker.runs(index, stage.assignment.stageIndex), pipelines[index].id == stage.assignment.pipeline
                else {
                    send(.retire(stage.assignment.pipeline, stageIndex: stage.assignment.stageIndex), to: id)
                    continue
                }
                let holder = pipelines[index].stages[stage.assignment.stageIndex].replica?.holder.incarnation
                for other in stage.targets where other.peer.incarnation != holder {
                    send(.endReplication(stageIndex: stage.assignment.stageIndex, to: other), to: id)
                }
            }
            for replica in adoption.reports[at: at].replicas.map(\.assignment.id)
            where !worker.holds.contains(where: { $0.id == replica }) {
                send(.discard(replica), to: id)
            }
        }
    }
}
