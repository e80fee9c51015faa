package import DejaVuCore

/// What a controller is to run, and within which limits.
package struct ControllerConfiguration: Hashable, Codable, Sendable {
    package var model: ModelID
    package var layerCount: Int
    /// What the logits cost, in layers: where steps run the last stage gets so much fewer.
    package var outputCost = 0.0
    /// Tokens are `0 ..< vocabularyCount`; a worker that samples another one is at fault.
    package var vocabularyCount: Int
    /// nil takes that of the first worker.
    package var numericClass: NumericClass?
    package var topology: PipelineTopology
    /// A prompt or a replay of more positions than this goes through a prompt pipeline, if there is one; a shorter one
    /// costs a token pipeline less than the way of its rows costs everybody. The default is one chunk: what steps would
    /// wait for once at most.
    package var disaggregateAbove = 256
    /// The same with room for a step, which is one row and stays where its tokens are made.
    var shortRowsMax: Int { max(1, disaggregateAbove) }
    package var batching = Batching.continuous
    package var swapping = Swapping.auto
    /// Whether standbys hold replicas of the stages.
    package var replicates = true
    /// The prompt of a probe: any token of the vocabulary.
    package var probeToken: TokenID = 0
    package var limits: ControllerLimits

    package init(
        model: ModelID, layerCount: Int, vocabularyCount: Int, numericClass: NumericClass? = nil,
        topology: PipelineTopology,
        limits: ControllerLimits
    ) {
        self.model = model
        self.layerCount = layerCount
        self.vocabularyCount = vocabularyCount
        self.numericClass = numericClass
        self.topology = topology
        self.limits = limits
    }

    /// Pipelines that run their own prompts.
    package init(
        model: ModelID, layerCount: Int, vocabularyCount: Int, numericClass: NumericClass? = nil, stageCount: Int,
        pipelineCount: Int = 1, limits: ControllerLimits
    ) {
        self.init(
            model: model, layerCount: layerCount, vocabularyCount: vocabularyCount, numericClass: numericClass,
            topology: PipelineTopology(stageCount: stageCount, pipelineCount: pipelineCount), limits: limits)
    }

    /// How a pipeline's layers are cut. Of a prompt only the last row has logits.
    package func layers(of role: PipelineRole, stages: Int) -> [LayerRange] {
        LayerRange.balanced(layers: layerCount, stages: stages, outputCost: role.isHome ? outputCost : 0)
    }

    /// Checks every value and the relations between them.
    ///
    /// - Throws: `.invalidArgument` with the name of the first value that is wrong.
    package func validate() throws(DejaVuError) {
        func require(_ condition: Bool, _ subject: String, _ message: String) throws(DejaVuError) {
            guard condition else { throw DejaVuError(.invalidArgument, message, subject: subject) }
        }
        try require(layerCount >= 1, "layerCount", "a model has at least one layer")
        try require(outputCost >= 0 && outputCost.isFinite, "outputCost", "logits cost something or nothing")
        try require(vocabularyCount >= 1, "vocabularyCount", "a vocabulary has at least one token")
        try require(
            (1...layerCount).contains(topology.stageCount), "stageCount",
            "\(layerCount) layers can be cut into 1 to \(layerCount) stages, not \(topology.stageCount)")
        try require(
            (0...layerCount).contains(topology.promptStageCount), "promptStageCount",
            "\(layerCount) layers can be cut into 1 to \(layerCount) prompt stages, not \(topology.promptStageCount)")
        try require(
            (1...64).contains(topology.pipelineCount), "pipelineCount",
            "1 to 64 pipelines are possible, not \(topology.pipelineCount)")
        try require(disaggregateAbove >= 0, "disaggregateAbove", "a prompt has no fewer than 0 tokens")
        try require(
            probeToken >= 0 && Int(probeToken) < vocabularyCount, "probeToken", "the probe's token must exist")
        if case .paper(let sequences) = batching {
            try require(
                (1...65536).contains(sequences), "batching", "a microbatch has 1 to 65536 sequences, not \(sequences)")
        }
        try limits.validate()
    }
}
