import DejaVuCore
import DejaVuKV

/// What comes back from the stages.
extension ControllerMachine {
    /// A stage has finished a pass: its watermarks rise, and the next stage has it now.
    mutating func passed(_ timing: PassTiming, by id: WorkerID) {
        guard let index = current(id, timing.pipeline, timing.epoch, stage: timing.stageIndex) else { return }
        let stage = timing.stageIndex
        if let worker = workers.index(of: id) {
            workers[at: worker].computed(timing.computed)
            workers[at: worker].progressAt = now
        }
        pipelines[index].stages[stage].busy.add(
            computed: timing.computed, idleBefore: timing.idleBefore, now: now)
        pipelines[index].stages[stage].passes += 1
        pipelines[index].stages[stage].computed = pipelines[index].stages[stage].computed + timing.computed
        learnStepTime(of: timing, index)
        // The last stage's tokens come before this, and end the flight.
        guard let flight = pipelines[index].flights.firstIndex(where: { $0.id == timing.pass }) else { return }
        if stage == 0 { pipelines[index].passTimes.add(size: pipelines[index].flights[flight].rows, timing.computed) }
        if pipelines[index].flights[flight].stagesPassed <= stage {
            pipelines[index].flights[flight].stagesPassed = stage + 1
            pipelines[index].flights[flight].since = now
        }
        for entry in pipelines[index].flights[flight].entries {
            guard let at = sequences.index(of: entry.sequence) else { continue }
            sequences[at: at].change(index) { place in
                if place.openAt[stage] == id { place.watermarks.raise(stage, to: entry.end) }
            }
        }
    }

    /// A pass has crossed all stages.
    mutating func sampled(
        _ pass: PassID, _ pipeline: PipelineID, _ epoch: Epoch, _ tokens: [SampledToken], by id: WorkerID
    ) {
        guard let index = current(id, pipeline, epoch) else { return }
        guard pipelines[index].stages.last?.worker == id,
            let at = pipelines[index].flights.firstIndex(where: { $0.id == pass })
        else {
            counters.messagesStale += 1
            return
        }
        guard areWhatWasAsked(tokens, for: pipelines[index].flights[at]) else {
            lose(id, reason: "the last stage answered with tokens that were not asked for", pass: pass)
            return
        }
        let flight = pipelines[index].flights.remove(at: at)
        pipelines[index].swap.ended = flight
        recoveryCompleted(flight, index)
        counters.passesCompleted += 1
        pipelines[index].lastCrossing = now
        pipelines[index].linkFailures = 0
        pipelines[index].dirty = true
        var next = 0
        for entry in flight.entries {
            let token = entry.samples ? tokens[next] : nil
            if entry.samples { next += 1 }
            complete(entry, in: index, token: token)
        }
        if !pipelines[index].hasCrossed {
            pipelines[index].hasCrossed = true
            placeReplicas()
        }
    }

    /// Exactly one token of the vocabulary for each entry that samples, in order, at the position after its end.
    private func areWhatWasAsked(_ tokens: [SampledToken], for flight: PipelineState.Flight) -> Bool {
        var next = 0
        for entry in flight.entries where entry.samples {
            guard next < tokens.count, tokens[next].sequence == entry.sequence, tokens[next].position == entry.end,
                tokens[next].token >= 0, Int(tokens[next].token) < configuration.vocabularyCount
            else { return false }
            next += 1
        }
        return next == tokens.count
    }

    private mutating func complete(_ entry: PipelineState.Flight.Entry, in index: Int, token: SampledToken?) {
        guard let at = sequences.index(of: entry.sequence) else {
            preconditionFailure("\(entry.sequence) was forgotten while a pass contained it")
        }
        let lacked = sequences[at: at].streamLag
        sequences[at: at].change(index) { place in
            place.inFlight -= 1
            place.watermarks.raiseAll(to: entry.end)
        }
        let least = sequences[at: at][index]?.watermarks.least ?? 0
        sequences[at: at].committedMax = max(sequences[at: at].committedMax, least)
        sequences[at: at].clearStrikes(past: least)
        if lacked == 0 { sequences[at: at].fedAt = now }
        if sequences[at: at][index]?.isLeaving == true { settle(entry.sequence, in: index) }
        guard let at = sequences.index(of: entry.sequence), sequences[at: at].phase == .running else { return }
        if let token { accept(token, at: at, in: index) }
        // Between two chunks a prompt may go elsewhere.
        if !entry.samples { guestsDue = guestsDue || configuration.topology.isDisaggregated }
        fed(entry.sequence)
    }

    /// The rule: a sampled token is accepted iff its position is the number of known tokens.
    private mutating func accept(_ token: SampledToken, at: Int, in index: Int) {
        guard token.position == sequences[at: at].record.knownCount else { return }
        sequences[at: at].record.outputs.append(token.token)
        sequences[at: at].strikes = 0
        if !sequences[at: at].isProbe {
            counters.tokensEmitted += 1
            recoveryAccepted(index)
            actions.append(.emit(sequences[at: at].record.request, choice: sequences[at: at].record.choice, token))
        }
        if sequences[at: at].record.stopTokens.contains(token.token) {
            end(token.sequence, .stop)
        } else if sequences[at: at].record.outputs.count >= sequences[at: at].record.outputCountMax {
            end(token.sequence, .length)
        }
    }

    /// A stage could not run a pass. It is not trusted with another.
    mutating func passFailed(
        _ pass: PassID, _ pipeline: PipelineID, _ epoch: Epoch, _ error: DejaVuError, by id: WorkerID
    ) {
        guard current(id, pipeline, epoch) != nil else { return }
        lose(id, reason: "a pass failed: \(error.message)", pass: pass)
    }
}
