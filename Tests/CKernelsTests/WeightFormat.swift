/// A ggml weight format as its specification describes it: random rows in it, and what they mean. Written without
/// regard to the kernels, so that both can be compared.
enum WeightFormat: Int32, CaseIterable, CustomStringConvertible {
    case q40 = 2
    case q41 = 3
    case q50 = 6
    case q51 = 7
    case q80 = 8
    case q4K = 12
    case q5K = 13
    case q6K = 14

    var description: String {
        switch self {
        case .q40: "Q4_0"
        case .q41: "Q4_1"
        case .q50: "Q5_0"
        case .q51: "Q5_1"
        case .q80: "Q8_0"
        case .q4K: "Q4_K"
        case .q5K: "Q5_K"
        case .q6K: "Q6_K"
        }
    }

    /// Columns in a block.
    var blockColumns: Int {
        switch self {
        case .q40, .q41, .q50, .q51, .q80: 32
        case .q4K, .q5K, .q6K: 256
        }
    }

    /// Bytes in a block.
    var blockBytes: Int {
        switch self {
        case .q40: 18
        case .q41: 20
        case .q50: 22
        case .q51: 24
        case .q80: 34
        case .q4K: 144
        case .q5K: 176
        case .q6K: 210
        }
    }

    /// Byte offsets of the half-precision numbers of a block: the scale, then the minimum if there is one.
    private var halves: [Int] {
        switch self {
        case .q40, .q50, .q80: [0]
        case .q41, .q51, .q4K, .q5K: [0, 2]
        case .q6K: [208]
        }
    }

    /// Random bytes everywhere but in the half-precision numbers, which get sizes that occur in models and either sign.
    func randomRows(_ rows: Int, columns: Int, using random: inout SplitMix) -> [UInt8] {
        let blocks = rows * columns / blockColumns
        var bytes = (0..<blocks * blockBytes).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        for block in 0..<blocks {
            for offset in halves {
                let bits = Float16(random.float(in: -0.02...0.02)).bitPattern
                bytes[block * blockBytes + offset] = UInt8(truncatingIfNeeded: bits)
                bytes[block * blockBytes + offset + 1] = UInt8(truncatingIfNeeded: bits >> 8)
            }
        }
        return bytes
    }

    /// The values of one row.
    func values(of row: ArraySlice<UInt8>) -> [Float] {
        var values: [Float] = []
        var start = row.startIndex
        while start < row.endIndex {
            let block = Array(row[start..<start + blockBytes])
            values += (0..<blockColumns).map { value(block, column: $0) }
            start += blockBytes
        }
        return values
    }

    private func half(_ block: [UInt8], _ offset: Int) -> Float {
        Float(Float16(bitPattern: UInt16(block[offset]) | UInt16(block[offset + 1]) << 8))
    }

    /// The four bits of a column when the first half of a run of `width` bytes' columns is in the low halves.
    private func nibble(_ block: [UInt8], at offset: Int, column: Int, width: Int) -> Int {
        let byte = Int(block[offset + column % width])
        return column < width ? byte & 15 : byte >> 4
    }

    private func bit(_ block: [UInt8], at offset: Int, _ bit: Int) -> Int {
        Int(block[offset + bit / 8]) >> (bit % 8) & 1
    }

    private func value(_ block: [UInt8], column: Int) -> Float {
        switch self {
        case .q40:
            return half(block, 0) * Float(nibble(block, at: 2, column: column, width: 16) - 8)
        case .q41:
            return half(block, 0) * Float(nibble(block, at: 4, column: column, width: 16)) + half(block, 2)
        case .q50:
            let code = nibble(block, at: 6, column: column, width: 16) + 16 * bit(block, at: 2, column)
            return half(block, 0) * Float(code - 16)
        case .q51:
            let code = nibble(block, at: 8, column: column, width: 16) + 16 * bit(block, at: 4, column)
            return half(block, 0) * Float(code) + half(block, 2)
        case .q80:
            return half(block, 0) * Float(Int8(bitPattern: block[2 + column]))
        case .q4K, .q5K:
            return valueQ45K(block, column: column)
        case .q6K:
            return valueQ6K(block, column: column)
        }
    }

    private func valueQ45K(_ block: [UInt8], column: Int) -> Float {
        let sub = column / 32
        let scales = block[4..<16].map(Int.init)
        let scale = sub < 4 ? scales[sub] & 63 : (scales[sub + 4] & 15) + 16 * (scales[sub - 4] >> 6)
        let minimum = sub < 4 ? scales[sub + 4] & 63 : (scales[sub + 4] >> 4) + 16 * (scales[sub] >> 6)
        let low = (self == .q5K ? 48 : 16) + column / 64 * 32
        var code = nibble(block, at: low, column: column % 64, width: 32)
        if self == .q5K { code += 16 * (Int(block[16 + column % 32]) >> sub & 1) }
        return half(block, 0) * Float(scale) * Float(code) - half(block, 2) * Float(minimum)
    }

    private func valueQ6K(_ block: [UInt8], column: Int) -> Float {
        let within = column % 128
        let low = nibble(block, at: column / 128 * 64, column: within, width: 64)
        let high = Int(block[128 + column / 128 * 32 + within % 32]) >> (within / 32 * 2) & 3
        let scale = Int8(bitPattern: block[192 + column / 16])
        return half(block, 208) * Float(scale) * Float(low + 16 * high - 32)
    }
}
