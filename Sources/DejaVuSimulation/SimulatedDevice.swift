import DejaVuCore
import DejaVuKV

/// A device that holds fewer sequences than its stage: the real `Residency`, and rows that are copied as it says.
/// Copies take no virtual time; what they would take is counted.
struct SimulatedDevice: Sendable {
    var residency: Residency
    /// Layer by layer, the row in each cell.
    var rows: [UInt64]
    private(set) var usage = SwapUsage()
    private let layerCount: Int
    private let secondsPerRow: Double

    init(layerCount: Int, cellCount: Int, secondsPerRow: Double) {
        residency = Residency(cellCount: cellCount)
        rows = [UInt64](repeating: 0xDEAD, count: layerCount * cellCount)
        self.layerCount = layerCount
        self.secondsPerRow = secondsPerRow
    }

    var cellCount: Int { residency.cellCount }

    /// As `EmulatedStage.runRow`, over the device's rows, which are changed in place.
    mutating func runRow(
        _ input: UInt64, _ position: Int, of sequence: SequenceID, watermark: Int, _ layers: LayerRange
    ) -> UInt64? {
        guard let start = residency.run(of: sequence)?.start else { return nil }
        return EmulatedStage.runRow(
            input, position, watermark: watermark, layers, &rows, cellCount: residency.cellCount, start: start)
    }

    /// Brings in what is wanted and has room.
    ///
    /// - Parameters:
    ///   - below: the stage's rows, of so many cells a layer.
    ///   - start: where a sequence's cells begin there; nil if it is not open.
    mutating func bring(from below: [UInt64], cellCount belowCount: Int, start: (SequenceID) -> Int?) {
        while let fetch = residency.nextFetch() {
            if let from = start(fetch.sequence) {
                for layer in 0..<layerCount {
                    let source = layer * belowCount + from
                    let target = layer * cellCount + fetch.cells.start
                    for position in 0..<fetch.positions { rows[target + position] = below[source + position] }
                }
            }
            residency.fetched()
            usage.fetches += 1
            usage.bytesIn += fetch.positions * layerCount * Scenario.kvBytesPerPositionAndLayer
            usage.fetching = usage.fetching + .seconds(Double(fetch.positions) * secondsPerRow)
        }
    }
}
