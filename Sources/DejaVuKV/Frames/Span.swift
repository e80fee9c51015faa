public import DejaVuCore

/// The unit in which KV is addressed and counted: positions of a sequence in consecutive layers.
public struct Span: Hashable, Codable, Sendable, CustomStringConvertible {
    public let sequence: SequenceID
    public let layers: LayerRange
    public let positions: Range<Int>

    /// - Precondition: positions are not negative.
    public init(sequence: SequenceID, layers: LayerRange, positions: Range<Int>) {
        precondition(positions.lowerBound >= 0, "positions are counted from 0")
        self.sequence = sequence
        self.layers = layers
        self.positions = positions
    }

    public var isEmpty: Bool { layers.count == 0 || positions.isEmpty }
    /// Rows that a packed copy has: one for each layer and position.
    public var rowCount: Int { layers.count * positions.count }
    public var description: String { "\(sequence) layers \(layers) positions \(positions)" }
}
