import DejaVuCore
import DejaVuKV

/// Where a sequence's packed rows lie in an arena: one run for each layer, so that a frame of one layer is one run.
struct HostPlace: Sendable {
    let layers: LayerRange
    let runs: [CellRun]

    /// Bytes from the arena's start to a byte of a layer's rows.
    func offset(layer: Int, byte: Int) -> Int { runs[layer - layers.first].start * HostArena.unitBytes + byte }
}
