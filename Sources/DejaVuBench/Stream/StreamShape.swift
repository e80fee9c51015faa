package import DejaVuCore
package import DejaVuKV

/// A model as far as its KV goes: what it keeps for a position, and how a device orders it.
package struct StreamShape: Hashable, Sendable {
    package let name: String
    package let layerCount: Int
    package let batch: Int
    /// As it lies in memory: so many times smaller than the real one.
    package let row: KVRow
    /// Bytes in memory stand for this many times as many; the number of contiguous runs is the real one.
    package let byteScale: Int
    /// FasterTransformer's order, with blocks of one element; else ggml's.
    package let isFasterTransformer: Bool

    package var layers: LayerRange { LayerRange(0, layerCount) }

    /// An OPT model in fp16 under FasterTransformer: K `[L, B, H, hd/x, S, x]` with x = 8, V `[L, B, H, S, hd]`. A
    /// block of 8 elements, 16 bytes, is one element here, of 16 / byteScale bytes: no run is lost by the scale.
    package static func opt(
        _ name: String, layers: Int, heads: Int, batch: Int, byteScale: Int
    ) throws(DejaVuError) -> StreamShape {
        precondition(byteScale > 0 && 16 % byteScale == 0, "a block has 16 bytes")
        return StreamShape(
            name: name, layerCount: layers, batch: batch,
            row: try KVRow(headCount: heads, headSize: 16, elementBytes: 16 / byteScale), byteScale: byteScale,
            isFasterTransformer: true)
    }

    /// A model of ours: F16 in ggml's tensors.
    package static func ggml(
        _ name: String, layers: Int, heads: Int, headSize: Int, batch: Int
    ) throws(DejaVuError) -> StreamShape {
        StreamShape(
            name: name, layerCount: layers, batch: batch,
            row: try KVRow(headCount: heads, headSize: headSize, elementBytes: 2), byteScale: 1,
            isFasterTransformer: false)
    }

    func layout(length: Int) throws(DejaVuError) -> KVLayout {
        isFasterTransformer
            ? try .fasterTransformer(row, layers: layers, batch: batch, length: length, x: 1)
            : try .ggml(row, layers: layers, cellCount: batch * length)
    }
}

/// An emulated device and its link. Times are a roofline: the weights are read once for each step, and a prompt takes
/// 2 operations for each weight and token, both at the device's peak. Real ones are slower: streaming has more time.
package struct DeviceProfile: Hashable, Sendable {
    var parameters: Double
    /// NVIDIA A100 80 GB SXM, data sheet: 2039 GB/s, 312 TFLOPS in fp16.
    var memoryBytesPerSecond = 2.039e12
    var operationsPerSecond = 312e12
    /// One copy's submission: 5 to 7 us were measured for `cudaMemcpyAsync` of small pieces (DualPath, arXiv
    /// 2602.21548, section 5.2); the middle is taken.
    var launchSeconds = 6e-6
    /// The least that is known: on an H20 (github.com/taco-project/FlexKV, pull request 193). In between: 3.5 us on an
    /// H100 over NVLink (github.com/meta-pytorch/torchcomms, pull request 2195).
    static let launchSecondsLow = 2.3e-6
    /// PCIe 4.0 x16, as far as copies get.
    var hostBytesPerSecond = 25e9
    /// The paper's faster link between machines: 40 Gbit/s.
    var linkBytesPerSecond = 5e9

    static let opt13B = DeviceProfile(parameters: 13e9)
    static let opt66B = DeviceProfile(parameters: 66e9)

    /// fp16 weights, read once.
    var stepSeconds: Double { parameters * 2 / memoryBytesPerSecond }
    func promptSeconds(tokens: Int) -> Double { 2 * parameters * Double(tokens) / operationsPerSecond }
}
