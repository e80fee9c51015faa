package import DejaVuCore

/// The split of machines by the paper's formulas: prompt and token times of one microbatch, machines in fractions,
/// rounded down. Times are per stage when all machines form one pipeline.
package struct PaperPlan: Hashable, Sendable {
    package struct Input: Hashable, Sendable {
        package var machineCount: Int
        package var layerCount: Int
        /// Of one machine.
        package var memoryBytes: Double
        package var weightBytesPerLayer: Double
        /// A microbatch's KV of its prompts, and of what it generates.
        package var promptKVBytesPerLayer: Double
        package var generatedKVBytesPerLayer: Double
        /// Of a stage, in any one unit.
        package var promptTime: Double
        package var stepTime: Double
        package var generatedCount: Double
        /// How much longer a prompt takes while its KV is streamed: at least 1.
        package var promptSlowdown = 1.0

        package init(
            machineCount: Int, layerCount: Int, memoryBytes: Double, weightBytesPerLayer: Double,
            promptKVBytesPerLayer: Double, generatedKVBytesPerLayer: Double, promptTime: Double, stepTime: Double,
            generatedCount: Double, promptSlowdown: Double = 1
        ) {
            self.machineCount = machineCount
            self.layerCount = layerCount
            self.memoryBytes = memoryBytes
            self.weightBytesPerLayer = weightBytesPerLayer
            self.promptKVBytesPerLayer = promptKVBytesPerLayer
            self.generatedKVBytesPerLayer = generatedKVBytesPerLayer
            self.promptTime = promptTime
            self.stepTime = stepTime
            self.generatedCount = generatedCount
            self.promptSlowdown = promptSlowdown
        }
    }

    package enum Decision: Hashable, Sendable {
        case disaggregate(promptStages: Int, tokenStages: Int)
        case stayColocated(reason: String)
    }

    package let input: Input
    /// The fewest machines whose memory holds the weights and the KV; nil if no number does.
    package let promptStagesMin: Int?
    package let tokenStagesMin: Int?
    /// Machines in fractions, so that both pipelines take the same time.
    package let idealPromptStages: Double
    package let idealTokenStages: Double
    /// Per microbatch, at the ideal.
    package let colocatedTime: Double
    package let disaggregatedTime: Double
    /// Prompts must take more than this many steps; nil where streaming slows them so much that it never pays.
    package let breakEvenRatio: Double?
    package let decision: Decision

    package var idealSpeedUp: Double { colocatedTime / disaggregatedTime }

    /// Per microbatch with whole machines: what the rounding leaves of the ideal. nil if they stay together.
    package var wholeMachineTime: Double? {
        guard case .disaggregate(let promptStages, let tokenStages) = decision else { return nil }
        return Self.time(input, promptStages: promptStages, tokenStages: tokenStages)
    }

    package static func time(_ input: Input, promptStages: Int, tokenStages: Int) -> Double {
        let machines = Double(input.machineCount)
        return max(
            input.promptSlowdown * machines * input.promptTime / Double(promptStages),
            input.generatedCount * machines * input.stepTime / Double(tokenStages))
    }

    /// - Throws: `.invalidArgument` that names what cannot be.
    package init(_ input: Input) throws(DejaVuError) {
        func require(_ condition: Bool, _ subject: String, _ rule: String) throws(DejaVuError) {
            guard condition else { throw DejaVuError(.invalidArgument, "\(subject) \(rule)", subject: subject) }
        }
        try require((1...100_000).contains(input.machineCount), "machineCount", "must be 1 to 100000")
        try require((1...10_000).contains(input.layerCount), "layerCount", "must be 1 to 10000")
        try require(input.promptTime > 0 && input.promptTime.isFinite, "promptTime", "must be positive")
        try require(input.stepTime > 0 && input.stepTime.isFinite, "stepTime", "must be positive")
        try require(input.generatedCount >= 0 && input.generatedCount.isFinite, "generatedCount", "is negative")
        try require(
            input.promptSlowdown >= 1 && input.promptSlowdown.isFinite, "promptSlowdown", "must be at least 1")
        try require(input.weightBytesPerLayer > 0, "weightBytesPerLayer", "must be positive")
        try require(
            input.promptKVBytesPerLayer >= 0 && input.generatedKVBytesPerLayer >= 0, "KV bytes", "are negative")
        self.input = input
        let machines = Double(input.machineCount)
        let layers = Double(input.layerCount)
        let prompt = input.promptSlowdown * input.promptTime
        let tokens = input.generatedCount * input.stepTime
        promptStagesMin = Self.stagesMin(
            layers: layers, perStage: input.memoryBytes / (input.promptKVBytesPerLayer + input.weightBytesPerLayer))
        // Token stages hold the KV of as many microbatches as there are stages: of all layers, wherever they lie.
        let tokenKV = layers * (input.promptKVBytesPerLayer + input.generatedKVBytesPerLayer)
        tokenStagesMin = Self.stagesMin(
            layers: layers, perStage: (input.memoryBytes - tokenKV) / input.weightBytesPerLayer)
        idealPromptStages = machines * prompt / (prompt + tokens)
        idealTokenStages = machines * tokens / (prompt + tokens)
        colocatedTime =
            input.promptTime + tokens + (machines - 1) * (input.promptTime - input.stepTime) / machines
        disaggregatedTime = prompt + tokens
        let room = machines * (2 - input.promptSlowdown) - 1
        breakEvenRatio = room > 0 ? (machines - 1) / room : nil
        decision = Self.decide(
            input, promptStagesMin: promptStagesMin, tokenStagesMin: tokenStagesMin, ideal: idealPromptStages,
            breakEvenRatio: breakEvenRatio)
    }

    private static func stagesMin(layers: Double, perStage: Double) -> Int? {
        let whole = perStage.rounded(.down)
        return whole >= 1 ? Int((layers / whole).rounded(.up)) : nil
    }

    private static func decide(
        _ input: Input, promptStagesMin: Int?, tokenStagesMin: Int?, ideal: Double, breakEvenRatio: Double?
    ) -> Decision {
        guard let promptStagesMin, let tokenStagesMin else {
            return .stayColocated(reason: "a machine's memory does not hold one layer and its KV")
        }
        guard promptStagesMin + tokenStagesMin <= input.machineCount else {
            return .stayColocated(
                reason: "memory asks for \(promptStagesMin) prompt and \(tokenStagesMin) token machines, and there are "
                    + "\(input.machineCount)")
        }
        guard let breakEvenRatio, input.promptTime / input.stepTime > breakEvenRatio else {
            return .stayColocated(reason: "prompts are not long enough against steps")
        }
        // The least excess is rounding of numbers, not of machines.
        let rounded = Int((ideal + 1e-9).rounded(.down))
        guard rounded >= 1 else {
            return .stayColocated(reason: "prompts need less than one machine of their own")
        }
        let promptStages = min(max(rounded, promptStagesMin), input.machineCount - tokenStagesMin)
        return .disaggregate(promptStages: promptStages, tokenStages: input.machineCount - promptStages)
    }

    /// The paper's condition for swapping: twice the batch must make up for the steps that wait for copies.
    ///
    /// - Parameters:
    ///   - kvBytesPerStep: of one stage, that a microbatch of `batch` adds with each step, per sequence.
    package static func swappingPays(
        generatedCount: Int, stepSeconds: Double, batch: Int, kvBytesPerStep: Double, bytesPerSecond: Double
    ) -> Bool {
        guard generatedCount >= 1, bytesPerSecond > 0 else { return false }
        var waited = 0.0
        for step in 1...generatedCount {
            waited += max(stepSeconds, Double(step) * Double(batch) * kvBytesPerStep / bytesPerSecond)
        }
        return 2 * Double(generatedCount) * stepSeconds >= waited
    }
}
