import DejaVuControl
import DejaVuCore
import DejaVuLib
import DejaVuRuntime
import NIOCore
import Testing

@Test func envelope_randomValues_surviveTheWire() throws {
    var random = RandomMessages(seed: 11)
    for _ in 0..<5000 {
        let envelope = random.envelope()
        #expect(try Envelope(envelope.message) == envelope)
    }
}

@Test func envelope_everyMessage_comesUpInTheRandomTest() {
    var random = RandomMessages(seed: 12)
    var names: Set<String> = []
    for _ in 0..<2000 {
        switch random.envelope() {
        case .hello: names.insert("hello")
        case .hidden: names.insert("hidden")
        case .heartbeats: names.insert("heartbeats")
        case .traceWanted: names.insert("trace wanted")
        case .trace: names.insert("trace")
        case .control(_, let message): names.insert("control \("\(message)".prefix { $0 != "(" })")
        case .report(_, let message): names.insert("report \("\(message)".prefix { $0 != "(" })")
        }
    }
    #expect(names.count == 5 + 16 + 16)
}

@Test func envelope_everyPrefix_throws() throws {
    var random = RandomMessages(seed: 13)
    for _ in 0..<200 {
        let message = random.envelope().message
        let bytes = [UInt8](message.header.readableBytesView)
        for count in 0..<bytes.count {
            let cut = LinkMessage(
                kind: message.kind, header: ByteBuffer(bytes: bytes[..<count]), payload: message.payload)
            #expect(throws: DejaVuError.self) { try Envelope(cut) }
        }
        let long = LinkMessage(kind: message.kind, header: ByteBuffer(bytes: bytes + [0]), payload: message.payload)
        #expect(throws: DejaVuError.self) { try Envelope(long) }
    }
}

@Test func envelope_mutatedBytes_neverCrashAndStayCanonical() {
    var random = RandomMessages(seed: 14)
    var (refused, taken) = (0, 0)
    for _ in 0..<20_000 {
        let message = random.envelope().message
        var bytes = [UInt8](message.header.readableBytesView)
        guard !bytes.isEmpty else { continue }
        for _ in 0..<random.generator.next(in: 1...4) {
            let value = [0, 1, 0x7F, 0x80, 0xFF, UInt8(truncatingIfNeeded: random.generator.next())]
            bytes[random.number(bytes.count)] = value[random.number(value.count)]
        }
        let mutated = LinkMessage(kind: message.kind, header: ByteBuffer(bytes: bytes), payload: message.payload)
        guard let envelope = try? Envelope(mutated) else {
            refused += 1
            continue
        }
        taken += 1
        #expect(envelope.message == mutated, "what is taken has one form only")
    }
    #expect(refused > 500 && taken > 500)
}

@Test func envelope_randomBytes_neverCrash() {
    var random = RandomMessages(seed: 15)
    for _ in 0..<20_000 {
        let bytes = (0..<random.number(120)).map { _ in UInt8(truncatingIfNeeded: random.generator.next()) }
        let kind = UInt8(random.number(24))
        _ = try? Envelope(LinkMessage(kind: kind, header: ByteBuffer(bytes: bytes)))
    }
}
