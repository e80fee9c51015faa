import DejaVuCore
import DejaVuEngine

extension GGMLStageEngine {
    /// Holds rows that a pass has computed once more against the committed ones: equal bits are what row invariance
    /// promises, and what recovery stands on.
    func checkRewrites(_ batch: RowBatch) {
        let isFirst = rewriteMismatchCount == 0
        var places: [String] = []
        for layer in stage.layers.indices {
            for rewrite in batch.rewrites {
                let written = rows(layer, rewrite.written)
                let committed = rows(layer, rewrite.committed)
                guard written.keys != committed.keys || written.values != committed.values else { continue }
                rewriteMismatchCount += 1
                if places.count < 4 { places.append("cell \(rewrite.committed) of layer \(layer)") }
            }
        }
        // Once says it all, and the count goes on.
        guard !places.isEmpty, isFirst else { return }
        options.notice(
            StageNotice(
                level: .warning,
                message:
                    "K or V computed again differ from the committed ones, first in \(places.joined(separator: ", "))"
            ))
    }

    private func rows(_ layer: Int, _ cell: Int) -> (keys: [UInt8], values: [UInt8]) {
        cells.rows(layer: layer - stage.layers.first, cells: cell..<cell + 1)
    }
}
