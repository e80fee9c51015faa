import DejaVuCore
import DejaVuGGUF
import DejaVuModel

/// Whether a model's text is the same however its requests are batched, cut and recovered.
struct ModelExactness: Encodable {
    let backend: String
    let kernels: String
    let exact: Bool

    /// Row invariance is promised, and tested for every weight type, on the CPU with both kernel sets.
    static func of(_ file: GGUFFile, _ kernels: KernelSet) -> ModelExactness {
        ModelExactness(backend: "CPU", kernels: kernels.rawValue, exact: true)
    }

    static func all(of file: GGUFFile) -> [ModelExactness] { KernelSet.allCases.map { of(file, $0) } }
}
