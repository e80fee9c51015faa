package import DejaVuCore

/// Who sends which layers to whom when two pipelines cut them at different places.
package struct LayerPieces: Hashable, Sendable {
    package let source: Int
    package let target: Int
    package let layers: LayerRange

    /// The pieces of some layers, ascending; neighbours with the same source and target are one piece.
    ///
    /// - Throws: `.invalidArgument` if a layer has no source or no target, or more than one.
    package static func of(
        _ layers: LayerRange, sources: [LayerRange], targets: [LayerRange]
    ) throws(DejaVuError) -> [LayerPieces] {
        var pieces: [LayerPieces] = []
        for layer in layers.indices {
            let source = try holder(of: layer, among: sources, "source")
            let target = try holder(of: layer, among: targets, "target")
            if let last = pieces.last, last.source == source, last.target == target {
                pieces[pieces.count - 1] = LayerPieces(
                    source: source, target: target, layers: LayerRange(last.layers.first, layer + 1))
            } else {
                pieces.append(LayerPieces(source: source, target: target, layers: LayerRange(layer, layer + 1)))
            }
        }
        return pieces
    }

    private static func holder(of layer: Int, among ranges: [LayerRange], _ side: String) throws(DejaVuError) -> Int {
        var found: Int?
        for (index, range) in ranges.enumerated() where range.indices.contains(layer) {
            guard found == nil else {
                throw DejaVuError(.invalidArgument, "layer \(layer) has more than one \(side)")
            }
            found = index
        }
        guard let found else { throw DejaVuError(.invalidArgument, "layer \(layer) has no \(side)") }
        return found
    }
}
