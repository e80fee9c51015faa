import DejaVuCore
import DejaVuEngine
import DejaVuGGML
import DejaVuGGUF
import DejaVuModel
import Foundation
import Testing

@Suite(.serialized)
struct GoldenLogitsTests {
    private func engineLogits(_ file: GGUFFile, _ prompt: [TokenID], _ kernels: KernelSet) throws -> [Float] {
        let pipeline = try TestPipeline(file: file, cellCount: 512, kernelSet: kernels)
        let record = SequenceRecord(
            id: SequenceID(1), request: RequestID(1), choice: 0, prompt: prompt, sampling: .greedy, outputCountMax: 1,
            stopTokens: [])
        try pipeline.open(record, cells: CellRun(start: 0, count: 512))
        let entry = PassEntry(sequence: record.id, first: 0, tokens: prompt, samples: true)
        return try #require(try pipeline.logits([entry]).first)
    }

    @Test(arguments: GoldenCase.all)
    func logits_referenceKernels_equalThoseOfLlamaCpp(golden: GoldenCase) throws {
        let file = try golden.file()
        let fixtures = try #require(try GoldenCase.fixtures()[golden.name])
        for (prompt, expected) in zip(GoldenCase.prompts, fixtures) {
            let distance = GoldenCase.distance(try engineLogits(file, prompt, .reference), expected)
            #expect(distance <= golden.tolerance, "a prompt of \(prompt.count)")
        }
    }

    /// The native kernels keep queries and attention weights in F32, where llama.cpp rounds them to F16. So they are
    /// farther from it, and nearer to what exact arithmetic gives. In the sharp model any such difference grows without
    /// bound; it is left out.
    @Test(arguments: GoldenCase.all.filter { $0.name != "q8_0" })
    func logits_nativeKernels_areNearThoseOfLlamaCpp(golden: GoldenCase) throws {
        let file = try golden.file()
        let fixtures = try #require(try GoldenCase.fixtures()[golden.name])
        for (prompt, expected) in zip(GoldenCase.prompts, fixtures) {
            let distance = GoldenCase.distance(try engineLogits(file, prompt, .native), expected)
            #expect(distance <= 5 * golden.tolerance, "a prompt of \(prompt.count)")
        }
    }

    /// The reference kernels round queries and attention weights to F16, which costs them the difference.
    @Test(
        arguments: GoldenCase.all.filter { $0.model.type == .f32 && $0.model.rotationScaling == nil },
        [(KernelSet.reference, Float(5e-4)), (.native, 1e-4)])
    func logits_plainFloats_equalThoseOfAReadableDecoder(
        golden: GoldenCase, kernels: (set: KernelSet, tolerance: Float)
    ) throws {
        let file = try golden.file()
        let prompt = GoldenCase.prompts[1]
        let expected = try ReferenceDecoder(file: file).logits(prompt)
        #expect(GoldenCase.distance(try engineLogits(file, prompt, kernels.set), expected) <= kernels.tolerance)
    }

    /// That the tolerances mean something: each mistake moves the logits at least a hundred times as far.
    @Test(arguments: GoldenCase.all.prefix(2))
    func mistakes_inAReadableDecoder_moveLogitsFarBeyondTheTolerance(golden: GoldenCase) throws {
        var model = golden.model
        model.type = .f32
        var decoder = try ReferenceDecoder(file: GGUFFile(bytes: try model.bytes()))
        let prompts = GoldenCase.prompts.prefix(2)
        let right = prompts.map { decoder.logits($0) }
        /// How far the prompt moves that shows it best: one that fails is enough for the golden test.
        func distance(_ prompts: [[TokenID]], _ mistakes: ReferenceDecoder.Mistakes) -> Float {
            decoder.mistakes = mistakes
            return zip(prompts, right).map { GoldenCase.distance(decoder.logits($0), $1) }.max() ?? 0
        }
        let swapped = prompts.map { Array($0.dropLast(2) + $0.suffix(2).reversed()) }
        let same = Array(prompts)
        let found: [(mistake: String, moved: Float)] = [
            ("base", distance(same, .init(rotationBaseFactor: 10))), ("mask", distance(same, .init(hasMask: false))),
            ("norm", distance(same, .init(hasNorm: false))), ("swapped", distance(swapped, .init())),
        ]
        for (mistake, moved) in found {
            #expect(moved >= 100 * golden.tolerance, "\(mistake) moves logits by \(moved)")
        }
    }

    /// Writes the models and prompts for `Tools/make-golden.py`.
    @Test(.enabled(if: ProcessInfo.processInfo.environment["DEJAVU_GOLDEN_DIRECTORY"] != nil))
    func models_onDemand_areWritten() throws {
        let directory = try #require(ProcessInfo.processInfo.environment["DEJAVU_GOLDEN_DIRECTORY"])
        for golden in GoldenCase.all {
            try Data(try golden.model.bytes()).write(to: URL(fileURLWithPath: "\(directory)/\(golden.name).gguf"))
        }
        let lines = GoldenCase.prompts.map { $0.map(String.init).joined(separator: " ") + "\n" }.joined()
        try Data(lines.utf8).write(to: URL(fileURLWithPath: "\(directory)/prompts.txt"))
    }
}
