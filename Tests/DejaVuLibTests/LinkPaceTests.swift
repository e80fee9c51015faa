import DejaVuCore
import DejaVuLib
import NIOCore
import Testing

/// A link over an emulated wire: both ends, and what the far one hears.
private func withWire(
    _ pace: LinkPace, _ body: (Link, Inbox, Inbox) async throws -> Void
) async throws {
    var limits = LinkLimits()
    (limits.writableBytesHigh, limits.writableBytesLow) = (50_000, 20_000)
    let door = Door()
    let listener = try await door.listen(at: Place.unix.address(), as: endpoint(controller(), limits: limits))
    let here = Inbox()
    let link = try await connect(endpoint(worker(), limits: limits, pace: pace), to: listener, inbox: here)
    let (_, there) = try await door.untilLink()
    try await body(link, here, there)
    await listener.close()
}

@Test func linkPace_manyMessages_arriveInOrderAndNotBeforeTheirTime() async throws {
    let start = ContinuousClock.now
    try await withWire(LinkPace(bytesPerSecond: 1e6, delay: .milliseconds(20))) { link, here, there in
        for number in 0..<10 {
            link.send(message(20, header: [UInt8(number)], payload: [UInt8](repeating: 0, count: 10_000)))
        }
        try await here.wait("a full link") { $0.writability.first == false }
        try await there.wait("all messages") { $0.messages.count == 10 }
        // 100 kB at 1 MB/s, and the way.
        #expect(ContinuousClock.now - start >= .milliseconds(120))
        #expect(there.messages.map { Array($0.header.readableBytesView) } == (0..<10).map { [UInt8($0)] })
        try await here.wait("a link that takes more") { $0.writability == [false, true] }
    }
}

@Test func linkPace_closedLink_stillSaysWhatItWrote() async throws {
    try await withWire(LinkPace(bytesPerSecond: 1e6, delay: .milliseconds(5))) { link, _, there in
        link.send(message(20, payload: [UInt8](repeating: 1, count: 30_000)))
        link.close("enough")
        let end = try await there.untilClosed()
        #expect(there.messages.count == 1 && "\(end)".contains("enough"))
    }
}

@Test func linkPace_manyLinksOfOneWire_shareItsRate() async throws {
    let pace = LinkPace(bytesPerSecond: 1e6, delay: .zero)
    let start = ContinuousClock.now
    try await withWire(pace) { first, _, atFirst in
        try await withWire(pace) { second, _, atSecond in
            for link in [first, second] { link.send(message(20, payload: [UInt8](repeating: 0, count: 50_000))) }
            for inbox in [atFirst, atSecond] { try await inbox.wait("the message") { $0.messages.count == 1 } }
            #expect(ContinuousClock.now - start >= .milliseconds(100))
        }
    }
}
