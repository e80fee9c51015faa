internal import CChecksum
public import NIOCore

/// The running crc32c (Castagnoli; RFC 3720, B.4) of bytes that come in pieces.
///
/// It guards against damage, not against an adversary. Computed with the processor's own instructions where it has
/// them (AVX-512, SSE 4.2, ARMv8), else from tables; the values are the same.
public struct Checksum: Hashable, Sendable {
    /// Of all bytes so far; 0 for none.
    public private(set) var value: UInt32
    /// Bytes so far.
    public private(set) var count: Int

    public init() {
        value = 0
        count = 0
    }

    /// Of so many bytes, as somebody else has computed it.
    public init(value: UInt32, count: Int) {
        precondition(count >= 0, "a length is not negative")
        self.value = value
        self.count = count
    }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        value = cchecksum_update(value, bytes.baseAddress, bytes.count)
        count += bytes.count
    }

    public mutating func update(_ buffer: ByteBuffer) { buffer.withUnsafeReadableBytes { update($0) } }

    /// Copies bytes and takes them in: both in one pass over memory.
    ///
    /// - Precondition: `target` is as long as `source` or longer, and they do not overlap.
    public mutating func copy(_ source: UnsafeRawBufferPointer, to target: UnsafeMutableRawBufferPointer) {
        precondition(source.count <= target.count, "\(source.count) bytes do not fit into \(target.count)")
        value = cchecksum_copy(value, target.baseAddress, source.baseAddress, source.count)
        count += source.count
    }

    /// Takes in bytes that are known only by their own checksum.
    public mutating func append(_ next: Checksum) {
        value = cchecksum_combine(value, next.value, UInt64(next.count))
        count += next.count
    }

    public static func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        cchecksum_update(0, bytes.baseAddress, bytes.count)
    }

    public static func of(_ buffer: ByteBuffer) -> UInt32 { buffer.withUnsafeReadableBytes { of($0) } }

    public static func of(_ bytes: [UInt8]) -> UInt32 { bytes.withUnsafeBytes { of($0) } }

    /// What it is computed with here, for reports: `avx512`, `sse4.2`, `armv8` or `portable`.
    public static var implementation: String {
        switch Int(cchecksum_variant()) {
        case CCHECKSUM_SSE42: "sse4.2"
        case CCHECKSUM_ARMV8: "armv8"
        case CCHECKSUM_AVX512: "avx512"
        default: "portable"
        }
    }
}
