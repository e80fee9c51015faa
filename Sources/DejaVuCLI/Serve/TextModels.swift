import DejaVuCore
import DejaVuModel
import DejaVuServing
import Foundation

/// The text side of what is served.
enum TextModels {
    static func make(
        _ source: ModelSource, name: String?, kernels: KernelSet, contextLength: Int
    ) throws -> any TextModel {
        let created = Int(Date().timeIntervalSince1970)
        switch source {
        case .emulated(let profile):
            return EmulatedTextModel(profile, name: name, contextLength: contextLength, created: created)
        case .file(let file, _, let path):
            let stem = URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent
            return try GGUFTextModel(
                file: file, name: name ?? stem, numericClass: source.numericClass(kernels),
                contextLength: contextLength, isExact: ModelExactness.of(file, kernels).exact, created: created)
        }
    }
}
