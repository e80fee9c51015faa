import DejaVuCore
import Foundation
import Testing

private func profile(_ steps: [(Int, Double)]) -> ModelProfile {
    var profile = ModelProfile.instant
    profile.stepTimes = steps.map { ModelProfile.StepTime(sequences: $0.0, seconds: $0.1) }
    return profile
}

@Test func profile_stepTimes_areJoinedByLines() {
    let measured = profile([(2, 0.010), (4, 0.014), (8, 0.030)])
    #expect(measured.stepSeconds(sequences: 0, context: 1) == 0)
    #expect(abs(measured.stepSeconds(sequences: 1, context: 1) - 0.005) < 1e-12)
    #expect(abs(measured.stepSeconds(sequences: 2, context: 1) - 0.010) < 1e-12)
    #expect(abs(measured.stepSeconds(sequences: 3, context: 1) - 0.012) < 1e-12)
    #expect(abs(measured.stepSeconds(sequences: 8, context: 1) - 0.030) < 1e-12)
    #expect(abs(measured.stepSeconds(sequences: 10, context: 1) - 0.038) < 1e-12)
    #expect(abs(profile([(4, 0.02)]).stepSeconds(sequences: 8, context: 1) - 0.04) < 1e-12)
}

@Test func profile_passTime_isTheStagesShareOfPromptsAndSteps() {
    var measured = profile([(1, 0.020), (2, 0.024)])
    measured.passSeconds = 0.001
    measured.promptTimes = [.init(tokens: 1, seconds: 0.002)]
    measured.timeScale = 0.5
    func entry(_ id: UInt64, _ count: Int) -> PassEntry {
        PassEntry(sequence: SequenceID(id), first: 0, tokens: [TokenID](repeating: 1, count: count), samples: true)
    }
    let pass = Pass(
        id: PassID(1), pipeline: PipelineID(1), epoch: Epoch(1), entries: [entry(1, 1), entry(2, 100), entry(3, 1)])
    // 102 rows of 2 ms take longer than the step of 24 ms; a quarter of the layers, at half the time.
    #expect(measured.passTime(of: pass, layers: LayerRange(3, 6)) == .seconds(0.205 / 4 / 2))
}

@Test func profile_senselessValues_areNamed() {
    let wrong: [(String, (inout ModelProfile) -> Void)] = [
        ("layerCount", { $0.layerCount = 0 }),
        ("vocabularyCount", { $0.vocabularyCount = -1 }),
        ("byteScale", { $0.byteScale = 0 }),
        ("timeScale", { $0.timeScale = .nan }),
        ("promptTimes[0].seconds", { $0.promptTimes = [.init(tokens: 1, seconds: -1)] }),
        ("stepTimes[1]", { $0.stepTimes = [.init(sequences: 2, seconds: 1), .init(sequences: 2, seconds: 1)] }),
        ("stepTimes[0].sequences", { $0.stepTimes = [.init(sequences: 0, seconds: 1)] }),
        (
            "roofline",
            {
                $0.roofline = ModelProfile.opt66B.roofline; $0.stepTimes = [.init(sequences: 1, seconds: 1)]
            }
        ),
        (
            "roofline.byteEfficiency",
            {
                $0.roofline = ModelProfile.opt66B.roofline; $0.roofline?.byteEfficiency = 2
            }
        ),
        ("deviceMemoryBytes", { $0.deviceMemoryBytes = -1 }),
    ]
    for (subject, change) in wrong {
        var profile = ModelProfile.instant
        change(&profile)
        #expect { try profile.validate() } throws: { ($0 as? DejaVuError)?.subject == subject }
    }
    #expect(throws: Never.self) { try ModelProfile.instant.validate() }
}

@Test func profile_otherScale_isAnotherNumericClassOfTheSameModel() {
    var other = ModelProfile.instant
    other.byteScale = 1
    #expect(other.model == ModelProfile.instant.model)
    #expect(other.numericClass != ModelProfile.instant.numericClass)
    #expect(other.scaledKVRowBytes == 4096)
    #expect(ModelProfile.instant.scaledKVRowBytes == 64)
}

@Test func profile_stepTimesOfTwoContexts_areJoinedByLinesAndExtended() {
    var measured = ModelProfile.instant
    measured.stepTimes = [
        .init(context: 100, sequences: 1, seconds: 0.010), .init(context: 100, sequences: 4, seconds: 0.016),
        .init(context: 300, sequences: 1, seconds: 0.014), .init(context: 300, sequences: 4, seconds: 0.032),
    ]
    func step(_ sequences: Int, _ context: Double) -> Double {
        measured.stepSeconds(sequences: sequences, context: context)
    }
    #expect(abs(step(1, 50) - 0.010) < 1e-12)
    #expect(abs(step(1, 200) - 0.012) < 1e-12)
    #expect(abs(step(2, 200) - 0.016) < 1e-12)
    #expect(abs(step(4, 500) - 0.048) < 1e-12)
}

@Test func profile_promptsOfABatch_takeTheirShareOfTheMeasuredPass() {
    var measured = ModelProfile.instant
    measured.promptTimes = [
        .init(sequences: 1, tokens: 100, seconds: 0.1), .init(sequences: 1, tokens: 200, seconds: 0.3),
        .init(sequences: 4, tokens: 100, seconds: 0.2), .init(sequences: 4, tokens: 200, seconds: 0.6),
    ]
    func pass(_ chunks: [PassLoad.Chunk]) -> Double {
        measured.passSeconds(of: PassLoad(chunks: chunks), layerCount: measured.layerCount)
    }
    #expect(abs(pass([.init(first: 0, count: 150)]) - 0.2) < 1e-12)
    // A chunk takes what is left of the prompt up to its end.
    #expect(abs(pass([.init(first: 150, count: 50)]) - 0.1) < 1e-12)
    let whole = [PassLoad.Chunk](repeating: .init(first: 0, count: 150), count: 4)
    #expect(abs(pass(whole) - 0.4) < 1e-12)
    #expect(abs(pass(whole + whole) - 0.8) < 1e-12)
}

@Test func profile_rooflineOfAMixedPass_isTheLongerOfComputingAndReading() {
    var profile = ModelProfile.instant
    profile.weightBytesPerLayer = 1_000_000
    profile.roofline = ModelProfile.Roofline(
        operationsPerRowAndLayer: 1e6, attentionOperationsPerPositionAndLayer: 0, operationsPerSecond: 1e9,
        bytesPerSecond: 1e9, operationEfficiency: 0.5, byteEfficiency: 0.25, layerSeconds: 0.001)
    func layer(_ load: PassLoad) -> Double { profile.passSeconds(of: load, layerCount: 1) }
    let step = PassLoad(stepCount: 1, stepPositions: 0)
    #expect(abs(layer(step) - 0.005) < 1e-12)
    #expect(abs(layer(PassLoad(stepCount: 1, stepPositions: 1000)) - (0.005 + 4.096e6 / 0.25e9)) < 1e-12)
    // 9 rows more take 20 ms to compute, and the same reading is hidden behind it.
    let mixed = PassLoad(chunks: [.init(first: 0, count: 9)], stepCount: 1, stepPositions: 0)
    #expect(abs(layer(mixed) - 0.021) < 1e-12)
    #expect(layer(PassLoad()) == 0)
}

@Test(arguments: [(ModelProfile.opt13B, 14.0), (.opt66B, 28), (.bloom176B, 106)])
func profile_namedAfterThePaper_hasItsRatioOfPromptToStep(profile: ModelProfile, ratio: Double) throws {
    try profile.validate()
    let prompts = PassLoad(chunks: [PassLoad.Chunk](repeating: .init(first: 0, count: 1000), count: 8))
    let steps = PassLoad(stepCount: 8, stepPositions: 8000)
    func seconds(_ load: PassLoad) -> Double { profile.passSeconds(of: load, layerCount: profile.layerCount) }
    #expect(abs(seconds(prompts) / seconds(steps) - ratio) < ratio / 100)
    // Neither faster than the data sheets nor slower than anyone would put up with.
    let efficiency = try #require(profile.roofline).byteEfficiency
    #expect((0.1...0.9).contains(efficiency))
}

@Test(arguments: ModelProfile.named)
func profile_writtenAndRead_isTheSame(profile: ModelProfile) throws {
    var profile = profile
    profile.source.append("quotes \" and \\ and \u{1} and\nlines")
    if profile.roofline == nil {
        profile.stepTimes = [.init(context: 7, sequences: 2, seconds: 0.1)]
        profile.promptTimes = [.init(sequences: 3, tokens: 9, seconds: 1e-7)]
    }
    let read = try JSONDecoder().decode(ModelProfile.self, from: Data(profile.text.utf8))
    #expect(read == profile)
}

@Test(arguments: [
    ("name", #""name": "instant""#, #""name": 7"#),
    ("surprise", #""name": "instant""#, #""name": "instant", "surprise": 1"#),
    ("layerCount", #""layerCount": 12,"#, ""),
    ("layerCount", #""layerCount": 12,"#, #""layerCount": 1.5,"#),
    ("layerCount", #""layerCount": 12,"#, #""layerCount": 0,"#),
    ("format", "dejavu-profile-1", "dejavu-profile-2"),
    ("stepTimes[1].seconds", #""stepTimes": []"#, #""stepTimes": [{"sequences":1,"seconds":1},{"sequences":2}]"#),
    (
        "stepTimes[0].second", #""stepTimes": []"#,
        #""stepTimes": [{"sequences": 1, "seconds": 1, "second": 1}]"#
    ),
    ("roofline.operationsPerRowAndLayer", #""byteScale""#, #""roofline": {}, "byteScale""#),
    ("promptTimes", #""promptTimes": []"#, #""promptTimes": 5"#),
])
func profile_damagedFile_isRefusedByTheFieldsName(field: String, whole: String, damaged: String) throws {
    let text = ModelProfile.instant.text
    let wrong = text.replacingOccurrences(of: whole, with: damaged)
    try #require(wrong != text)
    #expect { try JSONDecoder().decode(ModelProfile.self, from: Data(wrong.utf8)) } throws: { error in
        (error as? DejaVuError)?.subject == field
    }
}
