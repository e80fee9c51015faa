/// Names everything that decides the bits of a row: model, kernel set and version, instruction set, KV type, RoPE
/// settings, context. Two workers of one class compute equal bits; workers of different classes are not mixed.
public struct NumericClass: Hashable, Codable, Sendable, CustomStringConvertible {
    public let hash: UInt64
    public init(hash: UInt64) { self.hash = hash }
    /// The hash of the parts, in order (FNV-1a over their UTF-8 with a separator).
    public init(parts: [String]) {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for part in parts {
            for byte in part.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
            hash = (hash ^ 0xFF) &* 0x100_0000_01B3
        }
        self.hash = hash
    }
    public var description: String { String(hash, radix: 16) }
}

/// Names a model file: a digest of its metadata and tensor directory and of samples of its data.
public struct ModelID: Hashable, Codable, Sendable, CustomStringConvertible {
    /// Lower-case hexadecimal.
    public let digest: String
    public init(digest: String) { self.digest = digest }
    public var description: String { String(digest.prefix(16)) }
}
