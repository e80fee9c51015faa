import DejaVuCore
import DejaVuKV
import DejaVuLib
import DejaVuTestStores
import NIOCore
import Synchronization
import Testing

/// A peer that has the key and does not keep the protocol, against a server of frames.
private func withHostilePeer(
    _ body: (RawPeer, RecordingStore) async throws -> Void
) async throws -> LinkEnd? {
    let store = RecordingStore(rowBytes: 1000)
    try await store.open(TestFrames.ticket(SequenceID(1)), tokens: [])
    let ends = Mutex<[LinkEnd]>([])
    let listener = try await LinkTransport.listen(
        at: .tcp(host: "127.0.0.1", port: 0), as: endpoint(worker("far")), serving: StoreServer(["rows": store]),
        on: loop(), opened: { $0.whenEnded { end in ends.withLock { $0.append(end) } } },
        refused: { Issue.record("refused: \($0)") })
    do {
        let peer = try RawPeer(connectedTo: listener.address)
        try peer.shakeHands(as: worker("hostile"), key: key)
        try await body(peer, store)
    }
    try await until("the link ends") { !ends.withLock { $0 }.isEmpty }
    try await until("every landing ends") { store.underWay == 0 }
    await listener.close()
    return ends.withLock { $0 }.first
}

private func begin(
    _ number: UInt64, _ positions: Range<Int>, rowBytes: Int = 1000, priority: StreamPriority = .replica
) -> LinkMessage {
    PeerMessage.begin(
        number, store: "rows", priority, asks: false,
        TestFrames.header(SequenceID(1), positions, rowBytes: rowBytes)
    ).message
}

private func chunk(_ number: UInt64, _ bytes: Int) -> LinkMessage {
    chunk(number, ByteBuffer(repeating: 1, count: bytes))
}

private func chunk(_ number: UInt64, _ bytes: ByteBuffer) -> LinkMessage {
    var header = ByteWriter()
    header.write(number)
    return LinkMessage(kind: PeerProtocol.Kind.chunk, header: header.buffer, payload: bytes)
}

/// Each breaks the protocol; none may do more than end its own link.
private let breaches: [(name: String, messages: [LinkMessage])] = [
    ("an unknown kind", [message(99)]),
    ("bytes of no frame", [chunk(2, 10)]),
    ("a chunk that is too long", [begin(2, 0..<1000), chunk(2, (256 << 10) + 1)]),
    ("more bytes than the header says", [begin(2, 0..<1), chunk(2, 1001)]),
    ("an end before the bytes", [begin(2, 0..<1), PeerMessage.end(2, checksum: 1).message]),
    ("an end of nothing", [PeerMessage.end(2, checksum: 1).message]),
    ("a number that is in use", [begin(2, 0..<1), begin(2, 0..<1)]),
    ("a number of the other kind", [begin(3, 0..<1)]),
    ("credit for nothing", [PeerMessage.credit(2, bytes: 10).message]),
    ("a receipt for nothing", [PeerMessage.receipt(2, .committed(watermark: 1)).message]),
    ("an answer to nothing", [PeerMessage.answer(3, .done).message]),
    ("too many frames", (1...17).map { begin(UInt64($0 * 2), 0..<1) }),
    (
        "more bytes than were asked for",
        [begin(2, 1000..<2000), begin(4, 0..<3000)] + (0..<10).map { _ in chunk(4, 256 << 10) }
    ),
    (
        "a payload where none belongs",
        [message(PeerProtocol.Kind.abandon, header: [UInt8](repeating: 0, count: 8), payload: [1])]
    ),
]

@Test(arguments: breaches.indices)
func session_peerBreaksTheProtocol_isDroppedAndItsFramesAreAbandoned(index: Int) async throws {
    let breach = breaches[index]
    let end = try await withHostilePeer { peer, store in
        store.setGate(of: SequenceID(1), open: false)
        for message in breach.messages { peer.say(message) }
        _ = try peer.hearToTheEnd()
    }
    #expect(end?.cause == .dropped, "\(breach.name): \(String(describing: end))")
}

@Test func session_peerSendsRandomMessages_neverCommitsNorCrashes() async throws {
    var generator = SeededGenerator(seed: 77)
    for _ in 0..<60 {
        _ = try await withHostilePeer { peer, store in
            peer.say(begin(2, 0..<4))
            for _ in 0..<generator.next(in: 1...20) {
                var good = [
                    begin(UInt64(generator.next(below: 8)), 0..<generator.next(in: 1...4)),
                    chunk(2, generator.next(below: 500)), PeerMessage.end(2, checksum: 0).message,
                    PeerMessage.abandon(2).message, PeerMessage.call(3, store: "rows", .describe).message,
                    PeerMessage.call(5, store: "rows", .release(SequenceID(9))).message,
                ][generator.next(below: 6)]
                if generator.next(below: 2) == 0 { good = damaged(good, &generator) }
                peer.say(good)
            }
            #expect(!store.events.contains { if case .committed = $0 { true } else { false } })
        }
    }
}

/// Half of them with a checksum that is right: they come from a hostile peer, not from a bad wire.
private func damaged(_ original: LinkMessage, _ generator: inout SeededGenerator) -> LinkMessage {
    var bytes = [UInt8](original.header.readableBytesView)
    let isSealed = original.payload.readableBytes == 0 && generator.next(below: 2) == 0
    if isSealed { bytes.removeLast(4) }
    switch generator.next(below: 4) {
    case 0: bytes.removeLast(generator.next(in: 1...bytes.count))
    case 1: bytes.append(UInt8(truncatingIfNeeded: generator.next()))
    case 2: bytes = (0..<generator.next(below: 300)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
    default: bytes[generator.next(below: bytes.count)] ^= UInt8(1 << generator.next(below: 8))
    }
    if isSealed { return PeerMessage.sealed(original.kind, ByteBuffer(bytes: bytes)) }
    return LinkMessage(kind: original.kind, header: ByteBuffer(bytes: bytes), payload: original.payload)
}

/// One of each kind, and of each form.
private let messagesOfAllKinds: [PeerMessage] = {
    let ticket = TestFrames.ticket(SequenceID(4))
    let error = DejaVuError(.refused, "no")
    return [
        .begin(2, store: "a", .swapIn, asks: true, TestFrames.header(SequenceID(1), 3..<9, rowBytes: 10)),
        .end(4, checksum: 7), .abandon(6), .credit(8, bytes: 9), .receipt(10, .committed(watermark: 1)),
        .receipt(10, .known(watermark: 2)), .receipt(10, .gap(watermark: 3)), .failed(12, error),
        .call(1, store: "b", .describe), .call(1, store: "b", .open(ticket, tokens: [1, 2])),
        .call(1, store: "b", .renew(ticket)), .call(1, store: "b", .watermark(SequenceID(1), LayerRange(2, 5))),
        .call(1, store: "b", .release(SequenceID(3))),
        .call(
            1, store: "b", .read(Span(sequence: SequenceID(1), layers: LayerRange(0, 2), positions: 1..<4), .rebuild)),
        .answer(3, .done), .answer(3, .number(5)), .answer(3, .rows(checksum: 8)),
        .answer(3, .description(layers: LayerRange(0, 4), rowBytes: 6, numericClass: NumericClass(hash: 1))),
        .callFailed(5, error), .cancelCall(7),
    ]
}()

@Test func peerMessage_everyKind_decodesToItselfAndNothingElseCrashes() throws {
    var generator = SeededGenerator(seed: 5)
    for original in messagesOfAllKinds {
        #expect(try PeerMessage(original.message) == original)
        for _ in 0..<2000 {
            let decoded = try? PeerMessage(damaged(original.message, &generator))
            if let decoded { #expect(try PeerMessage(decoded.message) == decoded) }
        }
    }
}

@Test func peerMessage_anyBitIsFlipped_isRefused() throws {
    for original in messagesOfAllKinds.map(\.message) {
        let bytes = [UInt8](original.header.readableBytesView)
        for bit in 0..<bytes.count * 8 {
            var flipped = bytes
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            let message = LinkMessage(kind: original.kind, header: ByteBuffer(bytes: flipped))
            #expect(throws: DejaVuError.self, "bit \(bit) of kind \(original.kind)") { try PeerMessage(message) }
        }
        for bit in 0..<8 {
            let message = LinkMessage(kind: original.kind ^ 1 << UInt8(bit), header: original.header)
            #expect(throws: DejaVuError.self) { try PeerMessage(message) }
        }
    }
}

@Test func session_anyByteOfAFramesHeaderIsDamaged_nothingIsCommitted() async throws {
    let rows = TestFrames.rows(SequenceID(1), 0..<1, rowBytes: 1000)
    let good = RawPeer.bytes(of: begin(2, 0..<1))
    let rest =
        RawPeer.bytes(of: chunk(2, rows)) + RawPeer.bytes(of: PeerMessage.end(2, checksum: Checksum.of(rows)).message)
    for index in good.indices {
        var damaged = good
        damaged[index] ^= 1 << UInt8(index % 8)
        let end = try await withHostilePeer { peer, store in
            // The link may be dropped before all is said.
            peer.say(damaged + rest)
            peer.sayNoMore()
            _ = try? peer.hearToTheEnd()
            try await until("every landing ends") { store.underWay == 0 }
            #expect(store.events.isEmpty, "byte \(index): \(store.events)")
        }
        #expect(end != nil)
    }
    // The same without damage is committed.
    _ = try await withHostilePeer { peer, store in
        peer.say(good + rest)
        try await until("the commit") { store.events.contains(.committed(SequenceID(1), 1)) }
    }
}

@Test func session_urgentFrame_goesBeforeTheNextChunkOfALessUrgentOne() async throws {
    let opened = Mutex<PeerTransport?>(nil)
    let loop = loop()
    let listener = try await LinkTransport.listen(
        at: .tcp(host: "127.0.0.1", port: 0), as: endpoint(worker("far")), serving: StoreServer([:]), on: loop,
        bytesInFlightMax: 256 << 20, opened: { transport in opened.withLock { $0 = transport } },
        refused: { Issue.record("refused: \($0)") })
    let peer = try RawPeer(connectedTo: listener.address)
    try peer.shakeHands(as: worker("mute"), key: key)
    try await until("the link is open") { opened.withLock { $0 } != nil }
    let transport = try #require(opened.withLock { $0 })
    // The peer reads nothing, so that the large frame fills the socket and waits with most of its bytes.
    let large = try await transport.post(SequenceID(1), 0..<1, rowBytes: 64 << 20, priority: .rebuild)
    guard let first = try peer.hear(), case .begin(let number, _, .rebuild, _, _) = try PeerMessage(first) else {
        throw DejaVuError(.internalError, "no begin")
    }
    peer.say(PeerMessage.credit(number, bytes: 64 << 20).message)
    var (unheard, turnsWithoutMore) = (0, 0)
    while turnsWithoutMore < 30 {
        try await Task.sleep(for: .milliseconds(10))
        try await loop.submit {}.get()
        let now = peer.unheardBytes
        turnsWithoutMore = now == unheard && now > 0 ? turnsWithoutMore + 1 : 0
        unheard = now
    }
    var urgent: [Posting] = []
    for sequence in 2...4 as ClosedRange<UInt64> {
        urgent.append(try await transport.post(SequenceID(sequence), 0..<1, rowBytes: 400_000, priority: .swapIn))
    }
    // Now all of them wait for the socket.
    try await loop.submit {}.get()
    var owners: [UInt64] = []
    while owners.count < 256 + 6, let message = try peer.hear() {
        if message.kind == PeerProtocol.Kind.chunk {
            owners.append(message.header.getInteger(at: message.header.readerIndex, endianness: .little) ?? 0)
        }
    }
    let firstUrgent = try #require(owners.firstIndex { $0 != number })
    let lastUrgent = try #require(owners.lastIndex { $0 != number })
    #expect(lastUrgent - firstUrgent == 5, "nothing of the large frame between the urgent ones: \(owners)")
    #expect(lastUrgent < owners.count - 100, "most of the large frame comes after them")
    // Equals take turns.
    #expect(Set(owners[firstUrgent..<firstUrgent + 3]).count == 3)
    #expect(large.poll() == nil && urgent.allSatisfy { $0.poll() == nil })
    transport.close("done")
    await listener.close()
}
