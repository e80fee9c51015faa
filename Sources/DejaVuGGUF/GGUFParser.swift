import DejaVuCore

/// Reads header, metadata and tensor directory of a file that may be hostile.
struct GGUFParser {
    private(set) var version = 0
    private(set) var alignment = 32
    private(set) var dataOffset = 0
    private(set) var tensors: [TensorInfo] = []
    private(set) var tensorIndex: [String: Int] = [:]
    private(set) var keys: [String] = []
    private(set) var entries: [String: MetadataEntry] = [:]

    private let file: FileBytes
    private var cursor: ByteCursor
    /// A key of one byte, a type and a value of one byte.
    private static let entrySizeMin = 8 + 1 + 4 + 1
    /// An empty name, one dimension, type and offset.
    private static let tensorSizeMin = 8 + 4 + 8 + 4 + 8

    init(_ file: FileBytes) {
        self.file = file
        cursor = ByteCursor(file.buffer)
    }

    mutating func parse() throws(DejaVuError) {
        try parseMagicAndVersion()
        let tensorCountOffset = cursor.offset
        let tensorCount = try cursor.count(
            ofAtLeast: Self.tensorSizeMin, limit: GGUFFile.tensorCountMax, "tensor count")
        let keyCount = try cursor.count(
            ofAtLeast: Self.entrySizeMin, limit: GGUFFile.keyCountMax, "metadata count")
        keys.reserveCapacity(keyCount)
        entries.reserveCapacity(keyCount)
        for index in 0..<keyCount { try parseEntry(index) }
        try readAlignment()
        // The metadata has taken its part of the file, so the count is bounded anew.
        guard tensorCount <= cursor.remaining / Self.tensorSizeMin else {
            throw .invalidField(
                "tensor count", at: tensorCountOffset,
                "is \(tensorCount), which cannot fit in the \(cursor.remaining) bytes behind the metadata")
        }
        tensors.reserveCapacity(tensorCount)
        tensorIndex.reserveCapacity(tensorCount)
        var relativeOffsets: [(offset: UInt64, field: Int)] = []
        relativeOffsets.reserveCapacity(tensorCount)
        for index in 0..<tensorCount { relativeOffsets.append(try parseTensor(index)) }
        try placeTensors(relativeOffsets)
    }

    private mutating func parseMagicAndVersion() throws(DejaVuError) {
        let magic = try cursor.bytes(4, "magic")
        guard file.buffer[magic].elementsEqual("GGUF".utf8) else {
            throw .invalidField("magic", at: 0, "is not 'GGUF'")
        }
        let number = try cursor.integer("version", as: UInt32.self)
        guard number == 2 || number == 3 else {
            let swapped = number.byteSwapped
            throw DejaVuError(
                .unsupported,
                swapped == 2 || swapped == 3
                    ? "version at offset 4 is big endian; only little-endian files are read"
                    : "version at offset 4 is \(number); versions 2 and 3 are read", subject: "version")
        }
        version = Int(number)
    }

    // MARK: Metadata

    private mutating func parseEntry(_ index: Int) throws(DejaVuError) {
        let start = cursor.offset
        let key = try cursor.text(limit: GGUFFile.keyBytesMax, "metadata key \(index)")
        guard !key.isEmpty else { throw .invalidField("metadata key \(index)", at: start, "is empty") }
        let field = "metadata \(quoted(key))"
        let typeOffset = cursor.offset
        let typeNumber = try cursor.integer("type of \(field)", as: UInt32.self)
        guard let type = MetadataType(rawValue: typeNumber) else {
            throw .invalidField("type of \(field)", at: typeOffset, "is \(typeNumber), which is unknown")
        }
        let offset = cursor.offset
        let value = try parseValue(type, field)
        guard entries.updateValue(MetadataEntry(value: value, offset: offset), forKey: key) == nil else {
            throw .invalidField(field, at: start, "is there twice")
        }
        keys.append(key)
    }

    private mutating func parseValue(_ type: MetadataType, _ field: String) throws(DejaVuError) -> MetadataValue {
        switch type {
        case .uint8: .uint8(try cursor.integer(field))
        case .int8: .int8(try cursor.integer(field))
        case .uint16: .uint16(try cursor.integer(field))
        case .int16: .int16(try cursor.integer(field))
        case .uint32: .uint32(try cursor.integer(field))
        case .int32: .int32(try cursor.integer(field))
        case .uint64: .uint64(try cursor.integer(field))
        case .int64: .int64(try cursor.integer(field))
        case .float32: .float32(Float(bitPattern: try cursor.integer(field)))
        case .float64: .float64(Double(bitPattern: try cursor.integer(field)))
        case .bool: .bool(try cursor.integer(field, as: UInt8.self) != 0)
        case .string: .string(try cursor.text(field))
        case .array: .array(try MetadataArray.skip(&cursor, of: file, field: field, depth: 1))
        }
    }

    private mutating func readAlignment() throws(DejaVuError) {
        guard let entry = entries["general.alignment"] else { return }
        let field = "metadata 'general.alignment'"
        guard case .uint32(let value) = entry.value else {
            throw .invalidField(field, at: entry.offset, "is of type \(entry.value.typeName); wanted uint32")
        }
        guard value >= 8, value.nonzeroBitCount == 1 else {
            throw .invalidField(field, at: entry.offset, "is \(value); wanted a power of two that is at least 8")
        }
        alignment = Int(value)
    }

    // MARK: Tensors

    /// Appends the tensor with no offset yet. Returns the offset that it claims, relative to the data, and the offset
    /// of that field.
    private mutating func parseTensor(_ index: Int) throws(DejaVuError) -> (offset: UInt64, field: Int) {
        let start = cursor.offset
        let name = try cursor.text(limit: GGUFFile.tensorNameBytesMax, "name of tensor \(index)")
        let field = "tensor \(quoted(name))"
        guard tensorIndex.updateValue(index, forKey: name) == nil else {
            throw .invalidField(field, at: start, "is there twice")
        }
        let countOffset = cursor.offset
        let dimensionCount = try cursor.integer("dimension count of \(field)", as: UInt32.self)
        guard (1...4).contains(dimensionCount) else {
            throw .invalidField(
                "dimension count of \(field)", at: countOffset, "is \(dimensionCount); wanted 1 to 4")
        }
        let dimensionsOffset = cursor.offset
        var dimensions: [Int] = []
        for axis in 0..<dimensionCount {
            let size = try cursor.integer("dimension \(axis) of \(field)", as: UInt64.self)
            guard let size = Int(exactly: size), size > 0 else {
                throw .invalidField(
                    "dimension \(axis) of \(field)", at: cursor.offset - 8, "is \(size); wanted 1 to \(Int.max)")
            }
            dimensions.append(size)
        }
        let typeOffset = cursor.offset
        let typeNumber = try cursor.integer("type of \(field)", as: UInt32.self)
        guard let type = TensorType(rawValue: typeNumber) else {
            throw .invalidField("type of \(field)", at: typeOffset, "is \(typeNumber), which is unknown")
        }
        guard dimensions[0] % type.blockLength == 0 else {
            throw .invalidField(
                "dimension 0 of \(field)", at: dimensionsOffset,
                "is \(dimensions[0]), not a multiple of the \(type.blockLength) elements in a block of \(type.name)")
        }
        guard let byteCount = TensorInfo.byteCount(of: type, dimensions: dimensions) else {
            throw .invalidField(
                "dimensions of \(field)", at: dimensionsOffset, "are \(dimensions), more than can be counted")
        }
        let offsetField = cursor.offset
        let offset = try cursor.integer("data offset of \(field)", as: UInt64.self)
        tensors.append(
            TensorInfo(name: name, type: type, dimensions: dimensions, offset: 0, byteCount: byteCount))
        return (offset, offsetField)
    }

    /// Checks where the tensors' data lies and fills in the absolute offsets.
    private mutating func placeTensors(_ claims: [(offset: UInt64, field: Int)]) throws(DejaVuError) {
        let (padded, overflow) = cursor.offset.addingReportingOverflow(alignment - 1)
        precondition(!overflow, "file larger than the address space")
        dataOffset = padded / alignment * alignment
        let available = max(0, file.buffer.count - dataOffset)
        for index in tensors.indices {
            let tensor = tensors[index]
            let claim = claims[index]
            let field = "data offset of tensor \(quoted(tensor.name))"
            guard claim.offset % UInt64(alignment) == 0 else {
                throw .invalidField(
                    field, at: claim.field, "is \(claim.offset), not a multiple of the alignment \(alignment)")
            }
            guard tensor.byteCount <= available, claim.offset <= UInt64(available - tensor.byteCount) else {
                throw .invalidField(
                    field, at: claim.field,
                    "is \(claim.offset): \(tensor.byteCount) bytes from there do not fit in the \(available) bytes of "
                        + "tensor data")
            }
            tensors[index] = TensorInfo(
                name: tensor.name, type: tensor.type, dimensions: tensor.dimensions,
                offset: dataOffset + Int(claim.offset), byteCount: tensor.byteCount)
        }
        let byOffset = tensors.indices.sorted { (tensors[$0].offset, $0) < (tensors[$1].offset, $1) }
        for (lower, upper) in zip(byOffset, byOffset.dropFirst())
        where tensors[lower].byteRange.upperBound > tensors[upper].offset {
            throw .invalidField(
                "data offset of tensor \(quoted(tensors[upper].name))", at: claims[upper].field,
                "is \(claims[upper].offset), inside the data of tensor \(quoted(tensors[lower].name))")
        }
    }
}
