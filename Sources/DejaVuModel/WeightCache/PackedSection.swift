package import DejaVuCore
package import DejaVuGGML

/// The packed matrices of one layer, or of the output: what one file of the cache holds. What the file must look like
/// follows from the model alone; nothing is ever looked up in the file but checksums.
///
/// A file is a header (128 bytes), an entry for each matrix (128 bytes), and the matrices at multiples of 64. Numbers
/// are little endian. Header: magic 8, format u32, version of the kernels u32, bytes before the matrices u64, bytes
/// of the file u64, entries u64, checksum of all before the matrices u64 (itself as 0), model id 64, section i64.
/// Entry: name 64, type u64, rows u64, columns u64, offset u64, bytes u64, checksum u64.
package struct PackedSection {
    package struct Entry: Equatable {
        package let name: String
        package let type: ElementType
        package let rows: Int
        package let columns: Int
        package let range: Range<Int>
    }

    static let magic = Array("DEJAVUPK".utf8)
    static let formatVersion: UInt32 = 1
    static let recordBytes = 128
    private static let nameBytes = 64
    private static let checksumOffset = 40
    private static let entryChecksumOffset = 104

    package let model: ModelID
    /// nil is the output.
    package let layer: Int?
    package private(set) var entries: [Entry] = []
    package let headByteCount: Int
    package private(set) var byteCount: Int

    /// - Parameter matrices: at least one, all of which can be packed.
    package init(
        model: ModelID, layer: Int?, matrices: [(name: String, type: ElementType, rows: Int, columns: Int)]
    ) {
        precondition(!matrices.isEmpty && model.digest.utf8.count <= Self.nameBytes, "a section without content")
        self.model = model
        self.layer = layer
        headByteCount = Self.recordBytes * (1 + matrices.count)
        byteCount = headByteCount
        for matrix in matrices {
            precondition(matrix.name.utf8.count < Self.nameBytes, "a tensor's name is longer than ggml allows")
            let count = PackedMatrix.byteCount(matrix.type, rows: matrix.rows, columns: matrix.columns)
            entries.append(
                Entry(
                    name: matrix.name, type: matrix.type, rows: matrix.rows, columns: matrix.columns,
                    range: byteCount..<byteCount + count))
            byteCount += count
        }
    }

    package var fileName: String { layer.map { "layer-\($0).packed" } ?? "output.packed" }

    /// What stands in front of the matrices, once their checksums are known.
    package func head(checksums: [UInt64]) -> [UInt8] {
        precondition(checksums.count == entries.count, "a checksum for each matrix")
        var head = [UInt8](repeating: 0, count: headByteCount)
        func put<Number: FixedWidthInteger>(_ number: Number, at offset: Int) {
            withUnsafeBytes(of: number.littleEndian) { head.replaceSubrange(offset..<offset + $0.count, with: $0) }
        }
        func put(_ text: String, at offset: Int) {
            head.replaceSubrange(offset..<offset + text.utf8.count, with: Array(text.utf8))
        }
        head.replaceSubrange(0..<8, with: Self.magic)
        put(Self.formatVersion, at: 8)
        put(UInt32(KernelSet.native.version), at: 12)
        put(UInt64(headByteCount), at: 16)
        put(UInt64(byteCount), at: 24)
        put(UInt64(entries.count), at: 32)
        put(model.digest, at: 48)
        put(Int64(layer ?? -1), at: 112)
        for (index, entry) in entries.enumerated() {
            let start = Self.recordBytes * (1 + index)
            put(entry.name, at: start)
            let numbers = [
                Int(entry.type.rawValue), entry.rows, entry.columns, entry.range.lowerBound, entry.range.count,
            ]
            for (place, number) in numbers.enumerated() { put(UInt64(number), at: start + 64 + 8 * place) }
            put(checksums[index], at: start + Self.entryChecksumOffset)
        }
        let sum = head.withUnsafeBytes { checksum($0) }
        put(sum, at: Self.checksumOffset)
        return head
    }

    /// Holds a file against what it must be. Reads all of it, which also brings its pages into memory.
    ///
    /// - Throws: `.invalidFile` with what is wrong.
    package func check(_ bytes: UnsafeRawBufferPointer) throws(DejaVuError) {
        func wrong(_ problem: String) -> DejaVuError { DejaVuError(.invalidFile, problem, subject: fileName) }
        guard bytes.count == byteCount else {
            throw wrong("has \(bytes.count) bytes instead of \(byteCount)")
        }
        let sums = entries.indices.map { index in
            UInt64(
                littleEndian: bytes.loadUnaligned(
                    fromByteOffset: Self.recordBytes * (1 + index) + Self.entryChecksumOffset, as: UInt64.self))
        }
        // Everything in the head follows from the model and from these sums, its own checksum included.
        guard head(checksums: sums).elementsEqual(bytes[..<headByteCount]) else {
            throw wrong("has a damaged header, or one of another model or version")
        }
        for (entry, sum) in zip(entries, sums) {
            guard checksum(UnsafeRawBufferPointer(rebasing: bytes[entry.range])) == sum else {
                throw wrong("\(entry.name) is damaged")
            }
        }
    }
}
