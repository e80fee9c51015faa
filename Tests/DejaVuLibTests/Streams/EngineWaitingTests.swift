import DejaVuCore
import DejaVuKV
import DejaVuLib
import DejaVuTestStores
import NIOCore
import Synchronization
import Testing

private let all = LayerRange(0, 2)
private let first = SequenceID(1)
private let second = SequenceID(2)

/// Lets through what passes while it is open.
private final class Gate: Sendable {
    private struct State {
        var isOpen = true
        var waiters: [CheckedContinuation<Void, Never>] = []
        var passed = 0
    }
    private let state = Mutex(State())

    /// Those who have come to it, waiting ones included.
    var arrived: Int { state.withLock { $0.passed + $0.waiters.count } }
    func close() { state.withLock { $0.isOpen = false } }
    func open() {
        let waiters = state.withLock { state in
            state.isOpen = true
            state.passed += state.waiters.count
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }
    func pass() async {
        await withCheckedContinuation { continuation in
            let isOpen = state.withLock { state in
                if state.isOpen { state.passed += 1 } else { state.waiters.append(continuation) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
    }
}

/// A store with a gate before each read, and one before the end of each frame of a sequence.
private final class GatedStore: KVStore {
    let store: LedgerStore
    let reads = Gate()
    let ends = Gate()
    private let gated: SequenceID?

    init(_ store: LedgerStore, gated: SequenceID? = nil) {
        self.store = store
        self.gated = gated
    }

    var name: String { store.name }
    var layers: LayerRange { store.layers }
    var rowBytes: Int { store.rowBytes }
    var numericClass: NumericClass { store.numericClass }

    func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError) {
        try await store.open(ticket, tokens: tokens)
    }
    func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int {
        try await store.watermark(of: sequence, layers: layers)
    }
    func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer {
        await reads.pass()
        return try await store.read(span)
    }
    func release(_ sequence: SequenceID) async throws(DejaVuError) { try await store.release(sequence) }
    func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission {
        let admission = try await store.begin(header)
        guard header.span.sequence == gated, case .land(let landing) = admission else { return admission }
        return .land(Landing(landing: landing, gate: ends))
    }

    private struct Landing: FrameLanding {
        let landing: any FrameLanding
        let gate: Gate
        func write(_ bytes: ByteBuffer) async throws(DejaVuError) { try await landing.write(bytes) }
        func finish(checksum: UInt32) async throws(DejaVuError) -> Int {
            await gate.pass()
            return try await landing.finish(checksum: checksum)
        }
        func abandon() { landing.abandon() }
    }
}

@Test func caughtUp_notesAreNotTakenInYet_waitsForTheirRows() async throws {
    let source = LedgerStore("source", layers: all)
    let gated = GatedStore(source)
    let target = LedgerStore("target", layers: all)
    let engine = StreamEngine(source: gated)
    let text = testTokens(10, seed: 5)
    let handle = try engine.subscribe(
        Subscription(id: SubscriptionID(1), destination: StoreID(1), layers: all, priority: .replica), to: target)
    for (number, sequence) in [first, second].enumerated() {
        let number = UInt64(number + 1)
        try await source.open(ticket(number, sequence.rawValue, layers: all, limit: 10), tokens: text)
        try engine.streamer.tokens.append(text, of: sequence)
        let leave = ticket(number, sequence.rawValue, layers: all, limit: 10)
        try await target.open(leave, tokens: [])
        try engine.grant(leave, by: StoreID(1))
    }
    func tell(_ sequence: SequenceID) {
        source.compute(text, Span(sequence: sequence, layers: all, positions: 0..<10))
        engine.doorbell.note(sequence, layers: all, watermark: 10)
        engine.doorbell.ring()
    }
    gated.reads.close()
    let running = Task { await engine.run() }
    tell(first)
    try await eventually("the first read") { gated.reads.arrived == 1 }
    // The engine is in the middle of its work with the first rows when it is told of others.
    tell(second)
    async let isCaughtUp: Void = handle.caughtUp(within: .seconds(Int64(60)))
    for _ in 0..<20 { await Task.yield() }
    gated.reads.open()
    try await isCaughtUp
    #expect(try await target.watermark(of: first, layers: all) == 10)
    #expect(try await target.watermark(of: second, layers: all) == 10)
    running.cancel()
    await running.value
}

@Test func caughtUp_rowsThatDoNotCome_missesItsDeadline() async throws {
    let source = LedgerStore("source", layers: all)
    let gated = GatedStore(source)
    let engine = StreamEngine(source: gated)
    let text = testTokens(10, seed: 5)
    let handle = try engine.subscribe(
        Subscription(id: SubscriptionID(1), destination: StoreID(1), layers: all, priority: .replica),
        to: LedgerStore("target", layers: all))
    try await source.open(ticket(1, 1, layers: all, limit: 10), tokens: text)
    source.compute(text, Span(sequence: first, layers: all, positions: 0..<10))
    let running = Task { await engine.run() }
    // Nobody has given leave.
    try await engine.follow(first)
    // The later deadline first, so that the earlier one needs a clock of its own.
    let patient = Task { await code { try await handle.caughtUp(within: .seconds(Int64(3600))) } }
    #expect(await code { try await handle.caughtUp(within: .milliseconds(20)) } == .deadlineExceeded)
    #expect(await code { try await handle.caughtUp(within: .milliseconds(1)) } == .deadlineExceeded)
    patient.cancel()
    #expect(await patient.value == .cancelled)
    running.cancel()
    await running.value
}

@Test(arguments: Kind.allCases)
func engine_receiptIsMissing_sendsWhatComesAfterwards(kind: Kind) async throws {
    let harness = EngineHarness(layers: all)
    let target = GatedStore(LedgerStore("target", layers: all), gated: first)
    target.ends.close()
    let text = testTokens(10, seed: 6)
    try await withFabric(kind, ["target": target]) { fabric in
        try await harness.run {
            let peer = try await PeerStore.named("target", over: fabric.near, priority: .replica, within: patience)
            let handle = try harness.engine.subscribe(harness.order(1, to: StoreID(1), all), to: peer)
            for sequence in [first, second] {
                try await harness.open(sequence, tokens: text, limit: 10)
                try await harness.grant(peer, StoreID(1), sequence, limit: 10)
            }
            harness.compute(text, first, 0..<10)
            try await eventually("the frame that has no receipt") { target.ends.arrived == 1 }
            harness.compute(text, second, 0..<10)
            try await eventually("the frame after it") {
                try await target.watermark(of: second, layers: all) == 10
            }
            #expect(try await target.watermark(of: first, layers: all) == 0)
            target.ends.open()
            try await handle.caughtUp(within: patience)
            #expect(harness.events.isEmpty)
        }
    }
    try await expectRows(target.store, text, Span(sequence: first, layers: all, positions: 0..<10))
}
