public import DejaVuCore
public import DejaVuKV

// Between two memories of this process no buffer is needed: rows are copied once, from where they are to where they
// belong, and their checksum is computed in passing.

/// A store that can copy rows straight to where they belong.
public protocol InPlaceSource: KVStore {
    /// Copies the packed rows of a committed span.
    ///
    /// - Parameter memory: has the span's layers and the length of its rows.
    /// - Returns: the crc32c of the rows, layer after layer, as they were copied.
    /// - Throws: as `read`. The memory may have been written in part then.
    func copy(_ span: Span, to memory: RowMemory) async throws(DejaVuError) -> UInt32

    /// Bytes of which a single read is about as fast, byte for byte, as one of more.
    var partBytes: Int { get }
}

extension InPlaceSource {
    /// Fits into the first caches.
    public var partBytes: Int { 128 << 10 }
}

/// A store whose frames land in memory of this process: no call of it waits for long.
public protocol InPlaceStore: KVStore {}

/// A frame on its way into memory of this process, all of whose rows are to be written.
public protocol InPlaceLanding: FrameLanding {
    /// Lets a source write all rows, in place of `write`.
    ///
    /// - Returns: their checksum, for `finish`.
    /// - Throws: what the source does.
    func fill(from source: any InPlaceSource) async throws(DejaVuError) -> UInt32

    /// `finish`, if no frame before it is still landing.
    ///
    /// - Returns: nil if there is one: then `finished` waits for it, in place of `finish`.
    func finishNow(checksum: UInt32) throws(DejaVuError) -> Int?
    /// - Returns: the watermark over the frame's layers.
    func finished() async throws(DejaVuError) -> Int
}

/// Where the rows of one frame belong: for each of its layers one run, in which the positions follow one another.
///
/// It may be written until the call ends that it was given to, and by nobody else until then.
public struct RowMemory: @unchecked Sendable {
    // Sendable: who may write it when is the ledger's decision.

    /// Ascending by layer.
    public let layers: [UnsafeMutableRawBufferPointer]

    public init(layers: [UnsafeMutableRawBufferPointer]) { self.layers = layers }

    public var byteCount: Int { layers.reduce(0) { $0 + $1.count } }

    /// Of what has been written.
    public var checksum: UInt32 {
        var checksum = Checksum()
        for layer in layers { checksum.update(UnsafeRawBufferPointer(layer)) }
        return checksum.value
    }
}
