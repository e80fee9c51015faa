package import DejaVuGGUF

/// For which models row invariance is promised, and with it equal text however requests are batched, cut and recovered.
///
/// It is promised of nothing that a test has not shown: `RowInvarianceTests` runs over the list that stands here.
package enum RowInvariance {
    /// The only backend that it was shown on.
    package static let backend = "CPU"

    /// The types of weights for whose products it was shown with a kernel set.
    package static func types(_ kernelSet: KernelSet) -> [TensorType] {
        switch kernelSet {
        // What the native kernels cannot pack goes through ggml's, so both are shown with every type.
        case .reference, .native:
            [
                .f32, .f16, .bf16, .q8_0, .q4_0, .q4_1, .q5_0, .q5_1, .q2_K, .q3_K, .q4_K, .q5_K, .q6_K, .iq4_nl,
                .iq4_xs, .iq3_xxs, .iq3_s, .iq2_s, .tq1_0, .tq2_0, .mxfp4, .nvfp4, .q1_0, .q2_0,
            ]
        }
    }

    /// The types of the file's matrices for whose products it was not shown, in the order of the format's numbers. The
    /// embeddings count only where they are the output, too: else rows of them are looked up, and nothing is summed.
    package static func unprovenTypes(of file: GGUFFile, _ kernelSet: KernelSet) -> [TensorType] {
        let proven = types(kernelSet)
        let isTied = file.tensor(DecoderDescription.outputName) == nil
        let matrices = file.tensors.filter {
            $0.dimensions.count > 1 && (isTied || $0.name != DecoderDescription.embeddingName)
        }
        return Set(matrices.map(\.type)).subtracting(proven).sorted { $0.rawValue < $1.rawValue }
    }

    package static func isPromised(for file: GGUFFile, _ kernelSet: KernelSet, backend: String) -> Bool {
        backend == Self.backend && unprovenTypes(of: file, kernelSet).isEmpty
    }
}
