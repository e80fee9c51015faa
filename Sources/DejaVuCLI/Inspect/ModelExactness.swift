import DejaVuGGUF
import DejaVuModel

/// Whether a model's text is the same however its requests are batched, cut and recovered.
struct ModelExactness: Encodable {
    let backend: String
    let kernels: String
    let exact: Bool
    /// The weight types of the model for whose products nobody has shown it.
    let unprovenTypes: [String]

    static func of(_ file: GGUFFile, _ kernels: KernelSet, backend: String = "CPU") -> ModelExactness {
        ModelExactness(
            backend: backend, kernels: kernels.rawValue,
            exact: RowInvariance.isPromised(for: file, kernels, backend: backend),
            unprovenTypes: RowInvariance.unprovenTypes(of: file, kernels).map(\.name))
    }

    static func all(of file: GGUFFile) -> [ModelExactness] { KernelSet.allCases.map { of(file, $0) } }

    var description: String {
        let text = "\(exact) with \(kernels) kernels on \(backend)"
        return unprovenTypes.isEmpty ? text : text + ", not shown for \(unprovenTypes.joined(separator: ", "))"
    }
}
