import DejaVuCore

/// What a planner found, and why it decides as it does.
package struct Plan: Sendable {
    /// In the order in which they were tried: the easiest to run first.
    package let candidates: [Planner.Candidate]
    /// nil if nothing can run.
    package let choice: Planner.Candidate?
    /// The options of `dejavu serve` for it.
    package let serveOptions: [String]?
    /// Sentences.
    package let reasons: [String]

    init(_ planner: Planner, _ candidates: [Planner.Candidate]) {
        self.candidates = candidates
        guard let best = planner.best(candidates) else {
            choice = nil
            serveOptions = nil
            reasons = ["Nothing fits: " + (candidates.compactMap(\.obstacle).first ?? "there are no machines") + "."]
            return
        }
        // Colocated before disaggregated, and the devices alone before swapping.
        let ranked = candidates.enumerated().filter { $0.element.result != nil }.sorted {
            (Self.effort($0.element), $0.offset) < (Self.effort($1.element), $1.offset)
        }.map(\.element)
        let choice = ranked.first { planner.advantage(of: best, over: $0) <= 1 + planner.margin } ?? best
        self.choice = choice
        serveOptions = Self.serveOptions(choice, planner.profile) + Self.batchingOptions(planner.batching)
        reasons = Self.reasons(planner, candidates, choice: choice)
    }

    private static func effort(_ candidate: Planner.Candidate) -> Int {
        (candidate.topology.isDisaggregated ? 2 : 0) + (candidate.swaps ? 1 : 0)
    }

    private static func reasons(
        _ planner: Planner, _ candidates: [Planner.Candidate], choice: Planner.Candidate
    ) -> [String] {
        var reasons: [String] = []
        let measure = planner.objective == .throughput ? "throughput" : "median normalised latency"
        let together = planner.best(candidates.filter { !$0.topology.isDisaggregated })
        let apart = planner.best(candidates.filter { $0.topology.isDisaggregated })
        switch (together, apart) {
        case _ where planner.only != nil: break
        case (let together?, let apart?):
            let gain = planner.advantage(of: apart, over: together)
            let comparison = "\(apart.description) has \(times(gain)) the \(measure) of \(together.description)"
            let inverse = "\(apart.description) is \(times(gain)) as good in \(measure) as \(together.description)"
            reasons.append(
                choice.topology.isDisaggregated
                    ? "Disaggregate: \(planner.objective == .throughput ? comparison : inverse)."
                    : "Do not disaggregate: \(planner.objective == .throughput ? comparison : inverse).")
        case (.some, nil):
            reasons.append(
                planner.machineCount == 1
                    ? "Do not disaggregate: one machine has nothing to give away."
                    : "Do not disaggregate: no split fits in memory.")
        case (nil, .some): reasons.append("Disaggregate: no colocated pipeline fits in memory.")
        case (nil, nil): break
        }
        reasons.append(swapReason(planner, candidates, choice, measure))
        if let result = choice.result {
            reasons.append("Machines compute \(percent(1 - result.bubbleShare)) of the time; the rest are bubbles.")
        }
        return reasons
    }

    private static func swapReason(
        _ planner: Planner, _ candidates: [Planner.Candidate], _ choice: Planner.Candidate, _ measure: String
    ) -> String {
        let same = candidates.filter { $0.topology == choice.topology }
        guard let swapping = same.first(where: \.swaps), swapping.result != nil else {
            if planner.profile.hostMemoryBytes == 0 || planner.profile.copyBytesPerSecond == 0 {
                return "Do not swap: the profile names no host memory beside the device's."
            }
            return planner.kvFits(choice.topology)
                ? "Do not swap: the devices hold the KV of all requests."
                : "Do not swap: it would not let more requests run at a time."
        }
        guard let without = same.first(where: { !$0.swaps }), without.result != nil else {
            return "Swap: the devices alone do not hold what is in flight."
        }
        let gain = planner.advantage(of: swapping, over: without)
        return "\(choice.swaps ? "Swap" : "Do not swap"): the \(measure) is \(times(gain)) as good with it."
    }

    private static func times(_ factor: Double) -> String { "\((factor * 1000).rounded() / 1000)x" }
    private static func percent(_ share: Double) -> String { "\(Int((share * 100).rounded()))%" }

    private static func batchingOptions(_ batching: PerformanceScenario.Batching) -> [String] {
        switch batching {
        case .paper(let sequences): ["--batching", "paper:\(sequences)"]
        case .whole: ["--batching", "whole"]
        case .continuous: []
        }
    }

    private static func serveOptions(_ choice: Planner.Candidate, _ profile: ModelProfile) -> [String] {
        var options: [String]
        let homeStages: Int
        switch choice.topology {
        case .colocated(let stages, let pipelines):
            options =
                (stages > 1 ? ["--stages", "\(stages)"] : []) + (pipelines > 1 ? ["--pipelines", "\(pipelines)"] : [])
            homeStages = stages
        case .disaggregated(let promptStages, let tokenStages):
            options = ["--prompt-stages", "\(promptStages)", "--token-stages", "\(tokenStages)"]
            homeStages = tokenStages
        }
        guard choice.swaps else { return options }
        // What the weights leave of a device.
        let layers = (profile.layerCount + homeStages - 1) / homeStages
        let device = max(0, profile.deviceMemoryBytes - profile.weightBytesPerLayer * layers)
        options += ["--device-memory", "\(device)", "--host-memory", "\(profile.hostMemoryBytes)"]
        return options
    }
}
