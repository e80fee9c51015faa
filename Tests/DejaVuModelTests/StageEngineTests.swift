import DejaVuCore
import DejaVuEngine
import DejaVuGGML
import DejaVuGGUF
import DejaVuModel
import Testing

/// What the engine accepts, refuses and keeps.
@Suite(.serialized)
struct StageEngineTests {
    private func pipeline(stages: Int = 1, cellCount: Int = 512) throws -> TestPipeline {
        try TestPipeline(file: GGUFFile(bytes: try RandomModel().bytes()), stages: stages, cellCount: cellCount)
    }

    private func record(_ id: UInt64, _ prompt: [TokenID], _ sampling: SamplingParameters = .greedy) -> SequenceRecord {
        SequenceRecord(
            id: SequenceID(id), request: RequestID(1), choice: 0, prompt: prompt, sampling: sampling,
            outputCountMax: 8, stopTokens: [])
    }

    private func entry(_ id: UInt64, _ first: Int, _ tokens: [TokenID], samples: Bool = true) -> PassEntry {
        PassEntry(sequence: SequenceID(id), first: first, tokens: tokens, samples: samples)
    }

    @Test func run_belowTheWatermark_leavesCommittedRowsAndGivesTheSameToken() throws {
        let pipeline = try pipeline()
        let engine = pipeline.engines[0]
        try pipeline.open(record(1, [1, 2, 3, 4]), cells: CellRun(start: 256, count: 256))
        let first = try pipeline.run([entry(1, 0, [1, 2, 3, 4])])
        let before = engine.keyValueRows(of: SequenceID(1), layer: 1, positions: 0..<4)
        // Other tokens would write other rows, were they written.
        _ = try pipeline.run([entry(1, 1, [9, 9], samples: false)])
        let after = engine.keyValueRows(of: SequenceID(1), layer: 1, positions: 0..<4)
        #expect(before.keys == after.keys && before.values == after.values)
        #expect(engine.watermark(of: SequenceID(1)) == 4)
        let again = try pipeline.run([entry(1, 2, [3, 4])])
        #expect(again == first)
    }

    /// One and two stages, passes cut at odd places, single rows that ggml gets in pairs.
    @Test(arguments: [(ElementType.f32, KernelSet.reference), (.q41, .reference), (.q41, .native)])
    func checksRewrites_replays_countNone(_ type: ElementType, _ kernelSet: KernelSet) throws {
        var model = RandomModel()
        model.type = type
        let file = try GGUFFile(bytes: try model.bytes())
        let prompt = (0..<70).map { TokenID($0 % 250) }
        for ranges in [[LayerRange(0, 3)], [LayerRange(0, 2), LayerRange(2, 3)]] {
            let checked = TestPipeline(
                engines: try ranges.map { try checkedEngine(file, layers: $0, kernelSet: kernelSet, rowCountMax: 33) })
            try checked.open(record(1, prompt), cells: CellRun(start: 256, count: 256))
            try checked.open(record(2, prompt.reversed()), cells: CellRun(start: 0, count: 256))
            let first = try checked.run([entry(1, 0, prompt)])
            // A replay beside another's prompt, one of a single row, and one that goes on past the watermark.
            _ = try checked.run([entry(2, 0, prompt.reversed()), entry(1, 0, Array(prompt[..<69]), samples: false)])
            #expect(try checked.run([entry(1, 69, [prompt[69]])]) == first)
            _ = try checked.run([entry(1, 60, prompt[60...] + [7, 8])])
            #expect(checked.engines.allSatisfy { $0.rewriteMismatchCount == 0 })
            #expect(checked.engines.allSatisfy { $0.watermark(of: SequenceID(1)) == 72 })
        }
    }

    @Test func checksRewrites_otherRowsThanTheCommitted_countsThemInEachLayer() throws {
        let notices = Counter()
        let engine = try checkedEngine(
            GGUFFile(bytes: try RandomModel().bytes()), layers: LayerRange(0, 3), notice: { _ in notices.add(1) })
        let pipeline = TestPipeline(engines: [engine])
        try pipeline.open(record(1, [1, 2, 3, 4]), cells: CellRun(start: 256, count: 256))
        _ = try pipeline.run([entry(1, 0, [1, 2, 3, 4])])
        #expect(engine.rewriteMismatchCount == 0)
        _ = try pipeline.run([entry(1, 1, [9, 9], samples: false)])
        #expect(engine.rewriteMismatchCount == 2 * 3)
        _ = try pipeline.run([entry(1, 3, [9], samples: false)])
        #expect(engine.rewriteMismatchCount == 3 * 3)
        #expect(notices.count == 1)
    }

    private func checkedEngine(
        _ file: GGUFFile, layers: LayerRange, kernelSet: KernelSet = .reference, rowCountMax: Int = 512,
        notice: @escaping @Sendable (StageNotice) -> Void = { _ in }
    ) throws -> GGMLStageEngine {
        var options = StageEngineOptions(layers: layers, cellCount: 512)
        options.kernelSet = kernelSet
        options.rowCountMax = rowCountMax
        options.checksRewrites = true
        options.notice = notice
        return try GGMLStageEngine(file: file, options: options)
    }

    @Test func run_reusedCells_doNotRememberTheSequenceBefore() throws {
        let pipeline = try pipeline(stages: 3)
        let fresh = try pipeline.generate([[5, 6, 7]], count: 8, chunk: 512)
        _ = try pipeline.generate([Array(repeating: 200, count: 240)], count: 8, chunk: 512)
        #expect(try pipeline.generate([[5, 6, 7]], count: 8, chunk: 512) == fresh)
    }

    @Test func run_moreRowsThanAGraphTakes_isTheSameInParts() throws {
        let file = try GGUFFile(bytes: try RandomModel().bytes())
        let prompt = (0..<200).map { TokenID($0 % 250) }
        let whole = try TestPipeline(file: file, cellCount: 512)
        let parts = try TestPipeline(file: file, stages: 2, cellCount: 512, rowCountMax: 33)
        #expect(
            try whole.generate([prompt, [1]], count: 6, chunk: 512)
                == parts.generate([prompt, [1]], count: 6, chunk: 512))
    }

    @Test func run_withoutSamples_returnsNoTokensAndCommits() throws {
        let pipeline = try pipeline()
        try pipeline.open(record(1, [1, 2, 3]), cells: CellRun(start: 0, count: 256))
        #expect(try pipeline.run([entry(1, 0, [1, 2], samples: false)]).isEmpty)
        #expect(pipeline.engines[0].watermark(of: SequenceID(1)) == 2)
        pipeline.release(SequenceID(1))
        pipeline.release(SequenceID(7))
        #expect(pipeline.engines[0].watermark(of: SequenceID(1)) == 0)
    }

    @Test func run_badPass_isRefusedAndWritesNothing() throws {
        let pipeline = try pipeline()
        try pipeline.open(record(1, [1, 2, 3]), cells: CellRun(start: 0, count: 256))
        try pipeline.open(record(2, [1, 2, 3]), cells: CellRun(start: 256, count: 256))
        let bad: [[PassEntry]] = [
            [], [entry(3, 0, [1])], [entry(1, 1, [1])], [entry(1, -1, [1])], [entry(1, 0, [])],
            [entry(1, 0, [1]), entry(1, 0, [1])], [entry(1, 0, Array(repeating: 1, count: 257))],
            [entry(2, 0, [1]), entry(1, 0, [320])], [entry(1, 0, [-1])], [entry(1, .max, [1])],
        ]
        for entries in bad {
            #expect { try pipeline.run(entries) } throws: { ($0 as? DejaVuError)?.code == .invalidArgument }
        }
        let pass = pipeline.pass([entry(1, 0, [1])])
        #expect(throws: DejaVuError.self) { try pipeline.engines[0].run(pass, hidden: [0]) }
        #expect(pipeline.engines[0].watermark(of: SequenceID(2)) == 0)
    }

    @Test func run_laterStageWithoutHiddenRows_isRefused() throws {
        let pipeline = try pipeline(stages: 2)
        try pipeline.open(record(1, [1, 2, 3]), cells: CellRun(start: 0, count: 256))
        for hidden in [nil, [], [UInt8](repeating: 0, count: 1023)] as [[UInt8]?] {
            let pass = pipeline.pass([entry(1, 0, [1])])
            #expect(throws: DejaVuError.self) { try pipeline.engines[1].run(pass, hidden: hidden) }
        }
    }

    @Test func run_hiddenRowsThatAreNotFinite_failBeforeATokenIsMade() throws {
        let pipeline = try pipeline(stages: 2)
        try pipeline.open(record(1, [1, 2, 3]), cells: CellRun(start: 0, count: 256))
        let pass = pipeline.pass([entry(1, 0, [1])])
        #expect {
            try pipeline.engines[1].run(pass, hidden: [UInt8](repeating: 0xFF, count: 1024))
        } throws: {
            ($0 as? DejaVuError)?.code == .internalError
        }
        #expect(pipeline.engines[1].watermark(of: SequenceID(1)) == 0)
    }

    @Test func open_badRunTokensOrParameters_isRefused() throws {
        let pipeline = try pipeline()
        let engine = pipeline.engines[0]
        try engine.open(record(1, [1]), cells: CellRun(start: 256, count: 256))
        var hot = SamplingParameters()
        hot.temperature = -1
        let bad: [(SequenceRecord, CellRun)] = [
            (record(1, [1]), CellRun(start: 0, count: 256)), (record(2, [1]), CellRun(start: 256, count: 256)),
            (record(2, [1]), CellRun(start: 0, count: 512)), (record(2, [1]), CellRun(start: 0, count: 100)),
            (record(2, [1]), CellRun(start: 512, count: 256)), (record(2, [1]), CellRun(start: -256, count: 256)),
            (record(2, [320]), CellRun(start: 0, count: 256)), (record(2, [1], hot), CellRun(start: 0, count: 256)),
        ]
        for (record, cells) in bad {
            #expect { try engine.open(record, cells: cells) } throws: {
                ($0 as? DejaVuError)?.code == .invalidArgument
            }
        }
    }

    @Test func engine_badOptions_areRefused() throws {
        let file = try GGUFFile(bytes: try RandomModel().bytes())
        let changes: [(inout StageEngineOptions) -> Void] = [
            { $0.layers = LayerRange(0, 4) }, { $0.layers = LayerRange(1, 1) }, { $0.cellCount = 100 },
            { $0.cellCount = 0 }, { $0.threadCount = 0 }, { $0.rowCountMax = 1 }, { $0.backend = "none" },
        ]
        for change in changes {
            var options = StageEngineOptions(layers: LayerRange(0, 3), cellCount: 256)
            change(&options)
            #expect(throws: DejaVuError.self) { try GGMLStageEngine(file: file, options: options) }
        }
    }

    @Test func engine_fileOfSmallAlignment_computesTheSame() throws {
        // The seed stands in the metadata, so more digits move the tensors, until one lies where ggml does not want it.
        var model = RandomModel()
        model.alignment = 8
        var file = try GGUFFile(bytes: try model.bytes())
        while !file.tensors.contains(where: { $0.offset % 32 != 0 }) {
            model.seed = try #require(model.seed.multipliedReportingOverflow(by: 10).overflow ? nil : model.seed * 10)
            file = try GGUFFile(bytes: try model.bytes())
        }
        model.alignment = 32
        let usual = try TestPipeline(file: GGUFFile(bytes: try model.bytes()), cellCount: 512)
        let small = try TestPipeline(file: file, cellCount: 512)
        let prompt = (0..<40).map { TokenID($0 * 5) }
        #expect(
            try usual.generate([prompt], count: 8, chunk: 512) == small.generate([prompt], count: 8, chunk: 512))
    }

    @Test func progress_eachLayer_isReported() throws {
        let counter = Counter()
        var options = StageEngineOptions(layers: LayerRange(0, 2), cellCount: 256)
        options.progress = { counter.add(1) }
        let engine = try GGMLStageEngine(file: GGUFFile(bytes: try RandomModel().bytes()), options: options)
        let pipeline = TestPipeline(engines: [engine])
        try pipeline.open(record(1, [1, 2]), cells: CellRun(start: 0, count: 256))
        _ = try pipeline.run([entry(1, 0, [1, 2])])
        #expect(counter.count == 2)
    }

    @Test func numericClass_modelKernelsAndContext_decideIt() throws {
        func engine(_ kernels: KernelSet, _ change: (inout RandomModel) -> Void = { _ in }) throws -> NumericClass {
            var model = RandomModel()
            change(&model)
            var options = StageEngineOptions(layers: LayerRange(0, 1), cellCount: 256)
            options.kernelSet = kernels
            return try GGMLStageEngine(file: GGUFFile(bytes: try model.bytes()), options: options).stage.numericClass
        }
        let base = try engine(.reference)
        #expect(try engine(.reference) == base)
        #expect(try engine(.native) != base)
        #expect(try engine(.reference) { $0.seed = 2 } != base)
        #expect(try engine(.reference) { $0.contextLength = 4096 } != base)
    }
}
