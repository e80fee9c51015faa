import DejaVuCore
import DejaVuKV
import DejaVuLib
import DejaVuTestStores
import NIOCore
import Testing

/// What becomes of a frame with this header; it must leave no trace.
private func outcome(
    _ kind: Kind, _ header: FrameHeader, to name: String = "rows"
) async throws -> DejaVuError? {
    let store = RecordingStore(rowBytes: 1000)
    var caught: DejaVuError?
    try await withFabric(kind, ["rows": store]) { fabric in
        let sequence = try await opened(1, at: fabric.near)
        let staging = try await fabric.near.prepare(header.payloadBytes, priority: .replica, within: patience)
        staging.fill { _ = $0.writeRepeatingByte(1, count: header.payloadBytes) }
        let posting = fabric.near.post(
            FramePost(header: header, store: name, priority: .replica, within: patience), rows: staging)
        do { _ = try await posting.receipt() } catch let error as DejaVuError { caught = error }
        // The link lives on, and the next frame is taken.
        let good = try await fabric.near.post(sequence, 0..<1, rowBytes: 1000)
        #expect(try await good.receipt() == .committed(watermark: 1))
        #expect(store.events.filter { if case .committed = $0 { true } else { false } }.count == 1)
    }
    return caught
}

@Test(arguments: Kind.allCases)
func transport_framesThatTheStoreRefuses_failWithItsReason(kind: Kind) async throws {
    let one = SequenceID(1)
    let class8 = try await outcome(kind, TestFrames.header(one, 0..<4000, rowBytes: 1000, numericClass: 8))
    #expect(class8?.code == .mismatch && class8?.message.contains("numeric class") == true)
    let oldTicket = try await outcome(kind, TestFrames.header(one, 0..<4000, rowBytes: 1000, ticket: 5))
    #expect(oldTicket?.code == .refused)
    let otherWriter = try await outcome(
        kind, TestFrames.header(one, 0..<4000, rowBytes: 1000, writer: Incarnation(41)))
    #expect(otherWriter?.code == .refused)
    let otherRows = try await outcome(kind, TestFrames.header(one, 0..<4000, rowBytes: 999))
    #expect(otherRows?.code == .mismatch)
    let noStore = try await outcome(kind, TestFrames.header(one, 0..<1, rowBytes: 1000), to: "attic")
    #expect(noStore?.code == .notFound)
}

@Test(arguments: Kind.allCases)
func transport_damagedBytes_areRefusedAndCommitNothing(kind: Kind) async throws {
    let store = RecordingStore(rowBytes: 1 << 20)
    try await withFabric(kind, ["rows": store]) { fabric in
        let sequence = try await opened(1, at: fabric.near)
        let peer = try await PeerStore.named("rows", over: fabric.near, priority: .replica, within: patience)
        let header = TestFrames.header(sequence, 0..<1, rowBytes: 1 << 20)
        let rows = TestFrames.rows(sequence, 0..<1, rowBytes: 1 << 20)
        guard case .land(let landing) = try await peer.begin(header) else {
            throw DejaVuError(.internalError, "not admitted")
        }
        var damaged = rows
        damaged.setInteger(UInt8(1) ^ (rows.getInteger(at: 500_000) ?? 0), at: 500_000)
        try await landing.write(damaged)
        let error = await #expect(throws: DejaVuError.self) { try await landing.finish(checksum: Checksum.of(rows)) }
        #expect(error?.code == .mismatch)
        #expect(try await peer.watermark(of: sequence, layers: LayerRange(0, 1)) == 0)
        let good = try await fabric.near.post(sequence, 0..<1, rowBytes: 1 << 20)
        #expect(try await good.receipt() == .committed(watermark: 1))
    }
}
