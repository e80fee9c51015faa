import DejaVuCore
import DejaVuLib
import NIOCore
import Testing

/// After whatever a hostile peer did, an honest one must still get in.
private func expectServes(_ listener: LinkListener, _ door: Door) async throws {
    let before = door.links.count
    let link = try await connect(endpoint(worker("honest")), to: listener)
    for _ in 0..<2000 where door.links.count == before { try await Task.sleep(for: .milliseconds(5)) }
    #expect(door.links.count == before + 1)
    link.close("done")
}

@Test(arguments: Place.allCases)
func listener_garbage_isDroppedAndOthersAreServed(place: Place) async throws {
    let door = Door()
    let listener = try await door.listen(at: place.address(), as: endpoint(controller()))
    var generator = SeededGenerator(seed: 77)
    let texts: [[UInt8]] = [
        Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), [UInt8](repeating: 0xFF, count: 4096),
        [UInt8](repeating: 0, count: 4096), [1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0x7F, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF],
        (0..<5000).map { _ in UInt8(truncatingIfNeeded: generator.next()) },
        RawPeer.bytes(of: message(1)), RawPeer.bytes(of: message(2, header: [1, 2, 3])), RawPeer.bytes(of: message(99)),
        RawPeer.bytes(of: message(4)),
    ]
    for (index, text) in texts.enumerated() {
        let peer = try RawPeer(connectedTo: listener.address)
        peer.say(text)
        let last = try peer.hearToTheEnd()
        #expect(last.map { $0.kind == 3 } ?? true, "case \(index): the last word is a refusal")
    }
    #expect(try await door.untilRefusals(texts.count).count == texts.count)
    #expect(door.links.isEmpty)
    try await expectServes(listener, door)
    await listener.close()
}

@Test func listener_oldVersion_isToldBothVersions() async throws {
    let door = Door()
    let listener = try await door.listen(at: Place.unix.address(), as: endpoint(controller()))
    let peer = try RawPeer(connectedTo: listener.address)
    var writer = ByteWriter()
    writer.write(raw: Array("DJVL".utf8))
    writer.write(99 as UInt32)
    writer.write(raw: [UInt8](repeating: 1, count: 32))
    peer.say(LinkMessage(kind: Handshake.Kind.hello, header: writer.buffer))
    let answer = try #require(try peer.hearToTheEnd())
    let error = Handshake.refusal(in: answer)
    #expect(error.code == .mismatch)
    #expect(error.message.contains("speaks 3") && error.message.contains("speaks 99"), "\(error)")
    await listener.close()
}

@Test(arguments: [0, 3])
func listener_halfAHandshake_isDroppedAtTheDeadline(bytes: Int) async throws {
    var limits = LinkLimits()
    limits.handshakeTime = .milliseconds(150)
    let door = Door()
    let listener = try await door.listen(at: Place.tcp.address(), as: endpoint(controller(), limits: limits))
    let peer = try RawPeer(connectedTo: listener.address)
    peer.say([UInt8](RawPeer.bytes(of: message(1)).prefix(bytes)))
    let last = try peer.hearToTheEnd()
    #expect(last.map { Handshake.refusal(in: $0).code } == .deadlineExceeded)
    #expect(try await door.untilRefusals().map(\.code) == [.deadlineExceeded])
    try await expectServes(listener, door)
    await listener.close()
}

@Test func listener_crowdOfSilentPeers_isLimitedAndLeaves() async throws {
    var limits = LinkLimits()
    limits.handshakeTime = .milliseconds(200)
    limits.handshakeCountMax = 4
    let door = Door()
    let listener = try await door.listen(at: Place.unix.address(), as: endpoint(controller(), limits: limits))
    let crowd = try (0..<12).map { _ in try RawPeer(connectedTo: listener.address) }
    for peer in crowd { _ = try peer.hearToTheEnd() }
    try await expectServes(listener, door)
    await listener.close()
}

@Test func link_halfAMessage_isDroppedAtTheDeadline() async throws {
    var limits = LinkLimits()
    limits.messageTime = .milliseconds(150)
    let door = Door()
    let listener = try await door.listen(at: Place.unix.address(), as: endpoint(controller(), limits: limits))
    let peer = try RawPeer(connectedTo: listener.address)
    try peer.shakeHands(as: worker(), key: key)
    peer.say([UInt8](RawPeer.bytes(of: message(payload: [UInt8](repeating: 0, count: 100))).dropLast()))
    let (_, inbox) = try await door.untilLink()
    let end = try await inbox.untilClosed()
    #expect(end.cause == .dropped && end.error.code == .deadlineExceeded)
    #expect(inbox.messages.isEmpty)
    await listener.close()
}

@Test func link_oversizedOrForbiddenMessage_isDropped() async throws {
    var limits = LinkLimits()
    limits.payloadBytesMax = 1000
    limits.headerBytesMax = 1000
    for bytes in [
        RawPeer.bytes(of: message(payload: [UInt8](repeating: 0, count: 1001))),
        RawPeer.bytes(of: message(header: [UInt8](repeating: 0, count: 1001))), RawPeer.bytes(of: message(1)),
        RawPeer.bytes(of: message(15)), [20, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let door = Door()
        let listener = try await door.listen(at: Place.unix.address(), as: endpoint(controller(), limits: limits))
        let peer = try RawPeer(connectedTo: listener.address)
        try peer.shakeHands(as: worker(), key: key)
        peer.say(RawPeer.bytes(of: message(payload: [UInt8](repeating: 0, count: 1000))))
        peer.say(bytes)
        let (_, inbox) = try await door.untilLink()
        let end = try await inbox.untilClosed()
        #expect(end.cause == .dropped && end.error.code == .network)
        #expect(inbox.messages.count == 1)
        await listener.close()
    }
}

@Test func link_peerVanishes_isLostNotClosed() async throws {
    let door = Door()
    let listener = try await door.listen(at: Place.tcp.address(), as: endpoint(controller()))
    do {
        let peer = try RawPeer(connectedTo: listener.address)
        try peer.shakeHands(as: worker(), key: key)
        _ = try await door.untilLink()
    }
    let end = try await door.links[0].1.untilClosed()
    #expect(end.cause == .lost)
    await listener.close()
}

@Test func handshake_replayedBytes_areRefused() async throws {
    let door = Door()
    let listener = try await door.listen(at: Place.unix.address(), as: endpoint(controller()))
    let honest = try RawPeer(connectedTo: listener.address)
    let said = try honest.shakeHands(as: worker(), key: key)
    let replay = try RawPeer(connectedTo: listener.address)
    for message in said { replay.say(message) }
    let answer = try #require(try replay.hearToTheEnd())
    #expect(Handshake.refusal(in: answer).message.contains("cluster key"))
    #expect(try await door.untilRefusals().count == 1)
    await listener.close()
}

@Test func handshake_acceptorThatEchoes_provesNothing() throws {
    var initiator = Handshake(
        side: .initiator, identity: worker(), key: key, nonce: Handshake.freshNonce(), judge: { _ in nil })
    let hello = initiator.start()
    let output = try initiator.receive(hello)
    let echo = try #require(output.send)
    #expect(throws: DejaVuError.self) { try initiator.receive(echo) }
}
