public import DejaVuCore

/// What a memory orders its KV by.
public enum KVAxis: UInt8, Hashable, Codable, Sendable, CaseIterable {
    case layer, plane, slot, head, block, position, element
}

public enum KVPlane: Int, Hashable, Codable, Sendable, CaseIterable {
    case key, value
}

/// How one memory orders K and V: layers, cells, heads, elements.
///
/// A memory consists of regions, addressed by (region, byte offset). Cells are `slots` times `slotLength`: cell
/// `slot * slotLength + i` is position i of the slot. A sequence's positions lie in consecutive cells of one slot. The
/// elements of a head may be cut into blocks of `split`, so that other axes can stand between blocks and elements.
public struct KVLayout: Hashable, Codable, Sendable {
    public enum Regions: Hashable, Codable, Sendable {
        /// Region `2 * (layer - layers.first) + plane`.
        case perLayerAndPlane
        /// Region `layer - layers.first`.
        case perLayer
        /// Region 0 is K, region 1 is V.
        case perPlane
        case single
    }

    /// The order of axes of K or V, the outermost first.
    public struct Order: Hashable, Codable, Sendable {
        public let axes: [KVAxis]
        /// Elements of a block; the whole head if nil.
        public let split: Int?
        public init(_ axes: [KVAxis], split: Int? = nil) {
            self.axes = axes
            self.split = split
        }
    }

    /// Where the index of each axis moves to, in bytes.
    struct Strides: Hashable, Codable, Sendable {
        var layer = 0
        var plane = 0
        var slot = 0
        var head = 0
        var block = 0
        var position = 0
        var element = 0
        /// Elements of a block, after blocks that follow one another were joined.
        var split = 0
    }

    public let row: KVRow
    public let layers: LayerRange
    public let slots: Int
    public let slotLength: Int
    public let regions: Regions
    /// Of each region.
    public let regionBytes: Int
    let keys: Strides
    let values: Strides

    /// - Throws: `.invalidArgument` if an order does not name every axis once (a slot that is the only one, and the
    ///   block of whole heads, may be left out), if K and V of a single region differ in order, if a split does not
    ///   divide the head; `.resourceExhausted` if the memory would be larger than can be addressed.
    public init(
        row: KVRow, layers: LayerRange, slots: Int = 1, slotLength: Int, regions: Regions, keys: Order, values: Order
    ) throws(DejaVuError) {
        guard layers.count > 0, slots > 0, slotLength > 0 else {
            throw DejaVuError(.invalidArgument, "a KV memory has layers and cells")
        }
        guard keys == values || (regions != .single && regions != .perLayer) else {
            throw DejaVuError(.invalidArgument, "K and V of one region are ordered alike")
        }
        self.row = row
        self.layers = layers
        self.slots = slots
        self.slotLength = slotLength
        self.regions = regions
        let size = Size(row: row, layers: layers.count, slots: slots, slotLength: slotLength, regions: regions)
        (self.keys, regionBytes) = try size.strides(keys)
        self.values = try size.strides(values).strides
        guard product(regionBytes, regionCount) != nil else { throw Size.tooLarge }
    }

    public var cellCount: Int { slots * slotLength }
    public var regionCount: Int {
        switch regions {
        case .perLayerAndPlane: 2 * layers.count
        case .perLayer: layers.count
        case .perPlane: 2
        case .single: 1
        }
    }
    public var totalBytes: Int { regionBytes * regionCount }

    func strides(_ plane: KVPlane) -> Strides { plane == .key ? keys : values }

    /// By how much the region's number grows with a layer and from K to V.
    var regionStrides: (layer: Int, plane: Int) {
        switch regions {
        case .perLayerAndPlane: (2, 1)
        case .perLayer: (1, 0)
        case .perPlane: (0, 1)
        case .single: (0, 0)
        }
    }

    /// Where one element is.
    ///
    /// - Precondition: all of it is within the layout.
    public func address(
        of plane: KVPlane, layer: Int, cell: Int, head: Int, element: Int
    ) -> (region: Int, offset: Int) {
        precondition(
            layers.indices.contains(layer) && (0..<cellCount).contains(cell) && (0..<row.headCount).contains(head)
                && (0..<row.headSize).contains(element), "no such element")
        let strides = strides(plane)
        let region = (layer - layers.first) * regionStrides.layer + plane.rawValue * regionStrides.plane
        let (slot, position) = cell.quotientAndRemainder(dividingBy: slotLength)
        let (block, rest) = element.quotientAndRemainder(dividingBy: strides.split)
        let outer = (layer - layers.first) * strides.layer + plane.rawValue * strides.plane + slot * strides.slot
        let inner = head * strides.head + block * strides.block + position * strides.position
        return (region, outer + inner + rest * strides.element)
    }
}
