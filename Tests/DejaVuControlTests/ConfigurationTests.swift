import DejaVuControl
import DejaVuCore
import Testing

@Test func configuration_valuesThatContradict_areRefusedByName() {
    func subject(_ change: (inout ControllerConfiguration) -> Void) -> String? {
        var configuration = ControllerConfiguration(
            model: ModelID(digest: "ab"), layerCount: 4, vocabularyCount: 100, stageCount: 2,
            limits: ControllerLimits(contextLength: 128))
        change(&configuration)
        do {
            try configuration.validate()
            return nil
        } catch { return error.subject }
    }
    #expect(subject { _ in } == nil)
    #expect(subject { $0.topology.stageCount = 5 } == "stageCount")
    #expect(subject { $0.topology.pipelineCount = 0 } == "pipelineCount")
    #expect(subject { $0.topology.promptStageCount = 5 } == "promptStageCount")
    #expect(subject { $0.probeToken = 100 } == "probeToken")
    #expect(subject { $0.limits.chunkRowsMax = $0.limits.passRowsMax + 1 } == "chunkRowsMax")
    #expect(subject { $0.limits.silenceMax = $0.limits.tickInterval } == "silenceMax")
    #expect(subject { $0.limits.queueTokensMax = 10 } == "queueTokensMax")
    #expect(subject { $0.limits.readyWindow = $0.limits.probeInterval } == "readyWindow")
}
