public import DejaVuCore

/// What one position's K, or V, of one layer is made of. Two memories exchange KV only if this is equal.
public struct KVRow: Hashable, Codable, Sendable {
    public let headCount: Int
    /// Elements of one KV head.
    public let headSize: Int
    /// Of a block-quantised type: the bytes of one block, and `headSize` counts blocks.
    public let elementBytes: Int

    /// - Throws: `.invalidArgument` unless all are positive and one row of K and V has at most 1 GB.
    public init(headCount: Int, headSize: Int, elementBytes: Int) throws(DejaVuError) {
        guard headCount > 0, headSize > 0, elementBytes > 0,
            let plane = product(headCount, headSize, elementBytes), plane <= 1 << 29
        else {
            throw DejaVuError(
                .invalidArgument, "no KV has rows of \(headCount) heads, \(headSize) elements, \(elementBytes) bytes")
        }
        self.headCount = headCount
        self.headSize = headSize
        self.elementBytes = elementBytes
    }

    /// Bytes of K, or of V, of one position in one layer.
    public var planeBytes: Int { headCount * headSize * elementBytes }
    /// Bytes of K and V of one position in one layer.
    public var rowBytes: Int { 2 * planeBytes }

    /// What positions weigh over some layers; nil if that is more than an `Int` holds.
    public func bytes(layers: Int, positions: Int) -> Int? {
        layers >= 0 && positions >= 0 ? product(layers, positions, rowBytes) : nil
    }

    /// How many positions over some layers a budget holds.
    public func positions(inBytes budget: Int, layers: Int) -> Int {
        guard budget > 0, layers > 0, let each = product(layers, rowBytes) else { return 0 }
        return budget / each
    }
}

/// The product, or nil if it is more than an `Int` holds.
func product(_ factors: Int...) -> Int? {
    var result = 1
    for factor in factors {
        let (value, overflow) = result.multipliedReportingOverflow(by: factor)
        if overflow { return nil }
        result = value
    }
    return result
}
