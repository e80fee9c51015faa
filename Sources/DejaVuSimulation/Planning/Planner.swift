package import DejaVuCore

/// Finds how to put machines together for a load: every topology is simulated, and the simplest of the best is taken.
package struct Planner: Sendable {
    package enum Objective: String, Hashable, Sendable, CaseIterable {
        /// Output tokens a second.
        case throughput
        /// The median over requests of the time from arrival to end for each output.
        case latency
    }

    package struct Candidate: Hashable, Sendable {
        package let topology: Topology
        package let swaps: Bool
        /// What the simulation shows, without its trace.
        package let result: PerformanceResult?
        /// Why it cannot be, where there is no result.
        package let obstacle: String?

        package var description: String { topology.description + (swaps ? ", swapping" : "") }
    }

    /// How much more disaggregation gives at one length of answers: above 1 it pays.
    package struct Gain: Hashable, Sendable {
        package let outputCount: Int
        package let gain: Double
    }

    package let profile: ModelProfile
    package let machineCount: Int
    package let jobs: [PerformanceScenario.Job]
    package let objective: Objective
    package var batching = PerformanceScenario.Batching.continuous()
    /// A topology that is harder to run must be better by this share.
    package var margin = 0.02
    /// The only topology to try; nil, the default, for all.
    package var only: Topology?

    package init(
        profile: ModelProfile, machineCount: Int, jobs: [PerformanceScenario.Job], objective: Objective
    ) throws(DejaVuError) {
        guard (1...64).contains(machineCount) else {
            throw DejaVuError(.invalidArgument, "a plan is for 1 to 64 machines, not \(machineCount)")
        }
        guard !jobs.isEmpty else { throw DejaVuError(.invalidArgument, "a plan needs requests") }
        try profile.validate()
        guard profile.passSeconds(of: PassLoad(stepCount: 1, stepPositions: 1), layerCount: 1) > 0 else {
            throw DejaVuError(
                .invalidArgument, "the profile '\(profile.name)' says of no pass how long it takes",
                subject: "stepTimes")
        }
        self.profile = profile
        self.machineCount = machineCount
        self.jobs = jobs
        self.objective = objective
    }

    /// All ways to use all machines, the easiest to run first.
    package var topologies: [Topology] {
        if let only { return [only] }
        let colocated = (1...machineCount).reversed().filter { machineCount % $0 == 0 }.map {
            Topology.colocated(stages: $0, pipelines: machineCount / $0)
        }
        let disaggregated = (1..<max(machineCount, 1)).map {
            Topology.disaggregated(promptStages: $0, tokenStages: machineCount - $0)
        }
        return colocated + disaggregated
    }

    /// Simulates every topology, without swapping and, where memory asks for it, with it.
    ///
    /// - Parameter starting: told which candidate of how many comes next.
    package func plan(starting: (Int, Int) -> Void = { _, _ in }) -> Plan {
        var candidates: [Candidate] = []
        let all = topologies
        for (index, topology) in all.enumerated() {
            starting(index, all.count)
            candidates.append(candidate(topology, swaps: false, jobs))
            if swappingMatters(topology) { candidates.append(candidate(topology, swaps: true, jobs)) }
        }
        return Plan(self, candidates)
    }

    /// How much better the best disaggregated topology is than the best colocated one if all answers had one length.
    package func gains(outputCounts: [Int], starting: (Int, Int) -> Void = { _, _ in }) -> [Gain] {
        var gains: [Gain] = []
        guard only == nil else { return gains }
        for (index, outputCount) in outputCounts.enumerated() {
            starting(index, outputCounts.count)
            let scaled = jobs.map { job in
                var job = job
                job.outputCount = outputCount
                return job
            }
            let tried = topologies.map { candidate($0, swaps: false, scaled) }
            guard let together = best(tried.filter { !$0.topology.isDisaggregated }),
                let apart = best(tried.filter { $0.topology.isDisaggregated })
            else { continue }
            gains.append(Gain(outputCount: outputCount, gain: advantage(of: apart, over: together)))
        }
        return gains
    }

    /// Above 1 if the first is better, by the objective; both have results.
    package func advantage(of candidate: Candidate, over other: Candidate) -> Double {
        guard let result = candidate.result, let reference = other.result else { return 0 }
        switch objective {
        case .throughput: return reference.throughput > 0 ? result.throughput / reference.throughput : 0
        case .latency:
            return result.medianNormalisedLatency > 0
                ? reference.medianNormalisedLatency / result.medianNormalisedLatency : 0
        }
    }

    /// The first of those that are better than all before them; nil if none has a result.
    package func best(_ candidates: [Candidate]) -> Candidate? {
        var best: Candidate?
        for candidate in candidates where candidate.result != nil {
            guard let current = best else {
                best = candidate
                continue
            }
            if advantage(of: candidate, over: current) > 1 { best = candidate }
        }
        return best
    }

    private func candidate(_ topology: Topology, swaps: Bool, _ jobs: [PerformanceScenario.Job]) -> Candidate {
        var scenario = PerformanceScenario(
            topology: topology, batching: batching, costs: .profile(profile), jobs: jobs)
        scenario.swaps = swaps
        do {
            return Candidate(topology: topology, swaps: swaps, result: try scenario.run(), obstacle: nil)
        } catch {
            return Candidate(topology: topology, swaps: swaps, result: nil, obstacle: error.message)
        }
    }

    /// Whether a topology's devices hold all requests at once, where steps run.
    func kvFits(_ topology: Topology) -> Bool {
        guard let budget = budget(topology) else { return false }
        return jobs.reduce(0) { $0 + $1.promptCount + $1.outputCount } <= budget.devicePositions
    }

    /// Not where the devices hold everything, nothing could be copied, or no more would run at a time.
    private func swappingMatters(_ topology: Topology) -> Bool {
        guard profile.deviceMemoryBytes > 0, profile.hostMemoryBytes > 0, profile.copyBytesPerSecond > 0,
            let budget = budget(topology)
        else { return false }
        return budget.swappedPositions > budget.devicePositions && !kvFits(topology)
    }

    private func budget(_ topology: Topology) -> MemoryBudget? {
        switch topology {
        case .colocated(let stages, _): try? MemoryBudget(profile, stages: stages)
        case .disaggregated(_, let tokenStages): try? MemoryBudget(profile, stages: tokenStages)
        }
    }
}
