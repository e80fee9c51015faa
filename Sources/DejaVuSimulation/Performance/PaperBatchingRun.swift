import DejaVuCore

/// The paper's baseline: microbatches of fixed membership. One makes a prompt pass and then as many token passes as
/// its longest answer has tokens; each pipeline has as many in flight as it has stages, in cyclic order.
///
/// Disaggregated, prompts follow one another through the prompt pipeline, and a free place of the token pipeline takes
/// the next microbatch in the order of prompts and waits for it.
struct PaperBatchingRun {
    private enum Event: Sendable {
        /// The last of a group's requests is there.
        case arrival
        case passDone(pipeline: Int, place: Int)
        /// A prompt's KV is at the token pipeline.
        case landed
    }

    private struct Group {
        let jobs: Range<Int>
        let arrival: Instant
        let promptCount: Int
        let outputCount: Int
        /// When its KV is where its steps run; nil as long as nobody has sent its prompt.
        var readyAt: Instant?
    }

    /// A microbatch's seat in a pipeline.
    private struct Place {
        var group: Int?
        var passesDone = 0
        var isInFlight = false
    }

    private struct Pipeline {
        var line: StageLine
        var places: [Place]
        var turn = 0
        let devicePositions: Int
    }

    private let scenario: PerformanceScenario
    private var groups: [Group] = []
    private var promptLine: StageLine?
    private var pipelines: [Pipeline] = []
    private var nextPrompt = 0
    private var nextGroup = 0
    private var queue = EventQueue<Event>()
    private var now = Instant.zero
    private var outcomes: [PerformanceResult.Outcome]
    private var trace: PerformanceTrace?

    init(_ scenario: PerformanceScenario, sequences: Int) throws(DejaVuError) {
        guard sequences >= 1 else { throw DejaVuError(.invalidArgument, "a microbatch has at least one request") }
        self.scenario = scenario
        trace = scenario.keepsTrace ? PerformanceTrace(scenario.topology) : nil
        outcomes = scenario.jobs.map {
            .init(arrival: $0.arrival, firstToken: $0.arrival, end: $0.arrival, outputCount: $0.outputCount)
        }
        for start in stride(from: 0, to: scenario.jobs.count, by: sequences) {
            let range = start..<min(start + sequences, scenario.jobs.count)
            let jobs = scenario.jobs[range]
            groups.append(
                Group(
                    jobs: range, arrival: jobs.map(\.arrival).max() ?? .zero,
                    promptCount: jobs.map(\.promptCount).max() ?? 1,
                    outputCount: jobs.map(\.outputCount).max() ?? 1))
        }
        switch scenario.topology {
        case .colocated(let stages, let count):
            for index in 0..<count { try addPipeline(stages, firstLane: index * stages) }
        case .disaggregated(let promptStages, let tokenStages):
            _ = try MemoryBudget(scenario.costs, stages: promptStages)
            promptLine = try StageLine(stageCount: promptStages, firstLane: 0, costs: scenario.costs)
            try addPipeline(tokenStages, firstLane: promptStages)
        }
        for group in groups { queue.push(.arrival, at: group.arrival) }
    }

    private mutating func addPipeline(_ stages: Int, firstLane: Int) throws(DejaVuError) {
        let budget = try MemoryBudget(scenario.costs, stages: stages)
        // All that are in flight at once must fit.
        let largest = groups.map { $0.jobs.count * ($0.promptCount + $0.outputCount) }.max() ?? 0
        let room = scenario.swaps ? budget.swappedPositions : budget.devicePositions
        guard largest <= room / stages else {
            throw DejaVuError(
                .resourceExhausted,
                "\(stages) microbatches of \(largest) positions do not fit: there is room for \(room)")
        }
        pipelines.append(
            Pipeline(
                line: try StageLine(stageCount: stages, firstLane: firstLane, costs: scenario.costs),
                places: [Place](repeating: Place(), count: stages), devicePositions: budget.devicePositions))
    }

    mutating func run() -> PerformanceResult {
        while let entry = queue.pop() {
            now = max(now, entry.at)
            if case .passDone(let pipeline, let place) = entry.element { finish(pipeline, place) }
            // What happens at one time is seen together.
            if let next = queue.next, next <= now { continue }
            sendPrompts()
            for index in pipelines.indices { advance(index) }
        }
        let lines = (promptLine.map { [$0] } ?? []) + pipelines.map(\.line)
        return PerformanceResult(
            outcomes: outcomes, busy: lines.flatMap { $0.stages.map(\.busy) }, trace: trace)
    }

    /// The prompt pipeline takes whole prompts as they come.
    private mutating func sendPrompts() {
        guard promptLine != nil else { return }
        while nextPrompt < groups.count, groups[nextPrompt].arrival <= now {
            let load = load(of: groups[nextPrompt], pass: 0)
            let traffic = StageLine.Traffic(
                streamedPositions: load.chunkRows, receiverCount: pipelines[0].line.stages.count)
            guard let passage = promptLine?.send(load, at: now, traffic, trace: &trace) else { return }
            groups[nextPrompt].readyAt = passage.streamedAt
            queue.push(.landed, at: passage.streamedAt)
            nextPrompt += 1
        }
    }

    /// Sends what the places have to send, each in its turn. An empty place is passed over and keeps its turn.
    private mutating func advance(_ index: Int) {
        var passedOver = 0
        let count = pipelines[index].places.count
        while passedOver < count {
            let turn = (pipelines[index].turn + passedOver) % count
            if pipelines[index].places[turn].isInFlight { return }
            if pipelines[index].places[turn].group == nil {
                guard let group = takeGroup() else {
                    passedOver += 1
                    continue
                }
                // Disaggregated, the prompt has been pass 0 elsewhere.
                pipelines[index].places[turn] = Place(group: group, passesDone: promptLine == nil ? 0 : 1)
            }
            guard send(pipelines[index].places[turn], pipeline: index, place: turn) else { return }
            pipelines[index].places[turn].isInFlight = true
            pipelines[index].turn = (turn + 1) % count
            passedOver = 0
        }
    }

    private mutating func takeGroup() -> Int? {
        guard nextGroup < groups.count, groups[nextGroup].arrival <= now else { return nil }
        nextGroup += 1
        return nextGroup - 1
    }

    /// - Returns: whether it could be sent.
    private mutating func send(_ place: Place, pipeline index: Int, place turn: Int) -> Bool {
        guard let number = place.group else { preconditionFailure("an empty place has nothing to send") }
        let group = groups[number]
        if promptLine != nil {
            guard let readyAt = group.readyAt, readyAt <= now else { return false }
        }
        let load = load(of: group, pass: place.passesDone)
        var traffic = StageLine.Traffic()
        if scenario.swaps {
            let held = pipelines[index].places.reduce(0) { sum, place in
                sum
                    + (place.group.map { groups[$0].jobs.count * (groups[$0].promptCount + groups[$0].outputCount) }
                        ?? 0)
            }
            if held > pipelines[index].devicePositions { traffic.fetchedPositions = load.stepPositions }
        }
        let passage = pipelines[index].line.send(load, at: now, traffic, trace: &trace)
        queue.push(.passDone(pipeline: index, place: turn), at: passage.end)
        return true
    }

    private func load(of group: Group, pass: Int) -> PassLoad {
        let count = group.jobs.count
        if pass == 0 {
            return PassLoad(
                chunks: [PassLoad.Chunk](repeating: .init(first: 0, count: group.promptCount), count: count))
        }
        return PassLoad(stepCount: count, stepPositions: count * (group.promptCount + pass))
    }

    private mutating func finish(_ index: Int, _ turn: Int) {
        guard let number = pipelines[index].places[turn].group else { preconditionFailure("a pass of nobody") }
        pipelines[index].places[turn].isInFlight = false
        let steps = pipelines[index].places[turn].passesDone
        pipelines[index].places[turn].passesDone += 1
        for job in groups[number].jobs {
            if steps == 1 { outcomes[job].firstToken = now }
            if steps == scenario.jobs[job].outputCount { outcomes[job].end = now }
        }
        if steps == groups[number].outputCount { pipelines[index].places[turn] = Place() }
    }
}
