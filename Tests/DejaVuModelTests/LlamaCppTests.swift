import DejaVuCore
import DejaVuEngine
import DejaVuGGUF
import DejaVuModel
import Foundation
import Testing

/// The default model against llama.cpp built for the same instruction set, where `DEJAVU_ORACLE` names the program
/// made from `Tools/llama-oracle.c`. On another instruction set the last bits of sums differ, and so may the text.
@Suite(.enabled(if: ModelUnderTest.path != nil && oraclePath != nil, "DEJAVU_ORACLE names no program"), .serialized)
struct LlamaCppTests {
    private static let count = 200

    /// Five prompts of 5 to 1500 tokens: a sentence, and random tokens after it.
    private static let prompts: [[TokenID]] = {
        var random = SeededGenerator(seed: 23)
        return [5, 40, 200, 700, 1500].map { length in
            let sentence: [TokenID] = [504, 3575, 282, 4649, 314]
            return sentence + (5..<max(length, 5)).map { _ in TokenID(random.next(in: 300...20_000)) }
        }
    }()

    private static func askOracle() throws -> [[TokenID]] {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: oraclePath ?? "")
        process.arguments = [ModelUnderTest.path ?? "", "greedy", String(count)]
        let input = Pipe()
        let output = Pipe()
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        let lines = prompts.map { $0.map(String.init).joined(separator: " ") + "\n" }.joined()
        try input.fileHandleForWriting.write(contentsOf: Data(lines.utf8))
        try input.fileHandleForWriting.close()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return text.split(separator: "\n").map { $0.split(separator: " ").compactMap { TokenID($0) } }
    }

    @Test func generation_referenceKernels_equalsLlamaCppAloneAndTogetherInAnyStages() throws {
        let file = try GGUFFile(path: try #require(ModelUnderTest.path))
        let expected = try Self.askOracle()
        try #require(expected.map(\.count) == Self.prompts.map { _ in Self.count })
        let single = try TestPipeline(file: file, cellCount: 2048)
        for (prompt, wanted) in zip(Self.prompts, expected) {
            let alone = try single.generate([prompt], count: Self.count, chunk: 512)
            #expect(alone == [wanted], "a prompt of \(prompt.count), alone")
        }
        for stages in [1, 2, 3, 5] {
            let pipeline = try TestPipeline(file: file, stages: stages, cellCount: 5120)
            let together = try pipeline.generate(Self.prompts, count: Self.count, chunk: 128)
            #expect(together == expected, "\(stages) stages, together")
        }
        // The native kernels round elsewhere, so they may choose another token where two are nearly equal.
        let native = try TestPipeline(file: file, cellCount: 5120, kernelSet: .native)
        let found = try native.generate(Self.prompts, count: Self.count, chunk: 512)
        let shared = zip(found, expected).map { pair in zip(pair.0, pair.1).prefix { $0 == $1 }.count }
        print("native kernels agree with llama.cpp for", shared, "tokens of", Self.count)
    }
}

private let oraclePath = ProcessInfo.processInfo.environment["DEJAVU_ORACLE"]
