import DejaVuCore
import DejaVuKV
import DejaVuLib
import NIOCore
import Synchronization
import Testing

private let layers = LayerRange(2, 6)
private let rowBytes = 96
private let id = SequenceID(1)

private func host(_ name: String, budget: Int = 8 << 20) throws -> HostStore {
    try HostStore(
        name: name, layers: layers, rowBytes: rowBytes, numericClass: storeClass,
        options: HostStore.Options(budget: budget))
}

private func device(transposed: Bool) throws -> DeviceStore {
    let layout = try KVLayout.ggml(
        KVRow(headCount: 2, headSize: 12, elementBytes: 2), layers: layers, cellCount: 512,
        transposedValues: transposed)
    var cost = EmulatedDevice.Cost()
    cost.launch = .zero
    return try DeviceStore(
        name: "device", layout: layout, memory: EmulatedDevice(layout: layout, cost: cost), numericClass: storeClass)
}

private func streamer(_ change: (inout StreamOptions) -> Void = { _ in }) throws -> Streamer {
    var options = StreamOptions()
    change(&options)
    let streamer = Streamer(options: options)
    try streamer.tokens.append(MadeUpRows.tokens(id, 0..<100), of: id)
    return streamer
}

/// A source that stops in the middle of a copy until it is told to go on.
private final class SlowSource: InPlaceSource {
    private struct State {
        var isOpen = false
        var waiter: CheckedContinuation<Void, Never>?
        var copies = 0
        var failing = 0
    }
    private let store: HostStore
    private let state = Mutex(State())

    init(_ store: HostStore) { self.store = store }

    var name: String { "slow" }
    var layers: LayerRange { store.layers }
    var rowBytes: Int { store.rowBytes }
    var numericClass: NumericClass { store.numericClass }
    var copies: Int { state.withLock { $0.copies } }

    func fail(next count: Int) { state.withLock { $0.failing = count } }
    func goOn() {
        let waiter = state.withLock { state in
            state.isOpen = true
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }

    func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError) {}
    func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int {
        try await store.watermark(of: sequence, layers: layers)
    }
    func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer { try await store.read(span) }
    func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission { try await store.begin(header) }
    func release(_ sequence: SequenceID) async throws(DejaVuError) {}

    func copy(_ span: Span, to memory: RowMemory) async throws(DejaVuError) -> UInt32 {
        let fails = state.withLock { state in
            state.copies += 1
            state.failing -= 1
            return state.failing >= 0
        }
        if fails { throw DejaVuError(.unavailable, "a copy that was to fail") }
        await withCheckedContinuation { continuation in
            let isOpen = state.withLock { state in
                if !state.isOpen { state.waiter = continuation }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
        return try await store.copy(span, to: memory)
    }
}

@Test(arguments: [false, true])
func scatter_fromDeviceToHost_copiesInPlace(transposed: Bool) async throws {
    let source = try device(transposed: transposed)
    let target = try host("target")
    try await source.open(ticket(1, 1), tokens: [])
    _ = try await source.land(span(1, layers, 0..<60), ticket(1, 1))
    try await target.open(ticket(2, 1), tokens: [])
    let streamer = try streamer { $0.frameBytesMax = 5000 }
    let all = span(1, layers, 0..<60)
    let mark = try await streamer.scatter(all, from: source, to: StreamTarget(target, ticket: ticket(2, 1)))
    #expect(mark == 60)
    try await target.expectRows(all)
    #expect(streamer.counters.bytesCommitted == all.rowCount * rowBytes)
    #expect(streamer.counters.bytesRead == all.rowCount * rowBytes)
    #expect(streamer.counters.framesInFlight == 0)
    target.checkIntegrity()
}

@Test func scatter_partOfAFrameIsThereAlready_landsTheRest() async throws {
    let (source, target) = (try host("source"), try host("target"))
    try await source.open(ticket(1, 1), tokens: [])
    _ = try await source.land(span(1, layers, 0..<60), ticket(1, 1))
    try await target.open(ticket(2, 1), tokens: [])
    _ = try await target.land(span(1, LayerRange(2, 3), 0..<40), ticket(2, 1))
    _ = try await target.land(span(1, LayerRange(4, 5), 0..<7), ticket(2, 1))
    let all = span(1, layers, 0..<60)
    _ = try await streamer().scatter(all, from: source, to: StreamTarget(target, ticket: ticket(2, 1)))
    try await target.expectRows(all)
    target.checkIntegrity()
}

@Test func copy_hostRows_checksumIsThatOfTheRows() async throws {
    let source = try host("source")
    try await source.open(ticket(1, 1), tokens: [])
    _ = try await source.land(span(1, layers, 0..<60), ticket(1, 1))
    let part = span(1, LayerRange(3, 6), 11..<50)
    var buffers = part.layers.indices.map { _ in [UInt8](repeating: 0, count: part.positions.count * rowBytes) }
    let places = buffers.indices.map { index in
        // Memory of its own for each layer, given back below.
        UnsafeMutableRawBufferPointer.allocate(byteCount: buffers[index].count, alignment: 16)
    }
    defer { for place in places { place.deallocate() } }
    let checksum = try await source.copy(part, to: RowMemory(layers: places))
    for (index, place) in places.enumerated() { buffers[index] = Array(place) }
    let rows = source.rows.packed(part)
    #expect(buffers.flatMap { $0 } == Array(rows.readableBytesView))
    #expect(checksum == Checksum.of(rows))
    #expect(
        await code { _ = try await source.copy(span(1, layers, 0..<61), to: RowMemory(layers: places)) } == .notFound)
}

@Test func scatter_sourceFailsInTheMiddle_commitsNothingAndCanBeTriedAgain() async throws {
    let store = try host("source")
    try await store.open(ticket(1, 1), tokens: [])
    _ = try await store.land(span(1, layers, 0..<60), ticket(1, 1))
    let (source, target) = (SlowSource(store), try host("target"))
    source.goOn()
    source.fail(next: 1)
    try await target.open(ticket(2, 1), tokens: [])
    let streamer = try streamer()
    let all = span(1, layers, 0..<60)
    let goal = StreamTarget(target, ticket: ticket(2, 1))
    #expect(await code { _ = try await streamer.scatter(all, from: source, to: goal) } == .unavailable)
    #expect(try await target.watermark(of: id, layers: layers) == 0)
    #expect(try await streamer.scatter(all, from: source, to: goal) == 60)
    try await target.expectRows(all)
    target.checkIntegrity()
}

@Test func release_whileASourceCopies_waitsForItAndCommitsNothing() async throws {
    let store = try host("source")
    try await store.open(ticket(1, 1), tokens: [])
    _ = try await store.land(span(1, layers, 0..<60), ticket(1, 1))
    // No other sequence fits beside the first one.
    let target = try host("target", budget: 64 << 10)
    let source = SlowSource(store)
    try await target.open(ticket(2, 1), tokens: [])
    let streamer = try streamer()
    let scattering = Task {
        await code {
            _ = try await streamer.scatter(
                span(1, layers, 0..<60), from: source, to: StreamTarget(target, ticket: ticket(2, 1)))
        }
    }
    try await eventually("the copy") { source.copies == 1 }
    let isReleased = Mutex(false)
    let releasing = Task {
        try await target.release(id)
        isReleased.withLock { $0 = true }
    }
    // The ticket is dead at once; the place is not free while somebody writes there.
    try await eventually("the revocation") {
        await code { _ = try await target.begin(target.header(span(1, layers, 0..<1), ticket(2, 1))) } == .refused
    }
    #expect(target.bytesUsed > 0)
    #expect(!isReleased.withLock { $0 })
    source.goOn()
    try await releasing.value
    #expect(await scattering.value == .refused)
    #expect(target.bytesUsed == 0)
    #expect(streamer.counters.framesInFlight == 0)
    target.checkIntegrity()
}

@Test func engine_hostDestination_isFedInPlace() async throws {
    let (store, target) = (try host("source"), try host("target"))
    let source = SlowSource(store)
    source.goOn()
    try await store.open(ticket(1, 1), tokens: [])
    let streamer = try streamer { $0.frameBytesMax = 5000 }
    let engine = StreamEngine(source: source, streamer: streamer)
    let handle = try engine.subscribe(
        Subscription(id: SubscriptionID(1), destination: StoreID(1), layers: layers, priority: .replica), to: target)
    try await target.open(ticket(2, 1), tokens: [])
    try engine.grant(ticket(2, 1), by: StoreID(1))
    let running = Task { await engine.run() }
    for end in stride(from: 5, through: 100, by: 5) {
        _ = try await store.land(span(1, layers, end - 5..<end), ticket(1, 1))
        engine.doorbell.note(id, layers: layers, watermark: end)
        engine.doorbell.ring()
        // A copy that fails is tried again.
        if end == 50 { source.fail(next: 1) }
    }
    try await handle.caughtUp(within: .seconds(Int64(60)))
    running.cancel()
    await running.value
    try await target.expectRows(span(1, layers, 0..<100))
    #expect(source.copies > 0)
    #expect(streamer.counters.bytesCommitted == 100 * layers.count * rowBytes)
    #expect(streamer.counters.framesInFlight == 0)
    target.checkIntegrity()
}
