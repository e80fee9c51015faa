import DejaVuCore
import DejaVuKV

/// Where the bytes of a frame belong: `[layer][position][row]`, cut into pieces that lie in one layer.
struct PayloadMap: Sendable {
    struct Piece {
        let layer: Int
        /// Bytes from position 0 of the layer's packed rows.
        let offset: Int
        let byteCount: Int
        /// Whether it is to be written; committed rows are not.
        let isNew: Bool
    }

    let span: Span
    let rowBytes: Int
    private let parts: [Arrival.Part]

    init(_ arrival: Arrival, rowBytes: Int) {
        span = arrival.span
        self.rowBytes = rowBytes
        parts = arrival.parts
    }

    /// What a read covers: all of it.
    init(_ span: Span, rowBytes: Int) {
        self.span = span
        self.rowBytes = rowBytes
        parts = []
    }

    var byteCount: Int { span.rowCount * rowBytes }
    var layerBytes: Int { span.positions.count * rowBytes }

    /// The piece that begins at a byte of the payload, at most `limit` long.
    ///
    /// - Precondition: the byte is within the payload.
    func piece(at byte: Int, limit: Int) -> Piece {
        precondition(byte >= 0 && byte < byteCount && limit > 0, "no such byte in \(span)")
        let (index, rest) = byte.quotientAndRemainder(dividingBy: layerBytes)
        let layer = span.layers.first + index
        let offset = span.positions.lowerBound * rowBytes + rest
        let firstNew = firstNewByte(layer)
        let end = min((span.positions.lowerBound * rowBytes) + layerBytes, offset + limit)
        if offset < firstNew {
            return Piece(layer: layer, offset: offset, byteCount: min(end, firstNew) - offset, isNew: false)
        }
        return Piece(layer: layer, offset: offset, byteCount: end - offset, isNew: true)
    }

    private func firstNewByte(_ layer: Int) -> Int {
        for part in parts where part.layers.indices.contains(layer) { return part.positions.lowerBound * rowBytes }
        return 0
    }
}
