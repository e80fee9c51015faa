import DejaVuCore
import DejaVuEngine
import Testing

private func profile(_ steps: [(Int, Double)]) -> EmulationProfile {
    var profile = EmulationProfile.instant
    profile.stepTimes = steps.map { EmulationProfile.StepTime(sequences: $0.0, seconds: $0.1) }
    return profile
}

@Test func profile_stepTimes_areJoinedByLines() {
    let measured = profile([(2, 0.010), (4, 0.014), (8, 0.030)])
    #expect(measured.stepSeconds(sequences: 0) == 0)
    #expect(abs(measured.stepSeconds(sequences: 1) - 0.005) < 1e-12)
    #expect(abs(measured.stepSeconds(sequences: 2) - 0.010) < 1e-12)
    #expect(abs(measured.stepSeconds(sequences: 3) - 0.012) < 1e-12)
    #expect(abs(measured.stepSeconds(sequences: 8) - 0.030) < 1e-12)
    #expect(abs(measured.stepSeconds(sequences: 10) - 0.038) < 1e-12)
    #expect(abs(profile([(4, 0.02)]).stepSeconds(sequences: 8) - 0.04) < 1e-12)
}

@Test func profile_passTime_isTheStagesShareOfPromptsAndSteps() {
    var measured = profile([(1, 0.020), (2, 0.024)])
    measured.passSeconds = 0.001
    measured.promptSecondsPerToken = 0.002
    measured.timeScale = 0.5
    func entry(_ id: UInt64, _ count: Int) -> PassEntry {
        PassEntry(sequence: SequenceID(id), first: 0, tokens: [TokenID](repeating: 1, count: count), samples: true)
    }
    let pass = Pass(
        id: PassID(1), pipeline: PipelineID(1), epoch: Epoch(1), entries: [entry(1, 1), entry(2, 100), entry(3, 1)])
    // (1 + 200 + 24) ms, a quarter of the layers, at half the time.
    #expect(measured.passTime(of: pass, layers: LayerRange(3, 6)) == .seconds(0.225 / 4 / 2))
}

@Test func profile_senselessValues_areNamed() {
    let wrong: [(String, (inout EmulationProfile) -> Void)] = [
        ("layerCount", { $0.layerCount = 0 }),
        ("vocabularyCount", { $0.vocabularyCount = -1 }),
        ("byteScale", { $0.byteScale = 0 }),
        ("timeScale", { $0.timeScale = .nan }),
        ("promptSecondsPerToken", { $0.promptSecondsPerToken = -1 }),
        ("stepTimes", { $0.stepTimes = [.init(sequences: 2, seconds: 1), .init(sequences: 2, seconds: 1)] }),
    ]
    for (subject, change) in wrong {
        var profile = EmulationProfile.instant
        change(&profile)
        #expect { try profile.validate() } throws: { ($0 as? DejaVuError)?.subject == subject }
    }
    #expect(throws: Never.self) { try EmulationProfile.instant.validate() }
}

@Test func profile_otherScale_isAnotherNumericClassOfTheSameModel() {
    var other = EmulationProfile.instant
    other.byteScale = 1
    #expect(other.model == EmulationProfile.instant.model)
    #expect(other.numericClass != EmulationProfile.instant.numericClass)
    #expect(other.scaledKVRowBytes == 4096)
    #expect(EmulationProfile.instant.scaledKVRowBytes == 64)
}

@Test func emulatedEngine_profileWithTimes_metersWhatItEmulated() throws {
    var slow = EmulationProfile.instant
    slow.stepTimes = [.init(sequences: 1, seconds: 0.004)]
    let meter = EmulationMeter()
    let engine = try EmulatedEngine(profile: slow, layers: LayerRange(0, 12), cellCount: 256, meter: meter)
    let record = SequenceRecord(
        id: SequenceID(1), request: RequestID(1), choice: 0, prompt: [1], sampling: .greedy, outputCountMax: 9,
        stopTokens: [])
    try engine.open(record, cells: CellRun(start: 0, count: 256))
    let pass = Pass(
        id: PassID(1), pipeline: PipelineID(1), epoch: Epoch(1),
        entries: [PassEntry(sequence: record.id, first: 0, tokens: [1], samples: true)])
    for _ in 0..<3 { _ = try engine.run(pass, hidden: nil) }
    #expect(meter.usage.passes == 3)
    #expect(meter.usage.emulated == .milliseconds(12))
    #expect(meter.usage.processor > .zero)
}
