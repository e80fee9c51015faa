import DejaVuCore
import DejaVuEngine
import Testing

/// A pipeline of emulated stages on one thread, driven by hand.
private final class Pipeline {
    let stages: [EmulatedEngine]
    let meter = EmulationMeter()
    private var passes: UInt64 = 0

    init(_ profile: ModelProfile = .instant, stageCount: Int, cellCount: Int = 2048) throws {
        let meter = self.meter
        stages = try LayerRange.even(layers: profile.layerCount, stages: stageCount).map {
            try EmulatedEngine(profile: profile, layers: $0, cellCount: cellCount, meter: meter)
        }
    }

    func open(_ record: SequenceRecord, at start: Int, count: Int = 512) throws {
        for stage in stages { try stage.open(record, cells: CellRun(start: start, count: count)) }
    }

    func run(_ entries: [PassEntry]) throws -> [SampledToken] {
        passes += 1
        let pass = Pass(id: PassID(passes), pipeline: PipelineID(1), epoch: Epoch(1), entries: entries)
        var hidden: [UInt8]?
        for stage in stages {
            switch try stage.run(pass, hidden: hidden) {
            case .hidden(let rows): hidden = rows
            case .sampled(let tokens): return tokens
            }
        }
        Issue.record("the last stage did not sample")
        return []
    }
}

private func record(_ id: UInt64, prompt: [TokenID], sampling: SamplingParameters = .greedy) -> SequenceRecord {
    SequenceRecord(
        id: SequenceID(id), request: RequestID(id), choice: 0, prompt: prompt, sampling: sampling, outputCountMax: 200,
        stopTokens: [])
}

private func randomPrompt(_ generator: inout SeededGenerator, length: Int) -> [TokenID] {
    (0..<length).map { _ in TokenID(generator.next(below: ModelProfile.instant.vocabularyCount)) }
}

private func reference(_ record: SequenceRecord, count: Int) -> [TokenID] {
    EmulatedChain.continuation(
        of: record.prompt, count: count, layerCount: ModelProfile.instant.layerCount,
        vocabularyCount: ModelProfile.instant.vocabularyCount, sampling: record.sampling)
}

@Test(arguments: 1...4)
func emulatedEngine_randomChunksAndNeighbours_textEqualsReference(stageCount: Int) throws {
    var generator = SeededGenerator(seed: UInt64(stageCount))
    let pipeline = try Pipeline(stageCount: stageCount)
    var records: [SequenceRecord] = []
    for id in 0..<4 {
        var sampling = SamplingParameters()
        sampling.seed = UInt64(id)
        sampling.temperature = id % 2 == 0 ? 0 : 1
        let prompt = randomPrompt(&generator, length: generator.next(in: 1...120))
        records.append(record(UInt64(id), prompt: prompt, sampling: sampling))
        try pipeline.open(records[id], at: id * 512)
    }
    while let shortest = records.map(\.outputs.count).min(), shortest < 30 {
        var entries: [PassEntry] = []
        for sequence in records where generator.chance(0.7) {
            let held = pipeline.stages.map { $0.watermark(of: sequence.id) }.min() ?? 0
            let work = min(held, sequence.knownCount - 1)
            // Sometimes runs again what is committed: the rows must not change.
            let first = generator.chance(0.2) ? generator.next(in: 0...work) : work
            let end = min(first + generator.next(in: 1...40), sequence.knownCount)
            entries.append(
                PassEntry(
                    sequence: sequence.id, first: first, tokens: sequence.tokens(in: first..<end),
                    samples: end == sequence.knownCount))
        }
        guard !entries.isEmpty else { continue }
        for token in try pipeline.run(entries) {
            let index = Int(token.sequence.rawValue)
            #expect(token.position == records[index].knownCount)
            records[index].outputs.append(token.token)
        }
    }
    for sequence in records {
        #expect(sequence.outputs == reference(sequence, count: sequence.outputs.count))
    }
    #expect(pipeline.meter.usage.rewriteMismatches == 0)
    #expect(pipeline.meter.usage.passes > 0)
}

@Test func emulatedEngine_rowsOfAnotherSequenceLeftInCells_doNotReachTheText() throws {
    var generator = SeededGenerator(seed: 9)
    let pipeline = try Pipeline(stageCount: 2, cellCount: 256)
    for id in 1...3 {
        var sequence = record(UInt64(id), prompt: randomPrompt(&generator, length: 90))
        try pipeline.open(sequence, at: 0, count: 256)
        for _ in 0..<10 {
            let first = sequence.outputs.isEmpty ? 0 : sequence.knownCount - 1
            let entry = PassEntry(
                sequence: sequence.id, first: first, tokens: sequence.tokens(in: first..<sequence.knownCount),
                samples: true)
            sequence.outputs += try pipeline.run([entry]).map(\.token)
        }
        #expect(sequence.outputs == reference(sequence, count: 10))
        for stage in pipeline.stages { stage.release(sequence.id) }
    }
}

@Test func emulatedEngine_otherPastTokenRunAgain_isCountedAndIgnored() throws {
    let pipeline = try Pipeline(stageCount: 1)
    let sequence = record(1, prompt: [1, 2, 3, 4])
    try pipeline.open(sequence, at: 0)
    let entry = PassEntry(sequence: sequence.id, first: 0, tokens: [1, 2, 3, 4], samples: true)
    let first = try pipeline.run([entry])
    let wrong = PassEntry(sequence: sequence.id, first: 1, tokens: [9], samples: false)
    #expect(try pipeline.run([wrong]).isEmpty)
    #expect(pipeline.meter.usage.rewriteMismatches > 0)
    #expect(!pipeline.meter.usage.isValid)
    #expect(try pipeline.run([entry]) == first)
}

@Test func emulatedEngine_damagedHiddenRow_changesTheText() throws {
    let stages = try LayerRange.even(layers: 12, stages: 2).map {
        try EmulatedEngine(profile: .instant, layers: $0, cellCount: 512)
    }
    let sequence = record(1, prompt: [5, 6, 7])
    for stage in stages { try stage.open(sequence, cells: CellRun(start: 0, count: 256)) }
    let pass = Pass(
        id: PassID(1), pipeline: PipelineID(1), epoch: Epoch(1),
        entries: [PassEntry(sequence: sequence.id, first: 0, tokens: [5, 6, 7], samples: true)])
    guard case .hidden(var rows) = try stages[0].run(pass, hidden: nil) else {
        Issue.record("the first stage sampled")
        return
    }
    rows[rows.count - 1] ^= 1
    guard case .sampled(let tokens) = try stages[1].run(pass, hidden: rows) else {
        Issue.record("the last stage did not sample")
        return
    }
    #expect(tokens.map(\.token) != reference(sequence, count: 1))
}

@Test func emulatedEngine_wrongPasses_throwAndWriteNothing() throws {
    let engine = try EmulatedEngine(profile: .instant, layers: LayerRange(0, 12), cellCount: 512)
    try engine.open(record(1, prompt: [1, 2, 3]), cells: CellRun(start: 256, count: 256))
    func expectRefused(_ entry: PassEntry, hidden: [UInt8]? = nil) {
        let pass = Pass(id: PassID(1), pipeline: PipelineID(1), epoch: Epoch(1), entries: [entry])
        #expect(throws: DejaVuError.self) { try engine.run(pass, hidden: hidden) }
        #expect(engine.watermark(of: SequenceID(1)) == 0)
    }
    expectRefused(PassEntry(sequence: SequenceID(2), first: 0, tokens: [1], samples: false))
    expectRefused(PassEntry(sequence: SequenceID(1), first: 1, tokens: [2], samples: false))
    expectRefused(PassEntry(sequence: SequenceID(1), first: 0, tokens: [-1], samples: false))
    expectRefused(PassEntry(sequence: SequenceID(1), first: 0, tokens: [1000], samples: false))
    expectRefused(
        PassEntry(sequence: SequenceID(1), first: 0, tokens: [TokenID](repeating: 1, count: 257), samples: false))
    expectRefused(PassEntry(sequence: SequenceID(1), first: 0, tokens: [1], samples: false), hidden: [0])
    #expect(throws: DejaVuError.self) {
        try engine.open(record(2, prompt: [1]), cells: CellRun(start: 256, count: 256))
    }
    #expect(throws: DejaVuError.self) {
        try engine.open(record(3, prompt: [1]), cells: CellRun(start: 512, count: 256))
    }
    engine.release(SequenceID(1))
    engine.release(SequenceID(77))
    try engine.open(record(2, prompt: [1]), cells: CellRun(start: 256, count: 256))
}

@Test func emulatedEngine_logprobsAskedFor_comesWithThem() throws {
    let pipeline = try Pipeline(stageCount: 1)
    var sampling = SamplingParameters.greedy
    sampling.topLogprobs = 3
    let sequence = record(1, prompt: [1], sampling: sampling)
    try pipeline.open(sequence, at: 0)
    let tokens = try pipeline.run([PassEntry(sequence: sequence.id, first: 0, tokens: [1], samples: true)])
    #expect(tokens.first?.alternatives.count == 3)
    #expect(tokens.first?.alternatives.first?.token == tokens.first?.token)
    #expect((tokens.first?.logprob ?? 1) < 0)
}

@Test func emulatedEngine_profileWithTimes_metersWhatItEmulated() throws {
    var slow = ModelProfile.instant
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
