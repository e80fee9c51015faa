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
}
