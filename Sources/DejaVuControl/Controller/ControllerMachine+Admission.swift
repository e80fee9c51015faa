import DejaVuCore
import DejaVuKV

/// Requests are taken, queued or refused; cells are given all at once or not at all, first come first.
extension ControllerMachine {
    mutating func submit(_ request: Request) {
        precondition(!requests.contains(request.id) && request.id != Self.probeRequest, "\(request.id) was used before")
        counters.requestsSubmitted += 1
        do {
            let state = try check(request)
            requests.insert(state, for: request.id)
            queue.append(request.id)
            queueTokens += state.tokens
            admissionDue = true
        } catch {
            refuse(request.id, error)
        }
    }

    private mutating func refuse(_ id: RequestID, _ error: DejaVuError) {
        counters.requestsRefused += 1
        let later = error.code == .resourceExhausted || error.code == .unavailable
        actions.append(.refused(id, Refusal(error: error, retryAfter: later ? retryAfter : nil)))
    }

    /// About when the queue will have moved on.
    private var retryAfter: TimeSpan {
        let queued = Int64(min(queue.count, 1024) + 1)
        return min(max(endInterval * queued, limits.retryAfterMin), limits.retryAfterMax)
    }

    private func check(_ request: Request) throws(DejaVuError) -> RequestState {
        if drainDeadline != nil || stopped { throw DejaVuError(.unavailable, "the server is stopping") }
        guard !request.prompt.isEmpty else {
            throw DejaVuError(.invalidArgument, "the prompt has no tokens", subject: "prompt")
        }
        guard request.prompt.allSatisfy({ $0 >= 0 && Int($0) < configuration.vocabularyCount }) else {
            throw DejaVuError(
                .invalidArgument, "the prompt has a token that the model does not know", subject: "prompt")
        }
        let choicesMax = min(limits.choiceCountMax, limits.sequencesMax)
        guard (1...choicesMax).contains(request.choiceCount) else {
            throw DejaVuError(
                .invalidArgument, "1 to \(choicesMax) choices are possible, not \(request.choiceCount)", subject: "n")
        }
        guard request.deadline > now else {
            throw DejaVuError(.deadlineExceeded, "the request's deadline has passed")
        }
        let state = RequestState(request: request, outputCountMax: try outputCountMax(of: request), now: now)
        if let error = reasonNeverToFit(state) { throw error }
        guard queue.count < limits.queueRequestsMax else {
            throw DejaVuError(.resourceExhausted, "\(limits.queueRequestsMax) requests wait already", subject: "queue")
        }
        guard state.tokens <= limits.queueTokensMax - queueTokens else {
            throw DejaVuError(
                .resourceExhausted,
                "the queue holds \(queueTokens) of \(limits.queueTokensMax) tokens, this request needs \(state.tokens)",
                subject: "queue")
        }
        return state
    }

    private func outputCountMax(of request: Request) throws(DejaVuError) -> Int {
        let context = limits.contextLength
        let prompt = request.prompt.count
        guard let asked = request.outputCountMax else {
            guard prompt < context else {
                throw DejaVuError(
                    .invalidArgument,
                    "the prompt has \(prompt) tokens; the context holds \(context), the answer included",
                    subject: "context_length")
            }
            return min(limits.outputCountDefault, context - prompt)
        }
        guard asked >= 1 else {
            throw DejaVuError(
                .invalidArgument, "at least 1 token must be asked for, not \(asked)", subject: "max_tokens")
        }
        guard prompt <= context, asked <= context - prompt else {
            let (total, overflow) = prompt.addingReportingOverflow(asked)
            throw DejaVuError(
                .invalidArgument,
                "the prompt has \(prompt) tokens and \(asked) are asked for, together \(overflow ? .max : total);"
                    + " the context holds \(context)", subject: "context_length")
        }
        return asked
    }

    /// Whether all the cells there are would not be enough; nil also while nobody knows how many there will be.
    private func reasonNeverToFit(_ state: RequestState) -> DejaVuError? {
        let most = pipelines.reduce(0) { $1.role.isHome ? max($0, $1.cells.cellCount) : $0 }
        let each = CellRun.count(forPositions: max(1, state.positions))
        let needed = each * state.request.choiceCount
        guard most > 0 else { return nil }
        let device = pipelines.reduce(0) { $1.role.isHome ? max($0, $1.swap.residentCount) : $0 }
        if each > device {
            return DejaVuError(
                .invalidArgument, "the request needs \(each) KV cells at one time, a device holds \(device)",
                subject: "context_length")
        }
        guard needed > most else { return nil }
        return DejaVuError(
            .invalidArgument, "the request needs \(needed) KV cells, the memory of the workers holds \(most)",
            subject: "context_length")
    }

    /// Gives cells to whoever is first, as long as they suffice. Nobody overtakes, so nobody starves.
    mutating func admit() {
        guard pipelines.contains(where: { $0.role.isHome && $0.phase == .serving }) else { return }
        guard readmitParked() else { return }
        var taken = 0
        while taken < queue.count, let state = requests[queue[taken]] {
            if let error = reasonNeverToFit(state) {
                requests.remove(state.request.id)
                queueTokens -= state.tokens
                taken += 1
                refuse(state.request.id, error)
                continue
            }
            guard let (index, runs) = reserve(positions: state.positions, times: state.request.choiceCount) else {
                break
            }
            taken += 1
            queueTokens -= state.tokens
            begin(state, pipeline: index, runs: runs)
        }
        queue.removeFirst(taken)
    }

    /// - Returns: false if one that could have a place some day has to wait for it, and so has everybody else.
    private mutating func readmitParked() -> Bool {
        var waits = false
        var index = 0
        while index < parked.count {
            let id = parked[index]
            guard let at = sequences.index(of: id) else { preconditionFailure("\(id) is parked but not known") }
            let positions = sequences[at: at].positionsReserved
            if !waits, let (pipeline, runs) = reserve(positions: positions, times: 1) {
                parked.remove(at: index)
                settleIn(id, pipeline: pipeline, cells: runs[0])
                continue
            }
            let most = pipelines.reduce(0) {
                $1.role.isHome && $1.phase == .serving ? max($0, $1.swap.residentCount) : $0
            }
            if CellRun.count(forPositions: positions) <= most { waits = true }
            index += 1
        }
        return !waits
    }

    /// Cells in the serving pipeline with the fewest sequences that has them, of those that make tokens.
    private mutating func reserve(positions: Int, times count: Int) -> (pipeline: Int, runs: [CellRun])? {
        let order = pipelines.indices.filter {
            pipelines[$0].role.isHome && pipelines[$0].phase == .serving
                && pipelines[$0].members.count + count <= limits.sequencesMax
        }.sorted { (pipelines[$0].members.count, $0) < (pipelines[$1].members.count, $1) }
        let each = CellRun.count(forPositions: max(1, positions))
        for index in order where each <= pipelines[index].swap.residentCount && hasRoom(index, for: each * count) {
            if let runs = pipelines[index].cells.allocate(positions: max(1, positions), times: count) {
                return (index, runs)
            }
        }
        return nil
    }

    private mutating func begin(_ state: RequestState, pipeline index: Int, runs: [CellRun]) {
        let request = state.request
        counters.requestsAdmitted += 1
        actions.append(.admitted(request.id))
        guard let at = requests.index(of: request.id) else {
            preconditionFailure("\(request.id) is queued but not known")
        }
        requests[at: at].admittedAt = now
        for choice in 0..<request.choiceCount {
            var sampling = request.sampling
            sampling.seed = request.choiceSeed(choice)
            sequenceCount += 1
            let record = SequenceRecord(
                id: SequenceID(sequenceCount), request: request.id, choice: choice, prompt: request.prompt,
                sampling: sampling, outputCountMax: state.outputCountMax, stopTokens: request.stopTokens,
                choiceCount: request.choiceCount, origin: request.origin)
            requests[at: at].choices.append(record.id)
            sequences.insert(SequenceState(record: record, isProbe: false), for: record.id)
            settleIn(record.id, pipeline: index, cells: runs[choice])
        }
    }

    /// The sequence has its home now.
    mutating func settleIn(_ id: SequenceID, pipeline index: Int, cells: CellRun) {
        guard let at = sequences.index(of: id) else { preconditionFailure("\(id) has cells but is not known") }
        sequences[at: at].home = Place(
            pipeline: index, cells: cells, positions: max(1, sequences[at: at].positionsReserved),
            stageCount: pipelines[index].stages.count)
        pipelines[index].insertMember(id)
        pipelines[index].dirty = true
        guestsDue = true
        openEverywhere(id, in: index)
        openReplicas(id)
    }

    /// Sends record, cells and a ticket to every stage of the pipeline that does not have them.
    mutating func openEverywhere(_ id: SequenceID, in index: Int) {
        guard let at = sequences.index(of: id), let place = sequences[at: at][index] else {
            preconditionFailure("\(id) has cells but is not known")
        }
        for (stage, worker) in stageWorkers(of: index).enumerated() where place.openAt[stage] != worker {
            guard let incarnation = workers[worker]?.hello.incarnation else {
                preconditionFailure("\(worker) is placed but not known")
            }
            let ticket = newTicket(
                id, pipelines[index].stages[stage].layers, positionLimit: place.positions, writer: incarnation)
            sequences[at: at].change(index) { place in
                place.openAt[stage] = worker
                if place.keptAt[stage] == worker {
                    place.keptAt[stage] = nil
                } else {
                    place.watermarks.reset(stage)
                }
            }
            send(.open(sequences[at: at].record, cells: place.cells, ticket: ticket), to: worker)
        }
    }

    mutating func newTicket(
        _ id: SequenceID, _ layers: LayerRange, positionLimit: Int, writer: Incarnation
    ) -> Ticket {
        ticketCount += 1
        return Ticket(
            number: ticketCount, sequence: id, layers: layers, positionLimit: positionLimit, writer: writer)
    }

    // MARK: Probes

    /// Runs one token through an idle pipeline if none crossed it for long, so that `ready` says what is true now.
    mutating func probeIfIdle(_ index: Int) {
        let pipeline = pipelines[index]
        guard pipeline.phase == .serving, !isPaused(index), pipeline.probe == nil, pipeline.flights.isEmpty,
            drainDeadline == nil, !isClosed(index)
        else {
            return
        }
        if let last = pipeline.lastCrossing, now - last < limits.probeInterval { return }
        guard pipeline.members.allSatisfy({ sequences[$0]?.phase != .running }) else { return }
        guard let cells = pipelines[index].cells.allocate(positions: 1) else { return }
        counters.probes += 1
        sequenceCount += 1
        let id = SequenceID(sequenceCount)
        let record = SequenceRecord(
            id: id, request: Self.probeRequest, choice: 0, prompt: [configuration.probeToken], sampling: .greedy,
            outputCountMax: 1, stopTokens: [])
        sequences.insert(SequenceState(record: record, isProbe: true), for: id)
        pipelines[index].probe = id
        settleIn(id, pipeline: index, cells: cells)
    }
}
