import DejaVuCore
import DejaVuKV

/// Whether a pipeline's devices take turns with its sequences, and what that changes. See docs/swapping.md.
struct PipelineSwap: Hashable {
    /// Cells per layer that each stage's device holds at one time; all that there are where nothing is swapped.
    var residentCount = 0
    var isOn = true
    var changedAt: Instant?
    /// What was last compared; nil before.
    var estimate: SwapEstimate?
    var steps = PassTimes()
    /// The pass that has crossed all stages last: its time at the last stage is heard of after its tokens.
    var ended: PipelineState.Flight?
}

extension ControllerMachine {
    /// Whether there is memory below the devices.
    func canSwap(_ index: Int) -> Bool { pipelines[index].swap.residentCount < pipelines[index].cells.cellCount }

    /// Whether the devices cannot hold all that has cells.
    func isCrowded(_ index: Int) -> Bool {
        pipelines[index].cells.usedCount > pipelines[index].swap.residentCount
    }

    /// Whether passes take turns on the devices now.
    func isSwapping(_ index: Int) -> Bool { canSwap(index) && pipelines[index].swap.isOn && isCrowded(index) }

    /// How many cells the sequences of one pass may have: half of the device, so that the next pass has the other half.
    func passCellsMax(_ index: Int) -> Int {
        isSwapping(index) ? pipelines[index].swap.residentCount / 2 : pipelines[index].swap.residentCount
    }

    /// Those that passes are made of: all, or where swapping does not pay the oldest that the devices hold. The others
    /// keep what they have and wait.
    func workingSet(_ index: Int) -> [SequenceID] {
        guard canSwap(index), !pipelines[index].swap.isOn, isCrowded(index) else { return pipelines[index].members }
        var left = pipelines[index].swap.residentCount
        return pipelines[index].members.filter { id in
            guard let sequence = sequences[id], sequence.phase == .running,
                let cells = sequence[index]?.cells.count, cells <= left
            else { return false }
            left -= cells
            return true
        }
    }

    /// Whether a pipeline takes in so many more cells.
    func hasRoom(_ index: Int, for cells: Int) -> Bool {
        guard canSwap(index), !pipelines[index].swap.isOn else { return true }
        // What no device holds at one time is let in alone, and takes turns with itself.
        let used = pipelines[index].cells.usedCount
        return used == 0 || used + cells <= pipelines[index].swap.residentCount
    }

    /// Tells the stages behind the first what comes, before its rows do.
    func announcements(of pass: Pass, in index: Int) -> [(ControllerMessage, WorkerID)] {
        guard canSwap(index), isCrowded(index) else { return [] }
        let sequences = pass.entries.map(\.sequence)
        return pipelines[index].stages.indices.dropFirst().compactMap { stage in
            pipelines[index].stages[stage].worker.map {
                (.announce(pass.pipeline, pass.epoch, stageIndex: stage, pass.id, sequences), $0)
            }
        }
    }

    // MARK: Does it pay?

    /// A change is not thought over again before.
    private static let swapDwell = TimeSpan.seconds(2)
    /// A change must bring at least this much.
    private static let swapGain = 1.03

    /// Compares what steps and copies take, as measured, with and without.
    mutating func judgeSwapping(_ index: Int) {
        guard configuration.swapping == .auto, canSwap(index), pipelines[index].phase == .serving,
            pipelines[index].swap.changedAt.map({ now - $0 >= Self.swapDwell }) ?? true,
            let estimate = swapEstimate(index)
        else { return }
        let isOn = pipelines[index].swap.isOn
        let (with, without) = (estimate.tokensWith, estimate.tokensWithout)
        let wanted = isOn ? without <= with * Self.swapGain : with > without * Self.swapGain
        pipelines[index].swap.estimate = estimate
        guard wanted != isOn else { return }
        pipelines[index].swap.isOn = wanted
        pipelines[index].swap.changedAt = now
        pipelines[index].dirty = true
        admissionDue = true
        actions.append(.swapping(pipelines[index].id, isOn: wanted, reason: estimate.reason(isOn: wanted)))
    }

    /// nil while too little is known, or all that wants to run fits on the devices.
    private func swapEstimate(_ index: Int) -> SwapEstimate? {
        let pipeline = pipelines[index]
        let members = pipeline.members.compactMap { sequences[$0] }.filter { $0.phase == .running && !$0.isProbe }
        guard !members.isEmpty, !pipeline.swap.steps.isEmpty, let rate = swapBytesPerSecond(index) else { return nil }
        let count = Double(members.count)
        let cells = members.reduce(0.0) { $0 + Double($1[index]?.cells.count ?? 0) } / count
        // Half of the way from what each has to what it may have: copies get longer, and turning back later costs more.
        let rows =
            members.reduce(0.0) { sum, sequence in
                sum + Double((sequence[index]?.watermarks.least ?? 0) + sequence.record.positionCountMax) / 2
            } / count
        let resident = Double(pipeline.swap.residentCount)
        let queued = queue.prefix(256).reduce(0) { $0 + (requests[$1]?.request.choiceCount ?? 0) }
        let demand = Double(members.count + queued)
        guard demand > resident / cells else { return nil }
        let stages = Double(pipeline.stages.count)
        let held = min(demand, Double(pipeline.cells.cellCount) / cells, Double(limits.sequencesMax))
        let with = max(1, min(held / (stages + 1), resident / 2 / cells))
        let without = max(1, min(resident / cells, Double(limits.sequencesMax)) / stages)
        // Beside the pass at hand the device still has the latest of those that wait for their turn.
        let used = with * cells
        let kept = max(resident - used, 0)
        let missing = max(0, 1 - kept / max(held * cells - used, kept, 1))
        return SwapEstimate(
            sequencesWith: with, sequencesWithout: without,
            stepWith: .seconds(pipeline.swap.steps.seconds(size: with)),
            stepWithout: .seconds(pipeline.swap.steps.seconds(size: without)),
            // What a worker says of its copies may be anything.
            fetch: .seconds(min(with * missing * rows * Double(bytesPerPosition(index)) / rate, 1e6)))
    }

    /// Of the stage with the most layers.
    private func bytesPerPosition(_ index: Int) -> Int {
        let layers = pipelines[index].stages.reduce(0) { max($0, $1.layers.count) }
        let bytes = pipelines[index].stages.compactMap { $0.worker.flatMap { workers[$0] } }.reduce(0) {
            max($0, $1.hello.kvBytesPerPositionAndLayer)
        }
        return layers * bytes
    }

    /// The slowest stage's, as far as stages have brought anything in.
    private func swapBytesPerSecond(_ index: Int) -> Double? {
        pipelines[index].stages.compactMap { stage in
            stage.worker.flatMap { workers[$0]?.swap?.bytesInPerSecond }
        }.min()
    }

    /// A stage has run a pass: if it was steps alone, that says how long they take.
    mutating func learnStepTime(of timing: PassTiming, _ index: Int) {
        let ended = pipelines[index].swap.ended
        guard canSwap(index),
            let flight = pipelines[index].flights.first(where: { $0.id == timing.pass })
                ?? (ended?.id == timing.pass ? ended : nil),
            flight.entries.allSatisfy({ $0.end - $0.first == 1 })
        else { return }
        pipelines[index].swap.steps.add(size: flight.entries.count, timing.computed)
    }

    // MARK: Status

    func swapStatus(_ index: Int) -> SwapStatus? {
        guard canSwap(index) else { return nil }
        let pipeline = pipelines[index]
        let usage = pipeline.stages.compactMap { $0.worker.flatMap { workers[$0]?.swap } }.reduce(SwapUsage(), +)
        return SwapStatus(
            cellsResident: pipeline.swap.residentCount, isOn: pipeline.swap.isOn, isNeeded: isCrowded(index),
            wasAskedFor: configuration.swapping == .on, estimate: pipeline.swap.estimate, usage: usage,
            sequencesWaiting: pipeline.swap.isOn ? 0 : pipeline.members.count - workingSet(index).count)
    }
}
