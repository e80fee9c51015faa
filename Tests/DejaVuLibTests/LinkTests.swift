import DejaVuCore
import DejaVuLib
import NIOCore
import Testing

@Test(arguments: Place.allCases)
func link_messagesOfAllSizes_arriveInOrderAndUnchanged(place: Place) async throws {
    let door = Door()
    let listener = try await door.listen(at: place.address(), as: endpoint(controller()))
    let link = try await connect(endpoint(worker()), to: listener)
    #expect(link.peer == controller())
    let (back, inbox) = try await door.untilLink()
    #expect(back.peer == worker())
    var generator = SeededGenerator(seed: 3)
    let sent = [0, 1, 11, 12, 13, 255, 4096, 65535, 65536, 300_000, 5_000_000, 0].enumerated().map { index, size in
        message(
            UInt8(16 + index), header: (0..<min(size, 3000)).map { _ in UInt8(truncatingIfNeeded: generator.next()) },
            payload: [UInt8](repeating: UInt8(index), count: size))
    }
    for message in sent { link.send(message) }
    try await inbox.wait("the messages") { $0.messages.count == sent.count }
    #expect(inbox.messages == sent)
    link.close("done")
    await listener.close()
}

@Test(arguments: Place.allCases)
func link_writesWithoutFlush_leaveWithTheFlush(place: Place) async throws {
    let door = Door()
    let listener = try await door.listen(at: place.address(), as: endpoint(controller()))
    let inbox = Inbox()
    let link = try await connect(endpoint(worker()), to: listener, inbox: inbox)
    let (back, _) = try await door.untilLink()
    for index in 0..<100 { back.write(message(header: [UInt8(index)])) }
    back.flush()
    try await inbox.wait("the messages") { $0.messages.count == 100 }
    #expect(inbox.messages.map { $0.header.getInteger(at: 0) ?? 255 } == (0..<100).map { UInt8($0) })
    link.close("done")
    await listener.close()
}

@Test(arguments: Place.allCases)
func link_close_isOrderlyOnBothSides(place: Place) async throws {
    let door = Door()
    let listener = try await door.listen(at: place.address(), as: endpoint(controller()))
    let inbox = Inbox()
    let link = try await connect(endpoint(worker()), to: listener, inbox: inbox)
    let (_, other) = try await door.untilLink()
    link.send(message(payload: [UInt8](repeating: 1, count: 1 << 20)))
    link.close("the worker goes home")
    let here = try await inbox.untilClosed()
    let there = try await other.untilClosed()
    #expect(here.cause == .closedHere)
    #expect(there.cause == .closedByPeer)
    #expect(there.error.message.contains("the worker goes home"))
    #expect(other.messages.count == 1, "what was written before the close must arrive")
    link.send(message())
    #expect(!link.isOpen)
    await listener.close()
}

@Test(arguments: Place.allCases)
func link_peerLeavesEverythingUnread_isReportedThenDropped(place: Place) async throws {
    var limits = LinkLimits()
    limits.unsentBytesMax = 16 << 20
    limits.payloadBytesMax = 1 << 20
    let door = Door()
    let listener = try await door.listen(at: place.address(), as: endpoint(controller(), limits: limits))
    let mute = try RawPeer(connectedTo: listener.address)
    try mute.shakeHands(as: worker(), key: key)
    let (link, inbox) = try await door.untilLink()
    for _ in 0..<64 { link.send(message(payload: [UInt8](repeating: 0, count: 1 << 20))) }
    let end = try await inbox.untilClosed()
    #expect(end.cause == .dropped)
    #expect(end.error.code == .resourceExhausted)
    #expect(inbox.writability.first == false)
    await listener.close()
}

@Test func linkAddress_texts_parseAndPrintTheSame() throws {
    for text in ["unix:/tmp/x.sock", "disk:/tmp/x", "127.0.0.1:80", "[::1]:8080", "host.example:0", "10.0.0.7:65535"] {
        #expect(try LinkAddress(parsing: text).description == text)
    }
    for text in [
        "", ":", "host", "host:", "host:65536", "host:-1", ":80", "unix:", "disk:", "::1:80", "a b:1",
        "unix:/" + String(repeating: "x", count: 200),
    ] {
        #expect(throws: DejaVuError.self, "\(text)") { try LinkAddress(parsing: text) }
    }
    #expect(try LinkAddress(parsing: "127.3.4.5:80").isLocal)
    #expect(try LinkAddress(parsing: "[::1]:80").isLocal)
    #expect(try !LinkAddress(parsing: "127.evil.example:80").isLocal)
    #expect(try !LinkAddress(parsing: "0.0.0.0:80").isLocal)
}
