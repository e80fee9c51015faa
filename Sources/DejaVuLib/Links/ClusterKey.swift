import Crypto
public import DejaVuCore
import Glibc

/// The secret that all processes of one cluster share. Each side of a link proves that it has it.
public struct ClusterKey: Sendable, CustomStringConvertible {
    public static let bytesMin = 16
    public static let bytesMax = 4096

    let symmetric: SymmetricKey

    /// - Throws: `.invalidArgument` if there are too few or too many bytes.
    public init(bytes: [UInt8]) throws(DejaVuError) {
        guard (Self.bytesMin...Self.bytesMax).contains(bytes.count) else {
            throw DejaVuError(
                .invalidArgument,
                "a cluster key has \(Self.bytesMin) to \(Self.bytesMax) bytes, this one has \(bytes.count)")
        }
        symmetric = SymmetricKey(data: bytes)
    }

    private init(_ symmetric: SymmetricKey) { self.symmetric = symmetric }

    /// 256 random bits: for a cluster whose processes all start from one.
    public static func random() -> ClusterKey { ClusterKey(SymmetricKey(size: .bits256)) }

    /// The key in a file: its bytes without white space at the end.
    ///
    /// - Throws: `.invalidFile` if the file cannot be read, is not a regular file, can be read by others than its
    ///   owner, or is too short or too long.
    public init(file path: String) throws(DejaVuError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            throw DejaVuError(.invalidFile, "cannot open the key file \(path): \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw DejaVuError(.invalidFile, "the key file \(path) is not a regular file")
        }
        guard status.st_mode & 0o077 == 0 else {
            throw DejaVuError(.invalidFile, "others can read the key file \(path); run: chmod 600 \(path)")
        }
        var bytes = [UInt8](repeating: 0, count: Self.bytesMax + 2)
        let count = read(descriptor, &bytes, bytes.count)
        bytes.removeLast(bytes.count - max(count, 0))
        while let last = bytes.last, last == 10 || last == 13 || last == 32 || last == 9 { bytes.removeLast() }
        do { try self.init(bytes: bytes) } catch {
            throw DejaVuError(.invalidFile, "the key file \(path): \(error.message)")
        }
    }

    /// The key itself, to hand it to a child.
    public var bytes: [UInt8] { symmetric.withUnsafeBytes { [UInt8]($0) } }

    /// Never the key.
    public var description: String { "cluster key of \(symmetric.bitCount / 8) bytes" }
}
