import DejaVuCore
import DejaVuLib
import NIOCore
import Testing

@Test func messageDecoder_anyCut_givesTheSameMessages() throws {
    var generator = SeededGenerator(seed: 1)
    let messages = (0..<40).map { index in
        message(
            UInt8(16 + index), header: [UInt8](repeating: UInt8(index), count: generator.next(below: 300)),
            payload: [UInt8](repeating: 7, count: generator.next(below: 2000)))
    }
    let bytes = messages.flatMap { RawPeer.bytes(of: $0) }
    for _ in 0..<200 {
        var decoder = LinkMessageDecoder(headerBytesMax: 300, payloadBytesMax: 2000)
        var found: [LinkMessage] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let cut = rest.prefix(generator.next(in: 1...3000))
            rest = rest.dropFirst(cut.count)
            decoder.append(ByteBuffer(bytes: cut))
            while let message = try decoder.next() { found.append(message) }
        }
        #expect(found == messages)
        #expect(!decoder.isInsideMessage)
    }
}

@Test func messageDecoder_mutatedBytes_neverCrash() {
    var generator = SeededGenerator(seed: 2)
    let bytes = (0..<20).flatMap { RawPeer.bytes(of: message(UInt8(16 + $0), header: [1, 2, 3], payload: [4, 5])) }
    var broken = 0
    for _ in 0..<20_000 {
        var mutated = bytes
        for _ in 0..<generator.next(in: 1...8) {
            mutated[generator.next(below: mutated.count)] = UInt8(truncatingIfNeeded: generator.next())
        }
        var decoder = LinkMessageDecoder(headerBytesMax: 64, payloadBytesMax: 64)
        decoder.append(ByteBuffer(bytes: mutated))
        do { while let message = try decoder.next() { #expect(message.header.readableBytes <= 64) } } catch {
            broken += 1
            #expect(throws: DejaVuError.self, "a broken stream stays broken") { try decoder.next() }
        }
    }
    #expect(broken > 1000)
}

@Test func handshake_mutatedMessages_neverCrashAndNeverOpen() throws {
    var generator = SeededGenerator(seed: 3)
    for round in 0..<4000 {
        var left = Handshake(
            side: .initiator, identity: worker(), key: key, nonce: Handshake.freshNonce(), judge: { _ in nil })
        var right = Handshake(
            side: .acceptor, identity: controller(), key: key, nonce: Handshake.freshNonce(), judge: { _ in nil })
        let target = round % 4
        var opened = 0
        do {
            var message = left.start()
            for step in 0..<4 {
                if step == target { message = mutated(message, &generator) }
                let output = try step % 2 == 0 ? right.receive(message) : left.receive(message)
                if output.peer != nil { opened += 1 }
                guard let next = output.send else { break }
                message = next
            }
        } catch {
            #expect(opened < 2)
            continue
        }
        // Only the acceptor's own introduction may be damaged after it has opened.
        Issue.record("round \(round): a damaged message \(target) went unnoticed")
    }
}

private func mutated(_ message: LinkMessage, _ generator: inout SeededGenerator) -> LinkMessage {
    var bytes = [UInt8](message.header.readableBytesView)
    switch generator.next(below: 4) {
    case 0: bytes.removeLast(generator.next(in: 1...bytes.count))
    case 1: bytes.append(UInt8(truncatingIfNeeded: generator.next()))
    case 2: bytes = (0..<generator.next(below: 200)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
    default: bytes[generator.next(below: bytes.count)] ^= UInt8(1 << generator.next(below: 8))
    }
    return LinkMessage(kind: message.kind, header: ByteBuffer(bytes: bytes))
}

@Test func byteReader_hugeCounts_throwBeforeMemoryIsTaken() {
    var reader = ByteReader([0xFF, 0xFF, 0xFF, 0xFF, 1, 2])
    #expect(throws: DejaVuError.self) { try reader.readTokens() }
    reader = ByteReader([0xFF, 0xFF, 0xFF, 0x7F])
    #expect(throws: DejaVuError.self) { try reader.readString() }
    reader = ByteReader([2, 0, 0, 0, 0xC3, 0x28])
    #expect(throws: DejaVuError.self) { try reader.readString() }
    reader = ByteReader([0, 0, 0, 0, 0, 0, 0, 0x80])
    #expect(throws: DejaVuError.self) { try reader.readInt() }
    reader = ByteReader([2])
    #expect(throws: DejaVuError.self) { try reader.readBool() }
}

@Test func linkIdentity_hostileName_losesControlCharactersAndLength() throws {
    let identity = LinkIdentity(
        role: .worker, name: "a\u{1B}[31m\nb\u{202E}" + String(repeating: "x", count: 500), incarnation: Incarnation(1))
    #expect(identity.name.utf8.count <= LinkIdentity.nameBytesMax)
    #expect(identity.name.hasPrefix("a\u{FFFD}[31m\u{FFFD}b\u{FFFD}x"))
    #expect(try LinkIdentity.decoded(from: identity.encoded()) == identity)
}
