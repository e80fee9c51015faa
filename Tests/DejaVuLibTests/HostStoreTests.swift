import DejaVuCore
import DejaVuKV
import DejaVuLib
import NIOCore
import Testing

private func store(budget: Int = 4 << 20, rowBytes: Int = 96, log: EventLog = EventLog()) throws -> HostStore {
    try HostStore(
        name: "host", layers: LayerRange(2, 6), rowBytes: rowBytes, numericClass: storeClass,
        options: HostStore.Options(budget: budget), onEvent: log.receiver)
}

@Test func hostStore_contract_holds() async throws {
    let store = try store()
    try await checkStoreContract(store, rowBytes: 96)
    store.checkIntegrity()
    #expect(store.bytesUsed == 0)
}

@Test func hostStore_budgetExceeded_refusesWithTheNumbersAndGoesOn() async throws {
    // 4 layers of 100 rows of 96 bytes are 3 pages each.
    let store = try store(budget: 2 * 4 * 3 * 4096)
    try await store.open(ticket(1, 1), tokens: [])
    try await store.open(ticket(2, 2), tokens: [])
    do {
        try await store.open(ticket(3, 3), tokens: [])
        Issue.record("more than the budget was given away")
    } catch {
        #expect(error.code == .resourceExhausted)
        #expect(error.message.contains("9600 bytes") && error.message.contains("98304"))
    }
    try await store.land(span(1, 0..<50), ticket(1, 1))
    try await store.release(SequenceID(2))
    try await store.open(ticket(3, 3), tokens: [])
    try await store.land(span(3, 0..<100), ticket(3, 3))
    try await store.expectRows(span(1, 0..<50))
    try await store.expectRows(span(3, 0..<100))
    store.checkIntegrity()
}

@Test func hostStore_absurdSizes_throw() async throws {
    #expect(throws: DejaVuError.self) { try store(budget: 0) }
    #expect(throws: DejaVuError.self) { try store(budget: .max) }
    let wide = try store(rowBytes: 1 << 40)
    #expect(await code { try await wide.open(ticket(1, 1, limit: 1 << 20), tokens: []) } == .resourceExhausted)
    #expect(await code { try await wide.open(ticket(2, 1, limit: 1 << 40), tokens: []) } == .resourceExhausted)
}

@Test func hostStore_releaseDuringReadsAndWrites_neverGivesForeignRows() async throws {
    // Two places only, so that memory changes hands all the time.
    let store = try store(budget: 2 * 4 * 3 * 4096)
    try await withThrowingTaskGroup(of: Int.self) { group in
        for lane in 0..<2 {
            group.addTask {
                var reads = 0
                for round in 0..<150 {
                    let sequence = UInt64(1 + 2 * round + lane)
                    let own = try await openNext(store, sequence)
                    async let writing: Void = {
                        for start in stride(from: 0, to: 100, by: 10) {
                            guard (try? await store.land(span(sequence, start..<start + 10), own, chunk: 500)) != nil
                            else { return }
                        }
                    }()
                    async let reading: Int = {
                        var count = 0
                        for _ in 0..<20 {
                            let end = try await store.watermark(of: SequenceID(sequence), layers: store.layers)
                            guard end > 0, let bytes = try? await store.read(span(sequence, 0..<end)) else { continue }
                            #expect(bytes == store.rows.packed(span(sequence, 0..<end)))
                            count += 1
                        }
                        return count
                    }()
                    for _ in 0..<(round % 7) { await Task.yield() }
                    try await store.release(SequenceID(sequence))
                    await writing
                    reads += try await reading
                }
                return reads
            }
        }
        var reads = 0
        for try await count in group { reads += count }
        #expect(reads > 0)
    }
    store.checkIntegrity()
    #expect(store.bytesUsed == 0)
}

private let numbers = Numbers()

/// Ticket numbers ascend over all lanes, as their giver counts them.
private actor Numbers {
    private var last: UInt64 = 0
    func open(_ store: HostStore, _ sequence: UInt64) async throws -> Ticket {
        last += 1
        let own = ticket(last, sequence)
        try await store.open(own, tokens: [])
        return own
    }
}

private func openNext(_ store: HostStore, _ sequence: UInt64) async throws -> Ticket {
    while true {
        do { return try await numbers.open(store, sequence) } catch let error as DejaVuError {
            // An actor may interleave: a number overtaken by the other lane's is not new any more.
            guard error.code == .invalidArgument else { throw error }
        }
    }
}

@Test func hostStore_framesInFlight_commitInOrder() async throws {
    let store = try store()
    let own = ticket(1, 1)
    try await store.open(own, tokens: [])
    func landing(_ span: Span) async throws -> any FrameLanding {
        guard case .land(let landing) = try await store.begin(store.header(span, own)) else {
            throw DejaVuError(.internalError, "not admitted")
        }
        return landing
    }
    let spans = [span(1, 0..<10), span(1, 10..<20), span(1, 20..<30)]
    let landings = [try await landing(spans[0]), try await landing(spans[1]), try await landing(spans[2])]
    for index in [2, 1] { try await landings[index].write(store.rows.packed(spans[index])) }
    async let third = landings[2].finish(checksum: Checksum.of(store.rows.packed(spans[2])))
    async let second = landings[1].finish(checksum: Checksum.of(store.rows.packed(spans[1])))
    #expect(try await store.watermark(of: SequenceID(1), layers: store.layers) == 0)
    try await landings[0].write(store.rows.packed(spans[0]))
    #expect(try await landings[0].finish(checksum: Checksum.of(store.rows.packed(spans[0]))) >= 10)
    #expect(try await second >= 20)
    #expect(try await third == 30)
    try await store.expectRows(span(1, 0..<30))
    store.checkIntegrity()
}

@Test func hostStore_cancelledWait_givesTheFrameUp() async throws {
    let store = try store()
    let own = ticket(1, 1)
    try await store.open(own, tokens: [])
    guard case .land(let first) = try await store.begin(store.header(span(1, 0..<10), own)),
        case .land(let second) = try await store.begin(store.header(span(1, 10..<20), own))
    else { throw DejaVuError(.internalError, "not admitted") }
    let bytes = store.rows.packed(span(1, 10..<20))
    try await second.write(bytes)
    let waiting = Task { try await second.finish(checksum: Checksum.of(bytes)) }
    waiting.cancel()
    #expect(await code { _ = try await waiting.value } == .cancelled)
    try await first.write(store.rows.packed(span(1, 0..<10)))
    #expect(try await first.finish(checksum: Checksum.of(store.rows.packed(span(1, 0..<10)))) == 10)
    #expect(try await store.land(span(1, 10..<20), own) == 20)
    try await store.expectRows(span(1, 0..<20))
    store.checkIntegrity()
}

@Test func hostStore_wrongFrames_areReportedAtTheThird() async throws {
    let log = EventLog()
    let store = try store(log: log)
    let own = ticket(1, 1)
    try await store.open(own, tokens: [])
    let bytes = store.rows.packed(span(1, 0..<10))
    for _ in 0..<3 {
        guard case .land(let landing) = try await store.begin(store.header(span(1, 0..<10), own)) else { return }
        try await landing.write(bytes)
        #expect(await code { _ = try await landing.finish(checksum: 1) } == .mismatch)
    }
    #expect(log.events == [.peerFault(PeerFault(peer: Incarnation(7), count: 3))])
}

@Test func hostStore_readBehindOtherBytes_appends() async throws {
    let store = try store()
    try await store.open(ticket(1, 1), tokens: [])
    try await store.land(span(1, 0..<10), ticket(1, 1))
    var buffer = ByteBuffer(string: "before")
    try await store.read(span(1, 3..<5), into: &buffer)
    #expect(buffer.readString(length: 6) == "before")
    #expect(buffer == store.rows.packed(span(1, 3..<5)))
    var untouched = ByteBuffer(string: "before")
    await #expect(throws: DejaVuError.self) { try await store.read(span(1, 3..<11), into: &untouched) }
    #expect(untouched == ByteBuffer(string: "before"))
}
