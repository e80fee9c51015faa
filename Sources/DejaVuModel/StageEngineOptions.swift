package import DejaVuCore

/// How a stage is to be run.
package struct StageEngineOptions: Sendable {
    package var layers: LayerRange
    /// Cells per layer; a multiple of `CellRun.granularity`.
    package var cellCount: Int
    /// A backend of ggml by name. Row invariance is promised on `CPU`.
    package var backend = "CPU"
    /// Compute threads, the calling one among them; never more than cores, since they spin.
    package var threadCount = 1
    package var kernelSet = KernelSet.reference
    /// Longer passes are computed in parts of this many rows, which bounds the memory to compute in.
    package var rowCountMax = 512
    /// Compare K and V that a pass computes for committed positions with those that are there. Costs memory for
    /// `rowCountMax` cells more, and time for passes that start below a watermark.
    package var checksRewrites = false
    /// Graphs that are kept for the next pass of their shape.
    package var graphCountMax = 32
    /// The directory in which all workers of the machine share the weights that the native kernels have packed; nil
    /// packs into this engine's own memory.
    package var weightCache: String?
    /// Called on a compute thread each time that a layer's weights are there or its attention begins: a sign of
    /// progress. Must be quick.
    package var progress: @Sendable () -> Void = {}
    /// Takes what whoever runs the engine should know.
    package var notice: @Sendable (StageNotice) -> Void = { _ in }

    package init(layers: LayerRange, cellCount: Int) {
        self.layers = layers
        self.cellCount = cellCount
    }

    /// - Throws: `.invalidArgument` naming what is wrong.
    func check(model: DecoderDescription) throws(DejaVuError) {
        func wrong(_ subject: String, _ problem: String) -> DejaVuError {
            DejaVuError(.invalidArgument, "\(subject): \(problem)", subject: subject)
        }
        guard layers.count > 0, layers.end <= model.layerCount else {
            throw wrong("layers", "\(layers) is no part of the model's \(model.layerCount) layers")
        }
        guard cellCount > 0, cellCount % CellRun.granularity == 0, cellCount < 1 << 30 else {
            throw wrong("cellCount", "\(cellCount) is no multiple of \(CellRun.granularity)")
        }
        guard (1...256).contains(threadCount) else { throw wrong("threadCount", "\(threadCount) is not in 1...256") }
        guard (2...16_384).contains(rowCountMax) else {
            throw wrong("rowCountMax", "\(rowCountMax) is not in 2...16384")
        }
        guard (1...1024).contains(graphCountMax) else {
            throw wrong("graphCountMax", "\(graphCountMax) is not in 1...1024")
        }
    }
}
