import CKernels
import Testing

extension Kernels {
    @Suite struct Activations {
        @Test func codes_ofRandomRow_areWithinHalfAStep() {
            var random = SplitMix(seed: 9)
            let columns = 2048
            let x = random.activations(columns)
            let records = quantized(x, rows: 1)
            for block in 0..<columns / 32 {
                let found = RecordBlock(records, columns: columns, row: 0, block: block)
                let own = x[block * 32..<(block + 1) * 32]
                let step = own.map(abs).reduce(0, max) / 127
                #expect(found.scale == Float(Float16(step)))
                for (value, code) in zip(own, found.codes) {
                    #expect(
                        Float(code) == (value * (1 / step)).rounded(.toNearestOrEven) || step == 0
                            || abs(value / step - Float(code)) <= 0.5001)
                    #expect(abs(Int(code)) <= 127)
                }
                let sum = step * Float(found.codes.map(Int.init).reduce(0, +))
                #expect(found.sum == Float(Float16(sum)))
            }
        }

        @Test func codes_ofExtremeRows_keepTheirMeaning() {
            let tiny = [Float](repeating: 1e-30, count: 32)
            let huge = [Float](repeating: -1e9, count: 32)
            let half = [Float](repeating: 0.01, count: 32)
            let records = quantized(tiny + huge + half + [Float](repeating: 0, count: 32), rows: 4)
            let blocks = (0..<4).map { RecordBlock(records, columns: 32, row: $0, block: 0) }
            #expect(blocks[0].values.allSatisfy { $0 == 0 })
            #expect(blocks[1].values.allSatisfy { abs($0 / -1e9 - 1) < 1e-6 })
            #expect(blocks[2].values.allSatisfy { abs($0 / 0.01 - 1) < 1e-3 })
            #expect(blocks[3].values.allSatisfy { $0 == 0 } && blocks[3].sum == 0)
        }

        @Test(arguments: [Float.nan, .infinity, -.infinity])
        func product_withValueThatIsNotFinite_isNaN(value: Float) {
            var random = SplitMix(seed: 10)
            var x = random.activations(64)
            x[40] = value
            for format in [WeightFormat.q41, .q80] {
                let matrix = PackedMatrix(format, rows: 20, columns: 64, using: &random)
                for variant in availableVariants {
                    let out = withVariant(variant) { matrix.times(quantized(x, rows: 1), count: 1) }
                    #expect(out.allSatisfy { $0.isNaN })
                }
            }
        }

        @Test func norm_ofRandomRows_isThatOfDoublePrecision() {
            var random = SplitMix(seed: 11)
            let (rows, columns, epsilon) = (3, 576, Float(1e-5))
            let x = random.activations(rows * columns)
            let y = random.activations(rows * columns)
            let weight = random.activations(columns)
            let size = dejavu_activation_row_size(Int64(columns))
            let records = AlignedBytes(count: rows * size)
            var sum = [Float](repeating: 0, count: rows * columns)
            dejavu_add_rms_norm_quantize_rows(
                x, columns * 4, y, columns * 4, &sum, columns * 4, weight, epsilon, Int64(rows), Int64(columns),
                records.base, 0, 1)
            #expect(sum == zip(x, y).map(+))
            for row in 0..<rows {
                let own = sum[row * columns..<(row + 1) * columns].map(Double.init)
                let mean = own.map { $0 * $0 }.reduce(0, +) / Double(columns)
                let normed = zip(own, weight).map { $0 / (mean + Double(epsilon)).squareRoot() * Double($1) }
                expectClose(records, columns: columns, row: row, to: normed)
            }
            let again = AlignedBytes(count: rows * size)
            dejavu_rms_norm_quantize_rows(
                sum, columns * 4, weight, epsilon, Int64(rows), Int64(columns), again.base, 0, 1)
            #expect(again.array == records.array)
        }

        @Test func swiglu_ofRandomRows_isThatOfDoublePrecision() {
            var random = SplitMix(seed: 12)
            let columns = 1536
            let gate = random.activations(columns).map { $0 * 6 }
            let up = random.activations(columns)
            let records = AlignedBytes(count: dejavu_activation_row_size(Int64(columns)))
            dejavu_swiglu_quantize_rows(gate, columns * 4, up, columns * 4, 1, Int64(columns), records.base, 0, 1)
            let exact = zip(gate, up).map { gate, up in
                Double(gate) / (1 + exponential(-Double(gate))) * Double(up)
            }
            expectClose(records, columns: columns, row: 0, to: exact)
        }

        @Test func records_inAllVariantsAndSplits_areBitwiseEqual() {
            var random = SplitMix(seed: 13)
            let (rows, columns) = (9, 1056)
            let x = random.activations(rows * columns).map { $0 * 30 }
            let y = random.activations(rows * columns)
            let weight = random.activations(columns)
            var all: [[UInt8]] = []
            for variant in availableVariants {
                for threads in 1...3 {
                    all.append(withVariant(variant) { everything(x, y, weight, rows: rows, threads: threads) })
                }
            }
            #expect(all.allSatisfy { $0 == all[0] })
        }

        /// The records of all operations, one after the other.
        private func everything(_ x: [Float], _ y: [Float], _ weight: [Float], rows: Int, threads: Int) -> [UInt8] {
            let columns = x.count / rows
            let bytes = rows * dejavu_activation_row_size(Int64(columns))
            let norms = AlignedBytes(count: bytes)
            let sums = AlignedBytes(count: bytes)
            let gated = AlignedBytes(count: bytes)
            var sum = x
            for thread in 0..<Int32(threads) {
                dejavu_rms_norm_quantize_rows(
                    x, columns * 4, nil, 1e-5, Int64(rows), Int64(columns), norms.base, thread, Int32(threads))
                sum.withUnsafeMutableBufferPointer { sum in
                    dejavu_add_rms_norm_quantize_rows(
                        sum.baseAddress, columns * 4, y, columns * 4, sum.baseAddress, columns * 4, weight, 1e-5,
                        Int64(rows), Int64(columns), sums.base, thread, Int32(threads))
                }
                dejavu_swiglu_quantize_rows(
                    x, columns * 4, y, columns * 4, Int64(rows), Int64(columns), gated.base, thread, Int32(threads))
            }
            return quantized(x, rows: rows, threads: threads).array + norms.array + sums.array + gated.array
        }

        /// Each value is off by at most half a step, and by what rounding the scale to half precision moves it.
        private func expectClose(_ records: AlignedBytes, columns: Int, row: Int, to exact: [Double]) {
            for block in 0..<columns / 32 {
                let own = exact[block * 32..<(block + 1) * 32]
                let step = own.map(abs).reduce(0, max) / 127
                let found = RecordBlock(records, columns: columns, row: row, block: block).values
                for (value, found) in zip(own, found) {
                    #expect(abs(value - Double(found)) <= 0.501 * step + abs(value) * 0x1p-11 + 0x1p-17)
                }
            }
        }

        /// exp by halving the argument ten times and a Taylor series: independent of the kernel's, good to 1e-12.
        private func exponential(_ x: Double) -> Double {
            let small = x / 1024
            var term = 1.0
            var series = 1.0
            for n in 1...12 {
                term *= small / Double(n)
                series += term
            }
            return (0..<10).reduce(series) { power, _ in power * power }
        }
    }
}
