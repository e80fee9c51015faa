import DejaVuCore
import DejaVuKV

/// Cuts a span into frames of bounded size that commit one after the other.
///
/// Positions go in order; where one position of all layers is too much, its layers go in order. No frame is larger than
/// the limit, except that one row always fits.
struct FrameCutter: Sendable {
    private let span: Span
    private let layersPerFrame: Int
    private let positionsPerFrame: Int
    private var layer: Int
    private(set) var position: Int

    init(_ span: Span, rowBytes: Int, frameBytesMax: Int) {
        precondition(rowBytes > 0 && frameBytesMax > 0, "rows have bytes")
        self.span = span
        let rows = max(1, frameBytesMax / rowBytes)
        layersPerFrame = max(1, min(span.layers.count, rows))
        positionsPerFrame = layersPerFrame < span.layers.count ? 1 : max(1, rows / max(1, span.layers.count))
        layer = span.layers.first
        position = span.positions.lowerBound
    }

    /// The next frame; nil at the end.
    mutating func next() -> Span? {
        guard position < span.positions.upperBound, layer < span.layers.end else { return nil }
        let layers = LayerRange(layer, min(span.layers.end, layer + layersPerFrame))
        let positions = position..<min(span.positions.upperBound, position + positionsPerFrame)
        layer = layers.end
        if layer == span.layers.end {
            layer = span.layers.first
            position = positions.upperBound
        }
        return Span(sequence: span.sequence, layers: layers, positions: positions)
    }

    /// Goes back, or forward, to a position.
    mutating func seek(_ position: Int) {
        self.position = position
        layer = span.layers.first
    }
}
