import DejaVuCore
import DejaVuSimulation

/// A plan by the paper's formulas.
struct PaperPlanReport: Encodable {
    let profile: String
    let machines: Int
    let sequences: Int
    let promptTokens: Int
    let outputTokens: Int
    /// Of a stage when all machines form one pipeline.
    let promptSeconds: Double
    let stepSeconds: Double
    let promptStagesMin: Int?
    let tokenStagesMin: Int?
    let idealPromptStages: Double
    let idealTokenStages: Double
    let idealSpeedUp: Double
    let breakEvenRatio: Double?
    let promptStages: Int?
    let tokenStages: Int?
    /// Against one pipeline of all machines, with whole machines.
    let speedUp: Double?
    let swappingPays: Bool
    let decision: String
    let serve: String

    init(
        _ profile: ModelProfile, machines: Int, jobs: [PerformanceScenario.Job], sequences: Int, promptSlowdown: Double
    ) throws {
        guard profile.deviceMemoryBytes > 0, profile.weightBytesPerLayer > 0 else {
            throw DejaVuError(
                .invalidArgument,
                "the paper's formulas need deviceMemoryBytes and weightBytesPerLayer, which \(profile.name) has not",
                subject: "deviceMemoryBytes")
        }
        let prompt = Int(PlanReport.mean(jobs.map(\.promptCount)).rounded())
        let output = Int(PlanReport.mean(jobs.map(\.outputCount)).rounded())
        let chunks = [PassLoad.Chunk](repeating: .init(first: 0, count: prompt), count: sequences)
        let positions = sequences * (prompt + output / 2)
        let share = Double(profile.layerCount) * Double(machines)
        func stageSeconds(_ load: PassLoad) -> Double {
            profile.passSeconds(of: load, layerCount: profile.layerCount) * Double(profile.layerCount) / share
        }
        let plan = try PaperPlan(
            .init(
                machineCount: machines, layerCount: profile.layerCount, memoryBytes: Double(profile.deviceMemoryBytes),
                weightBytesPerLayer: Double(profile.weightBytesPerLayer),
                promptKVBytesPerLayer: Double(sequences * prompt) * Double(profile.kvBytesPerPositionAndLayer),
                generatedKVBytesPerLayer: Double(sequences * output) * Double(profile.kvBytesPerPositionAndLayer),
                promptTime: stageSeconds(PassLoad(chunks: chunks)),
                stepTime: stageSeconds(PassLoad(stepCount: sequences, stepPositions: positions)),
                generatedCount: Double(output), promptSlowdown: promptSlowdown))
        self.profile = profile.name
        self.machines = machines
        self.sequences = sequences
        promptTokens = prompt
        outputTokens = output
        promptSeconds = plan.input.promptTime
        stepSeconds = plan.input.stepTime
        promptStagesMin = plan.promptStagesMin
        tokenStagesMin = plan.tokenStagesMin
        idealPromptStages = plan.idealPromptStages
        idealTokenStages = plan.idealTokenStages
        idealSpeedUp = plan.idealSpeedUp
        breakEvenRatio = plan.breakEvenRatio
        speedUp = plan.wholeMachineTime.map { plan.colocatedTime / $0 }
        swappingPays = PaperPlan.swappingPays(
            generatedCount: output, stepSeconds: plan.input.stepTime, batch: sequences,
            kvBytesPerStep: Double(profile.kvBytesPerPositionAndLayer) * Double(profile.layerCount) / Double(machines),
            bytesPerSecond: profile.copyBytesPerSecond)
        switch plan.decision {
        case .disaggregate(let promptStages, let tokenStages):
            self.promptStages = promptStages
            self.tokenStages = tokenStages
            decision = "disaggregate: \(promptStages) prompt + \(tokenStages) token machines"
        case .stayColocated(let reason):
            promptStages = nil
            tokenStages = nil
            decision = "stay colocated: \(reason)"
        }
        if let promptStages, let tokenStages {
            serve = "dejavu serve MODEL --prompt-stages \(promptStages) --token-stages \(tokenStages)"
        } else {
            serve = "dejavu serve MODEL" + (machines > 1 ? " --stages \(machines)" : "")
        }
    }

    var text: String {
        func bound(_ count: Int?) -> String { count.map { "at least \($0)" } ?? "no number" }
        var lines = [
            "\(profile) on \(machines) machines by the paper's formulas, microbatches of \(sequences) x "
                + "(\(promptTokens) + \(outputTokens)) tokens",
            "",
            "prompt of a stage      \(PlanText.seconds(promptSeconds))",
            "step of a stage        \(PlanText.seconds(stepSeconds)): a prompt takes "
                + "\(PlanText.number(promptSeconds / stepSeconds)) of them",
            "memory                 \(bound(promptStagesMin)) prompt and \(bound(tokenStagesMin)) token machines",
            "ideal split            \((idealPromptStages * 100).rounded() / 100) + "
                + "\((idealTokenStages * 100).rounded() / 100), \((idealSpeedUp * 1000).rounded() / 1000)x",
            "break-even             "
                + (breakEvenRatio.map { "prompts of \(PlanText.number($0)) steps" }
                    ?? "none: streaming slows prompts too much"),
            "swapping               \(swappingPays ? "pays" : "does not pay") with twice the batch",
            "", decision,
        ]
        if let speedUp {
            lines.append(
                "With whole machines it has \((speedUp * 1000).rounded() / 1000)x the throughput of one pipeline"
                    + (speedUp < 1
                        ? ": rounding has cost more than it gives, stay colocated or ask the simulation."
                        : "."))
        }
        lines += ["", serve]
        return lines.joined(separator: "\n") + "\n"
    }
}
