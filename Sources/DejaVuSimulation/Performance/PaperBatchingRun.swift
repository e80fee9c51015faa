import DejaVuCore

/// The paper's baseline: microbatches whose members stay together. One makes a prompt pass and then token passes until
/// its longest answer is done; each pipeline has as many in flight as it has stages, in cyclic order. A microbatch
/// begins with those that have arrived when its place is free.
///
/// Disaggregated, prompts follow one another through the prompt pipeline, and a free place of the token pipeline takes
/// those that come next in the order of prompts.
///
/// With fixed costs it is what the authors' own simulators do: a prompt pass gives no token, all prompts are sent as
/// they come, and a place of the token pipeline waits in its turn for the prompt that it has taken. With those of a
/// profile it is what `serve --batching paper:N` does.
struct PaperBatchingRun {
    private enum Event: Sendable {
        case arrival(Int)
        case passDone(pipeline: Int, place: Int)
        case promptDone(group: Int)
        /// A prompt's KV is at the token pipeline.
        case landed
    }

    private struct Group {
        let jobs: [Int]
        /// The number of its last pass; the prompt's is 0.
        let lastPass: Int
        /// When its KV is where its steps run.
        let readyAt: Instant
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
        /// Indices of jobs that are to run here and have no place yet, from `waitingFirst` on.
        var waiting: [Int] = []
        var waitingFirst = 0
        /// How many have come here and not ended.
        var memberCount = 0
    }

    private let scenario: PerformanceScenario
    private let sequencesMax: Int
    private let followsAuthors: Bool
    private var groups: [Group] = []
    private var promptLine: StageLine?
    private var promptsInFlight = 0
    private var pipelines: [Pipeline] = []
    /// Indices of jobs that wait for the prompt pipeline, from `waitingFirst` on.
    private var waiting: [Int] = []
    private var waitingFirst = 0
    /// The pipeline in which each job makes its tokens.
    private var homes: [Int]
    /// Those whose prompts were sent through the prompt pipeline, in that order, and when their KV is through;
    /// from `nextPrepared` on they have no place.
    private var prepared: [(job: Int, readyAt: Instant)] = []
    private var nextPrepared = 0
    private var queue = EventQueue<Event>()
    private var now = Instant.zero
    private var outcomes: [PerformanceResult.Outcome]
    private var trace: PerformanceTrace?

    init(_ scenario: PerformanceScenario, sequences: Int) throws(DejaVuError) {
        guard sequences >= 1 else { throw DejaVuError(.invalidArgument, "a microbatch has at least one request") }
        self.scenario = scenario
        sequencesMax = sequences
        if case .fixed = scenario.costs { followsAuthors = true } else { followsAuthors = false }
        trace = scenario.keepsTrace ? PerformanceTrace(scenario.topology) : nil
        outcomes = scenario.jobs.map {
            .init(arrival: $0.arrival, firstToken: $0.arrival, end: $0.arrival, outputCount: $0.outputCount)
        }
        homes = [Int](repeating: 0, count: scenario.jobs.count)
        switch scenario.topology {
        case .colocated(let stages, let count):
            for index in 0..<count { try addPipeline(stages, firstLane: index * stages) }
        case .disaggregated(let promptStages, let tokenStages):
            _ = try MemoryBudget(scenario.costs, stages: promptStages)
            promptLine = try StageLine(stageCount: promptStages, firstLane: 0, costs: scenario.costs)
            try addPipeline(tokenStages, firstLane: promptStages)
        }
        for (index, job) in scenario.jobs.enumerated() { queue.push(.arrival(index), at: job.arrival) }
    }

    private mutating func addPipeline(_ stages: Int, firstLane: Int) throws(DejaVuError) {
        let budget = try MemoryBudget(scenario.costs, stages: stages)
        // All that are in flight at once must fit.
        let largest =
            min(sequencesMax, scenario.jobs.count)
            * (scenario.jobs.map { $0.promptCount + $0.outputCount }.max() ?? 0)
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
            switch entry.element {
            case .arrival(let job): arrive(job)
            case .landed: break
            case .passDone(let pipeline, let place): finish(pipeline, place)
            case .promptDone(let group):
                promptsInFlight -= 1
                produce(group, pass: 0)
            }
            // What happens at one time is seen together.
            if let next = queue.next, next <= now { continue }
            sendPrompts()
            for index in pipelines.indices { advance(index) }
        }
        let lines = (promptLine.map { [$0] } ?? []) + pipelines.map(\.line)
        return PerformanceResult(
            outcomes: outcomes, busy: lines.flatMap { $0.stages.map(\.busy) }, trace: trace)
    }

    /// To the pipeline with the fewest requests.
    private mutating func arrive(_ job: Int) {
        let home = pipelines.indices.min { (pipelines[$0].memberCount, $0) < (pipelines[$1].memberCount, $1) } ?? 0
        homes[job] = home
        pipelines[home].memberCount += 1
        if promptLine == nil { pipelines[home].waiting.append(job) } else { waiting.append(job) }
    }

    private func positions(of job: Int) -> Int { scenario.jobs[job].promptCount + scenario.jobs[job].outputCount }

    private mutating func makeGroup(_ jobs: [Int], readyAt: Instant) -> Int? {
        guard let outputs = jobs.map({ scenario.jobs[$0].outputCount }).max() else { return nil }
        groups.append(Group(jobs: jobs, lastPass: followsAuthors ? outputs : outputs - 1, readyAt: readyAt))
        return groups.count - 1
    }

    private mutating func sendPrompts() {
        guard var line = promptLine else { return }
        while followsAuthors || promptsInFlight < line.stages.count,
            let group = makeGroup(Array(waiting[waitingFirst...].prefix(sequencesMax)), readyAt: now)
        {
            waitingFirst += groups[group].jobs.count
            let load = load(of: groups[group], pass: 0)
            let traffic = StageLine.Traffic(
                streamedPositions: load.chunkRows, receiverCount: pipelines[0].line.stages.count)
            let passage = line.send(load, at: now, traffic, trace: &trace)
            promptsInFlight += 1
            queue.push(.promptDone(group: group), at: passage.end)
            queue.push(.landed, at: passage.streamedAt)
            // Requests of one token end there.
            for job in groups[group].jobs where followsAuthors || scenario.jobs[job].outputCount > 1 {
                prepared.append((job, passage.streamedAt))
            }
        }
        promptLine = line
    }

    /// Sends what the places have to send, each in its turn. An empty place is passed over and keeps its turn.
    private mutating func advance(_ index: Int) {
        var passedOver = 0
        let count = pipelines[index].places.count
        while passedOver < count {
            let turn = (pipelines[index].turn + passedOver) % count
            if pipelines[index].places[turn].isInFlight { return }
            if pipelines[index].places[turn].group == nil {
                guard let group = takeGroup(index) else {
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

    private mutating func takeGroup(_ index: Int) -> Int? {
        guard promptLine != nil else {
            let next = Array(pipelines[index].waiting[pipelines[index].waitingFirst...].prefix(sequencesMax))
            pipelines[index].waitingFirst += next.count
            return makeGroup(next, readyAt: now)
        }
        let next = prepared[nextPrepared...].prefix(sequencesMax).prefix { followsAuthors || $0.readyAt <= now }
        nextPrepared += next.count
        return makeGroup(next.map(\.job), readyAt: next.map(\.readyAt).max() ?? now)
    }

    /// - Returns: whether it could be sent.
    private mutating func send(_ place: Place, pipeline index: Int, place turn: Int) -> Bool {
        guard let number = place.group else { preconditionFailure("an empty place has nothing to send") }
        guard groups[number].readyAt <= now else { return false }
        let load = load(of: groups[number], pass: place.passesDone)
        var traffic = StageLine.Traffic()
        if scenario.swaps {
            let held = pipelines[index].places.reduce(0) { sum, place in
                sum + (place.group.map { groups[$0].jobs.reduce(0) { $0 + positions(of: $1) } } ?? 0)
            }
            if held > pipelines[index].devicePositions { traffic.fetchedPositions = load.stepPositions }
        }
        let passage = pipelines[index].line.send(load, at: now, traffic, trace: &trace)
        queue.push(.passDone(pipeline: index, place: turn), at: passage.end)
        return true
    }

    /// Who has ended takes no part in later passes.
    private func load(of group: Group, pass: Int) -> PassLoad {
        guard pass > 0 else {
            return PassLoad(chunks: group.jobs.map { .init(first: 0, count: scenario.jobs[$0].promptCount) })
        }
        var load = PassLoad()
        for job in group.jobs where scenario.jobs[job].outputCount >= pass + (followsAuthors ? 0 : 1) {
            load.stepCount += 1
            load.stepPositions += scenario.jobs[job].promptCount + pass
        }
        return load
    }

    private mutating func finish(_ index: Int, _ turn: Int) {
        guard let number = pipelines[index].places[turn].group else { preconditionFailure("a pass of nobody") }
        let pass = pipelines[index].places[turn].passesDone
        pipelines[index].places[turn].isInFlight = false
        pipelines[index].places[turn].passesDone += 1
        produce(number, pass: pass)
        if pass == groups[number].lastPass { pipelines[index].places[turn] = Place() }
    }

    /// A pass has given a token to each that took part in it.
    private mutating func produce(_ group: Int, pass: Int) {
        let count = followsAuthors ? pass : pass + 1
        for job in groups[group].jobs {
            if count == 1 { outcomes[job].firstToken = now }
            guard count == scenario.jobs[job].outputCount else { continue }
            outcomes[job].end = now
            pipelines[homes[job]].memberCount -= 1
        }
    }
}
