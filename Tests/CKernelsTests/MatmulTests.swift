import CKernels
import Testing

/// All tests of the target, one after the other: some choose the variant that everything then runs on.
@Suite(.serialized) enum Kernels {}

extension Kernels {
    @Suite struct Matmul {
        static let shapes = [(1, 256), (17, 512), (50, 768), (35, 2304)]

        @Test(arguments: WeightFormat.allCases)
        func product_ofRandomMatrix_isCloseToDoublePrecision(format: WeightFormat) {
            var random = SplitMix(seed: 1)
            for (rows, columns) in Self.shapes {
                let matrix = PackedMatrix(format, rows: rows, columns: columns, using: &random)
                let count = 3
                let x = random.activations(count * columns)
                let out = matrix.times(quantized(x, rows: count), count: count)
                for row in 0..<rows {
                    let weights = matrix.values(ofRow: row).map(Double.init)
                    for record in 0..<count {
                        let own = x[record * columns..<(record + 1) * columns].map(Double.init)
                        var exact = 0.0
                        var squares = 0.0
                        // A code is off by at most half a step of its block, independently: the error of the sum is a
                        // random walk whose deviation is step / sqrt(12) times the norm of the weights; rounding the
                        // scale adds 2^-11.
                        for block in 0..<columns / 32 {
                            let columnsOfBlock = block * 32..<(block + 1) * 32
                            let step = own[columnsOfBlock].map(abs).reduce(0, max) / 127
                            for column in columnsOfBlock {
                                exact += weights[column] * own[column]
                                let error = step * weights[column]
                                squares +=
                                    error * error / 12 + own[column] * weights[column] * own[column]
                                    * weights[column] * 0x1p-20
                            }
                        }
                        let error = abs(Double(out[record * rows + row]) - exact)
                        #expect(error <= 6 * squares.squareRoot(), "\(format) \(rows)x\(columns) row \(row)")
                    }
                }
            }
        }

        @Test(arguments: WeightFormat.allCases)
        func product_ofQuantizedRecords_isTheirDotUpToRounding(format: WeightFormat) {
            var random = SplitMix(seed: 2)
            let (rows, columns) = (19, 1024)
            let matrix = PackedMatrix(format, rows: rows, columns: columns, using: &random)
            let records = quantized(random.activations(columns), rows: 1)
            let out = matrix.times(records, count: 1)
            let blocks = (0..<columns / 32).map { RecordBlock(records, columns: columns, row: 0, block: $0) }
            let x = blocks.flatMap(\.values).map(Double.init)
            for row in 0..<rows {
                let terms = zip(matrix.values(ofRow: row), x).map { Double($0) * $1 }
                let exact = terms.reduce(0, +)
                // Minima multiply a block's sum, which is rounded to half precision.
                let size = terms.map(abs).reduce(0, +)
                #expect(abs(Double(out[row]) - exact) <= 2e-4 * size)
            }
        }

        @Test(arguments: WeightFormat.allCases)
        func rows_inAnyCompanyVariantAndSplit_areBitwiseEqual(format: WeightFormat) {
            var random = SplitMix(seed: 3)
            let (rows, columns, total) = (50, 512, 512)
            let matrix = PackedMatrix(format, rows: rows, columns: columns, using: &random)
            let records = quantized(random.activations(total * columns), rows: total)
            let expected = withVariant(Int32(DEJAVU_VARIANT_PORTABLE)) { matrix.times(records, count: total).bits }
            for variant in availableVariants {
                for count in [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 512] {
                    let first = count == total ? 0 : Int(random.next() % UInt64(total - count))
                    let threads = Int(random.next() % 5) + 1
                    let out = withVariant(variant) {
                        matrix.times(records, first: first, count: count, threads: threads)
                    }
                    let same = out.bits[...] == expected[first * rows..<(first + count) * rows]
                    #expect(same, "\(format) variant \(variant), \(count) rows from \(first), \(threads) threads")
                }
            }
        }

        /// More columns than fit into the scratch that tiles work from, more records than are taken together.
        @Test(arguments: WeightFormat.allCases)
        func rows_ofLongMatrix_areBitwiseEqualInAllVariants(format: WeightFormat) {
            var random = SplitMix(seed: 4)
            let (rows, columns, total) = (18, 8448, 150)
            let matrix = PackedMatrix(format, rows: rows, columns: columns, using: &random)
            let records = quantized(random.activations(total * columns), rows: total)
            let expected = withVariant(Int32(DEJAVU_VARIANT_PORTABLE)) { matrix.times(records, count: total).bits }
            for variant in availableVariants {
                #expect(withVariant(variant) { matrix.times(records, count: total, threads: 2).bits } == expected)
                let last = withVariant(variant) { matrix.times(records, first: total - 1, count: 1).bits }
                #expect(last[...] == expected[(total - 1) * rows..<total * rows])
            }
        }

        @Test(arguments: WeightFormat.allCases)
        func smallestShapes_inAllVariants_areBitwiseEqualAndStayInside(format: WeightFormat) {
            var random = SplitMix(seed: 5)
            for rows in [1, 2, 15, 16, 17] {
                let columns = format.blockColumns
                let matrix = PackedMatrix(format, rows: rows, columns: columns, using: &random, threads: 3)
                let records = quantized(random.activations(6 * columns), rows: 6)
                for count in [1, 6] {
                    let expected = withVariant(Int32(DEJAVU_VARIANT_PORTABLE)) {
                        matrix.times(records, count: count).bits
                    }
                    for variant in availableVariants {
                        // A row of the result is followed by one float that nobody may touch.
                        let stride = rows + 1
                        var out = [Float](repeating: 7, count: count * stride)
                        withVariant(variant) {
                            dejavu_matmul(
                                format.rawValue, Int64(rows), Int64(columns), matrix.packed.base, records.base,
                                Int64(count), &out, stride * 4, 0, 1)
                        }
                        for row in 0..<count {
                            let own = out[row * stride..<row * stride + rows].map(\.bitPattern)
                            #expect(own[...] == expected[row * rows..<(row + 1) * rows])
                            #expect(out[row * stride + rows] == 7)
                        }
                    }
                }
            }
        }

        @Test func product_withNoRecordsOrMoreThreadsThanPanels_isComplete() {
            var random = SplitMix(seed: 6)
            let matrix = PackedMatrix(.q41, rows: 17, columns: 64, using: &random)
            let records = quantized(random.activations(64), rows: 1)
            #expect(matrix.times(records, count: 0).isEmpty)
            #expect(matrix.times(records, count: 1, threads: 7).bits == matrix.times(records, count: 1).bits)
        }
    }
}
