import DejaVuCore
import DejaVuKV
import DejaVuLib
import DejaVuTestStores
import Glibc
import NIOCore
import Testing

private let secret = "a key that only these tests have"
private let rowBytes = 1 << 20

private func ownEndpoint(silence: TimeSpan = .seconds(Int64(60))) throws -> LinkEndpoint {
    var limits = LinkLimits()
    limits.silenceTime = silence
    return endpoint(worker("test"), key: try ClusterKey(bytes: Array(secret.utf8)), limits: limits)
}

/// A child that takes frames, and a transport to it.
private func serveInChild(_ place: Place) async throws -> (Child, PeerTransport) {
    let child = try Child(["serve", place.address().description, secret, "\(rowBytes)"])
    let address = try LinkAddress(parsing: await child.untilSays("listening "))
    return (child, try await LinkTransport.connect(to: address, as: try ownEndpoint(), on: loop()))
}

@Test(arguments: Place.allCases)
func transport_receiverIsKilledAtAnyPoint_everyPostingEnds(place: Place) async throws {
    var generator = SeededGenerator(seed: 17)
    for round in 0..<roundCount {
        let (child, transport) = try await serveInChild(place)
        var postings: [Posting] = []
        for number in 1...4 as ClosedRange<UInt64> { _ = try await opened(number, at: transport) }
        let after = generator.next(below: 24)
        for index in 0..<24 {
            if index == after { child.send(SIGKILL) }
            let sequence = SequenceID(UInt64(index % 4 + 1))
            let position = index / 4
            postings.append(try await transport.post(sequence, position..<position + 1, rowBytes: rowBytes))
        }
        var committed = 0
        for posting in postings {
            do {
                _ = try await posting.receipt()
                committed += 1
            } catch {
                #expect(error.code == .network, "round \(round): \(error)")
            }
        }
        #expect(committed < 24)
        try await until("the end is told") { transport.end != nil }
        #expect(transport.end?.cause == .lost)
        try await until("the staging returns") { transport.staging.bytesInFlight == 0 }
    }
}

@Test(arguments: Place.allCases)
func transport_senderIsKilledAtAnyPoint_everyLandingIsAbandonedAndRowsAreWhole(place: Place) async throws {
    var generator = SeededGenerator(seed: 23)
    for _ in 0..<roundCount {
        let store = RecordingStore(rowBytes: rowBytes)
        let listener = try await LinkTransport.listen(
            at: place.address(), as: try ownEndpoint(), serving: StoreServer(["rows": store]), on: loop(),
            refused: { Issue.record("refused: \($0)") })
        let child = try Child(["send", listener.address.description, secret, "\(rowBytes)"])
        let count = generator.next(in: 1...60)
        try await until("frames come") { store.events.count >= count }
        child.send(SIGKILL)
        try await until("every landing ends") {
            let before = store.events.count
            try? await Task.sleep(for: .milliseconds(200))
            return store.underWay == 0 && store.events.count == before
        }
        for number in 1...4 as ClosedRange<UInt64> {
            let sequence = SequenceID(number)
            let watermark = try await store.watermark(of: sequence, layers: LayerRange(0, 1))
            #expect(store.rows(of: sequence) == TestFrames.rows(sequence, 0..<watermark, rowBytes: rowBytes))
        }
        await listener.close()
    }
}

@Test(arguments: Place.allCases)
func transport_receiverIsStopped_framesMissTheirDeadlineAndGoOnAfterwards(place: Place) async throws {
    let (child, transport) = try await serveInChild(place)
    let sequence = try await opened(1, at: transport)
    let first = try await transport.post(sequence, 0..<1, rowBytes: rowBytes)
    #expect(try await first.receipt() == .committed(watermark: 1))
    try await child.stop()
    let stalled = try await transport.post(sequence, 1..<2, rowBytes: rowBytes, within: .milliseconds(400))
    let error = await #expect(throws: DejaVuError.self) { try await stalled.receipt() }
    #expect(error?.code == .deadlineExceeded)
    let call = await #expect(throws: DejaVuError.self) {
        try await transport.watermark(
            of: sequence, layers: LayerRange(0, 1), in: "rows", within: .milliseconds(400))
    }
    #expect(call?.code == .deadlineExceeded)
    child.send(SIGCONT)
    // The stalled frame may have been whole when it was given up, and then it is committed.
    let watermark = try await transport.watermark(
        of: sequence, layers: LayerRange(0, 1), in: "rows", within: patience)
    let next = try await transport.post(sequence, watermark..<watermark + 1, rowBytes: rowBytes)
    let receipt = try await next.receipt()
    #expect(receipt == .committed(watermark: watermark + 1) || receipt == .known(watermark: watermark + 1))
    transport.close("done")
}
