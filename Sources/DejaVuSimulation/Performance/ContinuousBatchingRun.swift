import DejaVuCore

/// Requests as the controller schedules them: admitted when their KV fits, prompts cut into chunks, steps in
/// microbatches that are formed anew for each pass.
///
/// Disaggregated, prompts run in a pipeline of their own, which samples the first token; their KV lands in the token
/// pipeline's memory, on its devices or, as far as these are full, on its hosts, and waits there for room.
struct ContinuousBatchingRun {
    private enum Event: Sendable {
        case arrival(Int)
        case passDone(pipeline: Int, flight: Int)
        /// All of a prompt's KV is at the token pipeline.
        case landed(Int)
    }

    private let scenario: PerformanceScenario
    private let rows: ContinuousPipeline.Rows
    private let isDisaggregated: Bool
    private var pipelines: [ContinuousPipeline] = []
    private var queue = EventQueue<Event>()
    private var now = Instant.zero
    /// Indices of jobs that have arrived and hold nothing yet, from `waitingFirst` on.
    private var waiting: [Int] = []
    private var waitingFirst = 0
    /// Landed, without room on the devices.
    private var landed: [Int] = []
    private var landedFirst = 0
    private var outcomes: [PerformanceResult.Outcome]
    private var trace: PerformanceTrace?
    /// Positions of the token pipeline that are promised to requests, wherever these are.
    private var tokenReserved = 0
    private let tokenPositions: Int

    init(_ scenario: PerformanceScenario, rows: ContinuousPipeline.Rows, sequencesMax: Int) throws(DejaVuError) {
        guard rows.max >= 1, (1...rows.max).contains(rows.chunkMax), rows.chunkMin >= 1, sequencesMax >= 1 else {
            throw DejaVuError(.invalidArgument, "a pass has rows, a chunk no more than a pass, and sequences run")
        }
        self.scenario = scenario
        self.rows = rows
        isDisaggregated = scenario.topology.isDisaggregated
        trace = scenario.keepsTrace ? PerformanceTrace(scenario.topology) : nil
        outcomes = scenario.jobs.map {
            .init(arrival: $0.arrival, firstToken: $0.arrival, end: $0.arrival, outputCount: $0.outputCount)
        }
        switch scenario.topology {
        case .colocated(let stages, let count):
            let budget = try MemoryBudget(scenario.costs, stages: stages)
            tokenPositions = scenario.swaps ? budget.swappedPositions : budget.devicePositions
            for index in 0..<count {
                pipelines.append(
                    try ContinuousPipeline(
                        line: StageLine(stageCount: stages, firstLane: index * stages, costs: scenario.costs),
                        positions: tokenPositions, devicePositions: budget.devicePositions, sequencesMax: sequencesMax))
            }
        case .disaggregated(let promptStages, let tokenStages):
            let prompt = try MemoryBudget(scenario.costs, stages: promptStages)
            let token = try MemoryBudget(scenario.costs, stages: tokenStages)
            // What has landed waits on the hosts; a microbatch that is swapped lives there.
            tokenPositions = scenario.swaps ? token.swappedPositions : token.devicePositions + token.hostPositions
            pipelines = [
                try ContinuousPipeline(
                    line: StageLine(stageCount: promptStages, firstLane: 0, costs: scenario.costs),
                    positions: prompt.devicePositions, devicePositions: prompt.devicePositions,
                    sequencesMax: sequencesMax, makesTokens: false),
                try ContinuousPipeline(
                    line: StageLine(stageCount: tokenStages, firstLane: promptStages, costs: scenario.costs),
                    positions: scenario.swaps ? token.swappedPositions : token.devicePositions,
                    devicePositions: token.devicePositions, sequencesMax: sequencesMax),
            ]
        }
        try checkThatEachFits()
        for (index, job) in scenario.jobs.enumerated() { queue.push(.arrival(index), at: job.arrival) }
    }

    private func checkThatEachFits() throws(DejaVuError) {
        let room = pipelines[pipelines.count - 1].positions
        for job in scenario.jobs {
            let needed = job.promptCount + job.outputCount
            guard needed <= room, job.promptCount <= pipelines[0].positions else {
                throw DejaVuError(
                    .resourceExhausted,
                    "\(scenario.topology) has room for \(min(room, pipelines[0].positions)) positions, not \(needed)")
            }
        }
    }

    mutating func run() throws(DejaVuError) -> PerformanceResult {
        var left = scenario.jobs.count
        while let entry = queue.pop() {
            now = max(now, entry.at)
            switch entry.element {
            case .arrival(let job): waiting.append(job)
            case .landed(let job): landed.append(job)
            case .passDone(let pipeline, let flight): left -= finish(pipeline, flight)
            }
            if let next = queue.next, next <= now { continue }
            admit()
            for index in pipelines.indices { schedule(index) }
        }
        guard left == 0 else { throw DejaVuError(.internalError, "\(left) requests of the simulation never ended") }
        return PerformanceResult(
            outcomes: outcomes, busy: pipelines.flatMap { $0.line.stages.map(\.busy) }, trace: trace)
    }

    private mutating func admit() {
        while landedFirst < landed.count {
            let job = landed[landedFirst]
            let needed = scenario.jobs[job].promptCount + scenario.jobs[job].outputCount
            guard pipelines[1].hasRoom(needed) else { break }
            landedFirst += 1
            // The prompt pipeline has sampled the first token.
            pipelines[1].admit(scenario.jobs[job], job: job, positions: needed, producedCount: 1)
        }
        while waitingFirst < waiting.count {
            let job = scenario.jobs[waiting[waitingFirst]]
            guard let pipeline = placeForNew(job) else { break }
            let positions = isDisaggregated ? job.promptCount : job.promptCount + job.outputCount
            if isDisaggregated { tokenReserved += job.promptCount + job.outputCount }
            pipelines[pipeline].admit(job, job: waiting[waitingFirst], positions: positions, producedCount: 0)
            waitingFirst += 1
        }
    }

    /// The pipeline with the fewest requests among those with room.
    private func placeForNew(_ job: PerformanceScenario.Job) -> Int? {
        let whole = job.promptCount + job.outputCount
        if isDisaggregated {
            return tokenReserved + whole <= tokenPositions && pipelines[0].hasRoom(job.promptCount) ? 0 : nil
        }
        return pipelines.indices.filter { pipelines[$0].hasRoom(whole) }
            .min { (pipelines[$0].memberCount, $0) < (pipelines[$1].memberCount, $1) }
    }

    private mutating func schedule(_ index: Int) {
        while let entries = pipelines[index].nextEntries(rows) {
            let load = pipelines[index].load(of: entries)
            var traffic = StageLine.Traffic()
            if isDisaggregated, index == 0 {
                traffic.streamedPositions = load.chunkRows
                traffic.receiverCount = pipelines[1].line.stages.count
            } else if scenario.swaps, pipelines[index].reserved > pipelines[index].devicePositions {
                traffic.fetchedPositions = load.stepPositions + load.chunks.reduce(0) { $0 + $1.first }
            }
            let passage = pipelines[index].line.send(load, at: now, traffic, trace: &trace)
            let flight = pipelines[index].launch(entries)
            queue.push(.passDone(pipeline: index, flight: flight), at: passage.end)
            guard isDisaggregated, index == 0 else { continue }
            for entry in entries where entry.end == pipelines[0].members[entry.member].promptCount {
                let member = pipelines[0].members[entry.member]
                if member.outputCount > 1 { queue.push(.landed(member.job), at: passage.streamedAt) }
            }
        }
    }

    /// - Returns: how many requests have ended.
    private mutating func finish(_ index: Int, _ flight: Int) -> Int {
        var ended = 0
        for member in pipelines[index].land(flight) {
            let state = pipelines[index].members[member]
            if state.producedCount == 1, state.promptEndsHere { outcomes[state.job].firstToken = now }
            let isOver = state.producedCount == state.outputCount
            if isOver {
                outcomes[state.job].end = now
                if isDisaggregated { tokenReserved -= state.promptCount + state.outputCount }
                ended += 1
            }
            if isOver || (isDisaggregated && index == 0) { pipelines[index].release(member) }
        }
        return ended
    }
}
