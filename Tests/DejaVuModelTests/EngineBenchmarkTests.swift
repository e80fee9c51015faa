import DejaVuCore
import DejaVuGGUF
import DejaVuModel
import Testing

@Suite(.serialized)
struct EngineBenchmarkTests {
    @Test(arguments: KernelSet.allCases)
    func run_tinyModel_reportsEachMeasurement(kernelSet: KernelSet) throws {
        let results = try EngineBenchmark.run(
            file: GGUFFile(bytes: try RandomModel().bytes()), promptTokens: 20, decodeBatch: [1, 3], steps: 4,
            kernelSet: kernelSet, repetitions: 1)
        #expect(results.map(\.name) == ["prompt 20", "decode batch 1", "decode batch 3"])
        #expect(results.map(\.tokenCount) == [20, 4, 12])
        #expect(results.allSatisfy { $0.tokensPerSecond > 0 })
    }

    /// Prints speeds for people; asserts none.
    @Test(.enabled(if: ModelUnderTest.path != nil && ModelUnderTest.wantsBenchmark), arguments: KernelSet.allCases)
    func run_realModel_printsSpeeds(kernelSet: KernelSet) throws {
        let path = try #require(ModelUnderTest.path)
        let results = try EngineBenchmark.run(modelPath: path, kernelSet: kernelSet)
        for result in results { print(kernelSet.rawValue, result.name, result.tokensPerSecond) }
        #expect(results.count == 3)
    }
}
