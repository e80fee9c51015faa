public import DejaVuCore

/// The layouts that occur.
extension KVLayout {
    /// What travels and what our own stores keep: `[layer][position][K row, V row]` without gaps, in one region.
    /// Cell 0 is the first of `positionCount` positions.
    public static func packedRows(_ row: KVRow, layers: LayerRange, positionCount: Int) throws(DejaVuError) -> Self {
        let order = Order([.layer, .position, .plane, .head, .element])
        return try KVLayout(
            row: row, layers: layers, slotLength: positionCount, regions: .single, keys: order, values: order)
    }

    /// Packed rows with a region for each layer: `[position][K row, V row]`.
    public static func packedLayers(
        _ row: KVRow, layers: LayerRange, positionCount: Int
    ) throws(DejaVuError) -> Self {
        let order = Order([.position, .plane, .head, .element])
        return try KVLayout(
            row: row, layers: layers, slotLength: positionCount, regions: .perLayer, keys: order, values: order)
    }

    /// ggml's tensors `[kv_dim, cells]`: one region for each layer's K and V, cells outermost.
    ///
    /// - Parameter transposedValues: V is `[cells, kv_dim]`, as llama.cpp keeps it without flash attention.
    public static func ggml(
        _ row: KVRow, layers: LayerRange, cellCount: Int, transposedValues: Bool = false
    ) throws(DejaVuError) -> Self {
        let order = Order([.position, .head, .element])
        return try KVLayout(
            row: row, layers: layers, slotLength: cellCount, regions: .perLayerAndPlane, keys: order,
            values: transposedValues ? Order([.head, .element, .position]) : order)
    }

    /// FasterTransformer's: K `[L, B, H, hd/x, S, x]` in one region, V `[L, B, H, S, hd]` in another. One slot for each
    /// sequence of the batch.
    ///
    /// - Parameter x: elements of a block; there 16 bytes' worth.
    public static func fasterTransformer(
        _ row: KVRow, layers: LayerRange, batch: Int, length: Int, x: Int
    ) throws(DejaVuError) -> Self {
        try KVLayout(
            row: row, layers: layers, slots: batch, slotLength: length, regions: .perPlane,
            keys: Order([.layer, .slot, .head, .block, .position, .element], split: x),
            values: Order([.layer, .slot, .head, .position, .element]))
    }
}
