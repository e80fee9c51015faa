package import DejaVuCore

/// What a performance simulation runs: requests through pipelines of a topology, on machines of a profile.
///
/// It predicts times alone. Whether the control code keeps its promises is what `World` is for.
package struct PerformanceScenario: Hashable, Sendable {
    package struct Job: Hashable, Sendable {
        package var arrival: Instant
        package var promptCount: Int
        /// At least one.
        package var outputCount: Int
        package init(arrival: Instant = .zero, promptCount: Int, outputCount: Int) {
            precondition(promptCount >= 1 && outputCount >= 1, "a request has a prompt and an answer")
            self.arrival = arrival
            self.promptCount = promptCount
            self.outputCount = outputCount
        }
    }

    package enum Batching: Hashable, Sendable {
        /// The paper's baseline: whole microbatches of so many requests, replaced at once when all of it has finished;
        /// prompts are not cut; a stage serves microbatches in cyclic order.
        case paper(sequences: Int)
        /// As the controller schedules: steps first, in microbatches that are formed anew for each pass, then chunks
        /// of prompts within the budgets of rows. The defaults are those of `serve`.
        case continuous(
            rowsMax: Int = 512, chunkRowsMax: Int = 256, chunkRowsMin: Int = 8, sequencesMax: Int = 256)
        /// The same, but prompts are not cut.
        package static let whole = continuous(rowsMax: 1 << 16, chunkRowsMax: 1 << 16, chunkRowsMin: 1 << 16)
    }

    package enum Costs: Hashable, Sendable {
        /// What a stage takes for a pass, whatever is in it: the authors' own simulators do so.
        case fixed(prompt: TimeSpan, step: TimeSpan)
        /// Of the profile's machine, links and memories included.
        case profile(ModelProfile)
    }

    package var topology: Topology
    package var swaps = false
    package var batching: Batching
    package var costs: Costs
    /// Ascending by arrival.
    package var jobs: [Job]
    /// Whether every pass and transfer is kept, for a picture.
    package var keepsTrace = false

    package init(topology: Topology, batching: Batching, costs: Costs, jobs: [Job]) {
        self.topology = topology
        self.batching = batching
        self.costs = costs
        self.jobs = jobs
    }

    /// - Throws: `.invalidArgument` if it cannot be run, `.resourceExhausted` if some request can never fit.
    package func run() throws(DejaVuError) -> PerformanceResult {
        guard !jobs.isEmpty, jobs.count <= 1_000_000 else {
            throw DejaVuError(.invalidArgument, "a simulation has 1 to 1000000 requests")
        }
        guard zip(jobs, jobs.dropFirst()).allSatisfy({ $0.arrival <= $1.arrival }) else {
            throw DejaVuError(.invalidArgument, "requests must ascend by their arrival")
        }
        switch batching {
        case .paper(let sequences):
            var run = try PaperBatchingRun(self, sequences: sequences)
            return run.run()
        case .continuous(let rowsMax, let chunkRowsMax, let chunkRowsMin, let sequencesMax):
            let rows = ContinuousPipeline.Rows(max: rowsMax, chunkMax: chunkRowsMax, chunkMin: chunkRowsMin)
            var run = try ContinuousBatchingRun(self, rows: rows, sequencesMax: sequencesMax)
            return try run.run()
        }
    }
}

/// How machines are put together into pipelines. A machine runs one stage.
package enum Topology: Hashable, Sendable, CustomStringConvertible {
    /// Pipelines that do prompts and steps, each with all layers.
    case colocated(stages: Int, pipelines: Int)
    /// One pipeline for prompts and one for steps; KV is streamed from the one to the other.
    case disaggregated(promptStages: Int, tokenStages: Int)

    package var machineCount: Int {
        switch self {
        case .colocated(let stages, let pipelines): stages * pipelines
        case .disaggregated(let promptStages, let tokenStages): promptStages + tokenStages
        }
    }

    package var isDisaggregated: Bool {
        if case .disaggregated = self { true } else { false }
    }

    package var description: String {
        switch self {
        case .colocated(let stages, 1): "\(stages) colocated"
        case .colocated(let stages, let pipelines): "\(pipelines) x \(stages) colocated"
        case .disaggregated(let promptStages, let tokenStages): "\(promptStages) + \(tokenStages)"
        }
    }
}
