import DejaVuCore
import DejaVuKV
import DejaVuLib
import NIOCore
import Testing

private let time = TimeSpan.seconds(Int64(60))

private func address(of buffer: ByteBuffer) -> Int {
    buffer.withVeryUnsafeBytes { Int(bitPattern: $0.baseAddress) }
}

private func take(_ pool: StagingPool, _ count: Int) async throws -> Staging {
    try await pool.take(count, priority: .replica, within: time)
}

@Test func stagingPool_bufferComesBack_isUsedAgainAndEmpty() async throws {
    let pool = StagingPool(bytesMax: 1 << 20)
    var places: Set<Int> = []
    for round in 0..<10 {
        let lease = try await take(pool, 100_000)
        #expect(lease.contents.readableBytes == 0)
        #expect(lease.contents.writableBytes >= 100_000)
        var bytes = lease.detach()
        bytes.writeRepeatingByte(UInt8(round), count: 100_000)
        lease.replace(with: bytes)
        places.insert(address(of: bytes))
        bytes = ByteBuffer()
        lease.release()
    }
    #expect(places.count == 1)
    #expect(pool.bytesInFlight == 0)
}

@Test func stagingPool_sliceIsStillHeld_staysAsItIs() async throws {
    let pool = StagingPool(bytesMax: 1 << 20)
    var slices: [ByteBuffer] = []
    for round in 0..<5 {
        let lease = try await take(pool, 50_000)
        lease.fill { _ = $0.writeRepeatingByte(UInt8(round), count: 50_000) }
        if let slice = lease.contents.getSlice(at: 7, length: 40_000) { slices.append(slice) }
        lease.release()
    }
    for (round, slice) in slices.enumerated() {
        #expect(slice.readableBytesView.allSatisfy { $0 == UInt8(round) })
    }
    #expect(Set(slices.map(address)).count == 5)
}

@Test func stagingPool_foreignBuffer_isSentAndNotKept() async throws {
    let (pool, other) = (StagingPool(bytesMax: 1 << 20), StagingPool(bytesMax: 1 << 20))
    let lease = try await take(other, 60_000)
    lease.fill { _ = $0.writeRepeatingByte(1, count: 60_000) }
    let place = address(of: lease.contents)
    let leave = try await take(pool, 60_000)
    leave.lend(lease.contents)
    #expect(leave.contents == lease.contents)
    #expect(pool.bytesInFlight == 60_000)
    leave.release()
    leave.release()
    lease.release()
    #expect(pool.bytesInFlight == 0 && other.bytesInFlight == 0)
    // The one it came from may use it again, the other one has its own.
    #expect(address(of: try await take(pool, 60_000).contents) != place)
    #expect(address(of: try await take(other, 60_000).contents) == place)
}
