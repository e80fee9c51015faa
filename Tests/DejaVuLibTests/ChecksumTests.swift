import CChecksum
import DejaVuCore
import DejaVuLib
import NIOCore
import Testing

@Test func checksum_vectorsOfRFC3720_agree() {
    let vectors: [(bytes: [UInt8], checksum: UInt32)] = [
        ([UInt8](repeating: 0, count: 32), 0x8A91_36AA),
        ([UInt8](repeating: 0xFF, count: 32), 0x62A8_AB43),
        ((0..<32).map { UInt8($0) }, 0x46DD_794E),
        ((0..<32).reversed().map { UInt8($0) }, 0x113F_DB5C),
        (Array("123456789".utf8), 0xE306_9283),
        ([], 0),
    ]
    for (bytes, checksum) in vectors {
        #expect(Checksum.of(bytes) == checksum)
        #expect(bytes.withUnsafeBytes { cchecksum_update_portable(0, $0.baseAddress, $0.count) } == checksum)
    }
}

@Test func checksum_everyLengthAndAlignment_equalsBitByBit() {
    var generator = SeededGenerator(seed: 1)
    let bytes = (0..<2200).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
    for alignment in 0..<8 {
        var expected: UInt32 = 0
        for length in 0..<2000 {
            bytes.withUnsafeBytes { bytes in
                let piece = UnsafeRawBufferPointer(rebasing: bytes[alignment..<alignment + length])
                #expect(Checksum.of(piece) == expected, "\(length) bytes at \(alignment)")
                #expect(cchecksum_update_portable(0, piece.baseAddress, length) == expected)
            }
            expected = bitByBit(expected, bytes[alignment + length])
        }
    }
}

/// The definition: one division step for each bit.
private func bitByBit(_ checksum: UInt32, _ byte: UInt8) -> UInt32 {
    var state = ~checksum ^ UInt32(byte)
    for _ in 0..<8 { state = state >> 1 ^ (state & 1 == 1 ? 0x82F6_3B78 : 0) }
    return ~state
}

@Test func checksum_longBytesInAnyPieces_equalsPortable() {
    var generator = SeededGenerator(seed: 2)
    let bytes = (0..<100_000).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
    for _ in 0..<300 {
        let start = generator.next(below: 64)
        let end = generator.next(in: start...bytes.count)
        let expected = bytes.withUnsafeBytes {
            cchecksum_update_portable(0, $0.baseAddress.map { $0 + start }, end - start)
        }
        var whole = Checksum()
        var joined = Checksum()
        var copied = Checksum()
        var copy = [UInt8](repeating: 0, count: end - start)
        var at = start
        while at < end {
            let next = min(end, at + generator.next(in: 0...30_000))
            bytes.withUnsafeBytes { bytes in
                let piece = UnsafeRawBufferPointer(rebasing: bytes[at..<next])
                whole.update(piece)
                var own = Checksum()
                own.update(piece)
                joined.append(own)
                copy.withUnsafeMutableBytes {
                    copied.copy(piece, to: UnsafeMutableRawBufferPointer(rebasing: $0[(at - start)...]))
                }
            }
            at = next
        }
        #expect(whole.value == expected && whole.count == end - start)
        #expect(joined == whole)
        #expect(copied == whole)
        #expect(copy[...] == bytes[start..<end])
    }
}

@Test func checksum_oneFlippedBit_differs() {
    var bytes = [UInt8](repeating: 7, count: 20_000)
    let before = Checksum.of(bytes)
    for index in stride(from: 0, to: bytes.count, by: 37) {
        bytes[index] ^= 1 << (index % 8)
        #expect(Checksum.of(bytes) != before)
        bytes[index] ^= 1 << (index % 8)
    }
    #expect(Checksum.of(ByteBuffer(bytes: bytes)) == before)
}

@Test func checksumAppend_hugeCount_equalsZeroBytesWrittenOut() {
    var first = Checksum()
    first.update(ByteBuffer(string: "before"))
    var zeros = Checksum()
    let block = ByteBuffer(repeating: 0, count: 1 << 20)
    var plain = first
    for _ in 0..<70 {
        zeros.update(block)
        plain.update(block)
    }
    first.append(zeros)
    #expect(first == plain)
}
