package import DejaVuCore
import Synchronization

/// A model file in the GGUF format, version 2 or 3, little endian.
///
/// Opening maps the file and checks everything but the weights themselves: all strings and arrays end inside the file,
/// keys and tensor names are unique and UTF-8, and each tensor has a known type, whole blocks, and data of its own
/// inside the file. Memory and time are linear in the size of metadata and directory. Every error names the field and
/// its offset. The weights are read when they are touched; see `FileBytes` about files that shrink meanwhile.
package final class GGUFFile: Sendable {
    /// The format allows longer ones; none are known.
    static let keyBytesMax = 65_535
    static let keyCountMax = 65_536
    static let tensorCountMax = 1_048_576
    /// ggml keeps names in 64 bytes with a zero at the end.
    static let tensorNameBytesMax = 63
    static let arrayDepthMax = 4

    /// The version of the format, 2 or 3.
    package let version: Int
    /// What tensor offsets are multiples of, relative to `dataOffset`: a power of two, at least 8.
    ///
    /// ggml wants tensors at multiples of 32 for buffers over foreign memory; a file with less must be copied.
    package let alignment: Int
    /// Where tensor data starts.
    package let dataOffset: Int
    /// The tensors in the order of the directory.
    package let tensors: [TensorInfo]
    /// The metadata keys in the order of the file.
    package let keys: [String]

    package let file: FileBytes
    let entries: [String: MetadataEntry]
    private let tensorIndex: [String: Int]
    private let cachedModelID = Mutex<ModelID?>(nil)

    /// Opens and checks a file.
    package convenience init(path: String) throws(DejaVuError) {
        try self.init(FileBytes(path: path))
    }

    /// Checks a file that is in memory.
    package convenience init(bytes: [UInt8]) throws(DejaVuError) {
        try self.init(FileBytes(copying: bytes))
    }

    private init(_ file: FileBytes) throws(DejaVuError) {
        var parser = GGUFParser(file)
        try parser.parse()
        self.file = file
        version = parser.version
        alignment = parser.alignment
        dataOffset = parser.dataOffset
        tensors = parser.tensors
        keys = parser.keys
        entries = parser.entries
        tensorIndex = parser.tensorIndex
    }

    package var byteCount: Int { file.buffer.count }

    /// The tensor of that name, if there is one.
    package func tensor(_ name: String) -> TensorInfo? { tensorIndex[name].map { tensors[$0] } }

    /// A tensor's data. Valid as long as this object lives.
    package func bytes(of tensor: TensorInfo) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: file.buffer[tensor.byteRange])
    }

    /// Tells the kernel that the tensor is soon read, or not any more.
    package func advise(_ advice: FileBytes.Advice, _ tensor: TensorInfo) { file.advise(advice, tensor.byteRange) }

    /// Names the file's content; computed when first asked for, which reads two pages of each tensor.
    package var modelID: ModelID {
        cachedModelID.withLock { cached in
            if let cached { return cached }
            let computed = computeModelID()
            cached = computed
            return computed
        }
    }
}

/// A metadata value and where it lies, for errors.
struct MetadataEntry: Sendable {
    let value: MetadataValue
    let offset: Int
}
