/// What a pipeline does for its sequences.
package enum PipelineRole: String, Hashable, Codable, Sendable {
    /// Prompts and steps.
    case colocated
    /// Prompts and long replays, for sequences that make their tokens elsewhere.
    case prompt
    /// Steps, and the prompts that are not worth the way.
    case token

    /// Whether sequences live here: their cells for prompt and outputs.
    package var isHome: Bool { self != .prompt }
}

/// Which pipelines a server has.
package struct PipelineTopology: Hashable, Codable, Sendable, CustomStringConvertible {
    /// Stages of each pipeline that makes tokens.
    package var stageCount: Int
    package var pipelineCount: Int
    /// Stages of the pipeline that runs prompts for the others; 0 where every pipeline runs its own.
    package var promptStageCount: Int

    package init(stageCount: Int, pipelineCount: Int = 1, promptStageCount: Int = 0) {
        self.stageCount = stageCount
        self.pipelineCount = pipelineCount
        self.promptStageCount = promptStageCount
    }

    package var isDisaggregated: Bool { promptStageCount > 0 }

    /// Workers that it takes, one for each stage.
    package var workerCount: Int { stageCount * pipelineCount + promptStageCount }

    /// Every pipeline, in the order of their ids.
    package var pipelines: [(role: PipelineRole, stageCount: Int)] {
        let role: PipelineRole = isDisaggregated ? .token : .colocated
        let homes = [(role: PipelineRole, stageCount: Int)](repeating: (role, stageCount), count: pipelineCount)
        return isDisaggregated ? homes + [(.prompt, promptStageCount)] : homes
    }

    package var description: String {
        func count(_ number: Int, _ word: String) -> String { "\(number) \(word)\(number == 1 ? "" : "s")" }
        let tokens = pipelineCount == 1 ? "" : "\(pipelineCount) x "
        return isDisaggregated
            ? count(promptStageCount, "prompt stage") + " + " + tokens + count(stageCount, "token stage")
            : tokens + count(stageCount, "stage")
    }
}
