import DejaVuCore
import DejaVuEngine
import DejaVuGGUF
import DejaVuModel
import Testing

/// Generation with the default model, where `DEJAVU_MODEL` names its file.
@Suite(.enabled(if: ModelUnderTest.path != nil, "DEJAVU_MODEL names no file"), .serialized)
struct SmolLM2Tests {
    /// "The capital of France is", and parts of it, as token ids.
    private let prompts: [[TokenID]] = [
        [504, 3575, 282, 4649, 314], [504], [504, 3575, 282],
        Array(repeating: [504, 3575, 282, 4649], count: 20).flatMap { $0 },
    ]
    /// What llama.cpp continues the first prompt with, on more than one instruction set.
    private let capital: [TokenID] = [7042, 30, 198, 198, 504]

    @Test(arguments: KernelSet.allCases)
    func generation_stagesChunksAndNeighbours_changeNothing(kernelSet: KernelSet) throws {
        let path = try #require(ModelUnderTest.path)
        let file = try GGUFFile(path: path)
        let single = try TestPipeline(file: file, cellCount: 1024, kernelSet: kernelSet)
        let alone = try prompts.map { try single.generate([$0], count: 24, chunk: 512)[0] }
        #expect(alone[0].prefix(capital.count) == capital[...])
        for stages in [1, 2, 3, 5] {
            let pipeline = try TestPipeline(file: file, stages: stages, cellCount: 1024, kernelSet: kernelSet)
            for chunk in [512, 7] {
                let together = try pipeline.generate(prompts, count: 24, chunk: chunk)
                #expect(together == alone, "\(stages) stages, chunks of \(chunk)")
            }
        }
    }

    /// Activations are rounded to 8 bits, which carries any other order of a sum a few percent far: as far as llama.cpp
    /// with flash attention is from llama.cpp without (0.04 for the first prompt, 0.07 for the third).
    @Test func logits_nativeKernels_areNearTheReference() throws {
        let file = try GGUFFile(path: try #require(ModelUnderTest.path))
        for prompt in prompts {
            let rows = try KernelSet.allCases.map { kernelSet in
                let pipeline = try TestPipeline(file: file, cellCount: 256, kernelSet: kernelSet)
                let record = SequenceRecord(
                    id: SequenceID(1), request: RequestID(1), choice: 0, prompt: prompt, sampling: .greedy,
                    outputCountMax: 1, stopTokens: [])
                try pipeline.open(record, cells: CellRun(start: 0, count: 256))
                let entry = PassEntry(sequence: record.id, first: 0, tokens: prompt, samples: true)
                return try #require(try pipeline.logits([entry]).first)
            }
            let distance = GoldenCase.distance(rows[1], rows[0])
            #expect(distance < 0.2, "a prompt of \(prompt.count)")
        }
    }
}
