import CKernels

/// Memory that is aligned as the kernels demand, filled with a pattern so that a byte nobody wrote shows.
final class AlignedBytes {
    let bytes: UnsafeMutableRawBufferPointer

    init(count: Int) {
        bytes = .allocate(byteCount: count, alignment: 64)
        bytes.initializeMemory(as: UInt8.self, repeating: 0xA5)
    }

    deinit { bytes.deallocate() }

    var base: UnsafeMutableRawPointer {
        guard let base = bytes.baseAddress else { preconditionFailure("an empty buffer has no address") }
        return base
    }

    var array: [UInt8] { Array(bytes) }
}

/// A matrix in a weight format, packed.
struct PackedMatrix {
    let format: WeightFormat
    let rows: Int
    let columns: Int
    let source: [UInt8]
    let packed: AlignedBytes

    init(_ format: WeightFormat, rows: Int, columns: Int, using random: inout SplitMix, threads: Int = 1) {
        self.format = format
        self.rows = rows
        self.columns = columns
        source = format.randomRows(rows, columns: columns, using: &random)
        packed = AlignedBytes(count: dejavu_packed_size(format.rawValue, Int64(rows), Int64(columns)))
        for thread in 0..<threads {
            dejavu_pack(
                format.rawValue, Int64(rows), Int64(columns), source, packed.base, Int32(thread), Int32(threads))
        }
    }

    func values(ofRow row: Int) -> [Float] {
        let size = columns / format.blockColumns * format.blockBytes
        return format.values(of: source[row * size..<(row + 1) * size])
    }

    /// The product with `count` records from `first` on, in `threads` shares.
    func times(_ records: AlignedBytes, first: Int = 0, count: Int, threads: Int = 1) -> [Float] {
        var out = [Float](repeating: .infinity, count: count * rows)
        let start = records.base + first * dejavu_activation_row_size(Int64(columns))
        for thread in 0..<threads {
            dejavu_matmul(
                format.rawValue, Int64(rows), Int64(columns), packed.base, start, Int64(count), &out,
                rows * MemoryLayout<Float>.stride, Int32(thread), Int32(threads))
        }
        return out
    }
}

/// The records of `rows` rows of `x`, in `threads` shares.
func quantized(_ x: [Float], rows: Int, threads: Int = 1) -> AlignedBytes {
    let columns = x.count / rows
    let records = AlignedBytes(count: rows * dejavu_activation_row_size(Int64(columns)))
    for thread in 0..<threads {
        dejavu_quantize_rows(
            x, columns * MemoryLayout<Float>.stride, Int64(rows), Int64(columns), records.base, Int32(thread),
            Int32(threads))
    }
    return records
}

/// One block of a record, read by the layout that the header of the activations states.
struct RecordBlock {
    let codes: [Int8]
    let scale: Float
    let sum: Float

    init(_ records: AlignedBytes, columns: Int, row: Int, block: Int) {
        let record = records.base + row * dejavu_activation_row_size(Int64(columns))
        codes = (0..<32).map { record.load(fromByteOffset: block * 32 + $0, as: Int8.self) }
        scale = record.load(fromByteOffset: columns + block * 16, as: Float.self)
        sum = record.load(fromByteOffset: columns + block * 16 + 4, as: Float.self)
    }

    var values: [Float] { codes.map { Float($0) * scale } }
}

/// The variants that this CPU offers, the portable one first.
let availableVariants: [Int32] = (0..<Int32(DEJAVU_VARIANT_COUNT)).filter { dejavu_variant_available($0) }

/// Runs `body` with a variant; the tests of this target run one after the other, so nothing else sees it.
func withVariant<Result>(_ variant: Int32, _ body: () -> Result) -> Result {
    precondition(dejavu_force_variant(variant))
    defer { precondition(dejavu_force_variant(-1)) }
    return body()
}

extension Array where Element == Float {
    /// For comparisons that tell 0 from -0 and find a NaN equal to itself.
    var bits: [UInt32] { map(\.bitPattern) }
}
