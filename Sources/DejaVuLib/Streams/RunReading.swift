public import DejaVuCore
public import DejaVuKV
public import NIOCore

extension KVStore {
    /// The rows of a committed span in packed order, one contiguous run of this store's memory after the other.
    ///
    /// This is the way without staging buffers, for measurements: what a store keeps packed has one run for each layer.
    func readRuns(
        _ span: Span, merging: Bool, _ body: (ByteBuffer) async throws(DejaVuError) -> Void
    ) async throws(DejaVuError) {
        if let source = self as? any RunSource {
            return try await source.runs(of: span, merging: merging, body)
        }
        for layer in span.layers.indices {
            let part = Span(
                sequence: span.sequence, layers: LayerRange(layer, layer + 1), positions: span.positions)
            try await body(try await read(part))
        }
    }
}

/// A store whose memory is not packed, and that can tell its runs apart.
public protocol RunSource: KVStore {
    /// Gives each contiguous run of the span's rows, in packed order.
    ///
    /// - Parameter merging: joins neighbours that touch in this memory and in the packed rows.
    func runs(
        of span: Span, merging: Bool, _ body: (ByteBuffer) async throws(DejaVuError) -> Void
    ) async throws(DejaVuError)
}
