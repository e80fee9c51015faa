import CKernels
import Testing

extension Kernels {
    @Suite struct Pack {
        @Test(arguments: WeightFormat.allCases)
        func unpackedRow_ofPackedMatrix_isItsDequantisation(format: WeightFormat) {
            var random = SplitMix(seed: 7)
            let (rows, columns) = (18, 512)
            let matrix = PackedMatrix(format, rows: rows, columns: columns, using: &random)
            for row in 0..<rows {
                var values = [Float](repeating: .nan, count: columns)
                dejavu_unpack_row(
                    format.rawValue, Int64(rows), Int64(columns), matrix.packed.base, Int64(row), &values)
                #expect(values == matrix.values(ofRow: row), "\(format) row \(row)")
            }
        }

        @Test(arguments: WeightFormat.allCases)
        func packedBytes_inAnySplit_areTheSameAndAllWritten(format: WeightFormat) {
            var bytes: [[UInt8]] = []
            for threads in [1, 2, 5, 9] {
                var random = SplitMix(seed: 8)
                bytes.append(
                    PackedMatrix(format, rows: 65, columns: 256, using: &random, threads: threads).packed.array)
            }
            #expect(bytes.allSatisfy { $0 == bytes[0] })
            #expect(bytes[0].count % 64 == 0)
        }

        @Test func shapes_thatCannotBePacked_areRefused() {
            for (type, rows, columns) in [
                (3, 0, 32), (3, 1, 0), (3, 1, 31), (3, 1, 48), (3, -1, 32), (3, 1, -32), (14, 1, 32), (12, 1, 128),
                (13, 1, 300), (0, 1, 32), (9, 1, 256), (-1, 1, 256), (1000, 1, 256), (3, Int64.max, 32),
                (3, 1, Int64.max - 31),
            ] as [(Int32, Int64, Int64)] {
                #expect(!dejavu_can_pack(type, rows, columns))
                #expect(dejavu_packed_size(type, rows, columns) == 0)
            }
            #expect(dejavu_can_pack(3, 1, 32))
        }

        /// Four bits stay four bits: what decoding reads per token.
        @Test func packedSize_ofFullPanels_isThatOfTheSource() {
            for format in WeightFormat.allCases {
                let source = 64 * 1024 / format.blockColumns * format.blockBytes
                let packed = dejavu_packed_size(format.rawValue, 64, 1024)
                #expect(Double(packed) <= Double(source) * 1.04, "\(format)")
            }
        }

        @Test func brokenContracts_endTheProcess() async {
            await #expect(processExitsWith: .failure) {
                let bytes = AlignedBytes(count: 4096)
                var out: [Float] = [0]
                dejavu_matmul(3, 1, 32, bytes.base + 4, bytes.base, 1, &out, 4, 0, 1)
            }
            await #expect(processExitsWith: .failure) {
                let bytes = AlignedBytes(count: 4096)
                var out: [Float] = [0]
                dejavu_matmul(3, 1, 33, bytes.base, bytes.base, 1, &out, 4, 0, 1)
            }
        }
    }
}
