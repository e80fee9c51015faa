import DejaVuCore
import DejaVuGGML
import DejaVuGGUF
import DejaVuModel
import Foundation
import Testing

/// A random model and prompts whose logits llama.cpp has computed once; see `Tools/make-golden.py`.
struct GoldenCase: Sendable, CustomTestStringConvertible {
    let name: String
    let model: RandomModel
    var testDescription: String { name }

    /// Relative to the largest logit.
    var tolerance: Float { model.type == .f32 ? 1e-4 : 1e-2 }

    /// The same for every model: short, medium, and over the borders of 64 and of a run of cells.
    static let prompts: [[TokenID]] = {
        var random = SeededGenerator(seed: 11)
        return [3, 40, 300].map { count in (0..<count).map { _ in TokenID(random.next(below: 259)) } }
    }()

    static let all: [GoldenCase] = [
        make("f32") { _ in },
        make("q8_0") {
            $0.type = .q80
            $0.sharpness = 3
            $0.layerCount = 5
        },
        make("q8_0-mild") { $0.type = .q80 },
        make("f32-tied-biases") {
            $0.tiesOutput = true
            $0.hasBiases = true
        },
        make("f32-linear") { $0.rotationScaling = ("linear", 4) },
        make("f32-yarn") { $0.rotationScaling = ("yarn", 4) },
        make("f32-factors") { $0.hasRotationFactors = true },
    ]

    private static func make(_ name: String, _ change: (inout RandomModel) -> Void) -> GoldenCase {
        var model = RandomModel()
        change(&model)
        return GoldenCase(name: name, model: model)
    }

    func file() throws -> GGUFFile { try GGUFFile(bytes: try model.bytes()) }

    /// llama.cpp's logits after each prompt, by case.
    static func fixtures() throws -> [String: [[Float]]] {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Fixtures/golden-logits.json")
        return try JSONDecoder().decode([String: [[Float]]].self, from: Data(contentsOf: path))
    }

    /// The greatest difference, relative to the largest logit; what is not finite is infinitely far.
    static func distance(_ a: [Float], _ b: [Float]) -> Float {
        let largest = b.map { abs($0) }.max() ?? 1
        guard a.allSatisfy(\.isFinite) else { return .infinity }
        return (zip(a, b).map { abs($0 - $1) }.max() ?? .infinity) / largest
    }
}
