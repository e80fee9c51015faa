import DejaVuGGML

/// Which code multiplies matrices and attends.
package enum KernelSet: String, Hashable, Sendable, CaseIterable, Codable {
    /// ggml's own products, in shapes for which their rows do not depend on each other.
    case reference
    /// Our own kernels, over weights that are packed when the stage is loaded.
    case native

    /// Raised whenever the bits of a result change.
    package var version: Int { self == .native ? PackedMatrix.kernelVersion << 8 | 1 : 1 }
}
