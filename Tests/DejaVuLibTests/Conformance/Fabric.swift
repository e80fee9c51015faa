import DejaVuCore
import DejaVuKV
import DejaVuLib
import DejaVuTestStores
import Glibc
import NIOCore
import NIOPosix
import Synchronization
import Testing

/// Every kind of transport that must pass the suite.
enum Kind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    /// `paced` is a unix socket behind an emulated wire.
    case memory, unix, paced, tcp, tls, disk
    var testDescription: String { rawValue }
}

/// Two ends of one transport, and the stores at the far one.
struct Fabric: Sendable {
    /// The near end: what a test posts to.
    let near: PeerTransport
    /// The far end's way back.
    let far: PeerTransport
    let close: @Sendable () async -> Void
}

/// How often tests that kill processes do so; the largest frames are tried where it is at least 50.
let roundCount = getenv("DEJAVU_COUNT").flatMap { Int(String(cString: $0)) } ?? 6

/// What a patient test allows for anything: nothing is expected to take so long.
let patience = TimeSpan.seconds(Int64(60))

/// Runs a test over a fresh transport of a kind, and checks afterwards that nothing is left in flight.
func withFabric(
    _ kind: Kind, _ stores: [String: any KVStore], nearStores: [String: any KVStore] = [:],
    bytesInFlightMax: Int = 64 << 20, limits: LinkLimits = LinkLimits(),
    _ body: (Fabric) async throws -> Void
) async throws {
    let fabric = try await makeFabric(
        kind, StoreServer(stores, readBytesMax: bytesInFlightMax), StoreServer(nearStores), bytesInFlightMax, limits)
    do { try await body(fabric) } catch {
        await fabric.close()
        throw error
    }
    try await until("the staging returns") { fabric.near.staging.bytesInFlight == 0 }
    await fabric.close()
    for store in stores.values {
        guard let store = store as? RecordingStore else { continue }
        try await until("every landing ends") { store.underWay == 0 }
    }
}

private func makeFabric(
    _ kind: Kind, _ server: StoreServer, _ nearServer: StoreServer, _ bytesInFlightMax: Int, _ limits: LinkLimits
) async throws -> Fabric {
    switch kind {
    case .memory:
        let group = MultiThreadedEventLoopGroup.singleton
        let (near, far) = try await MemoryTransport.join(
            (worker("near"), nearServer), (worker("far"), server), on: (group.next(), group.next()),
            bytesInFlightMax: bytesInFlightMax)
        return Fabric(near: near, far: far) { near.close("the test is over") }
    case .unix, .paced, .tcp, .tls, .disk:
        let place: Place =
            switch kind {
            case .unix, .paced: .unix
            case .disk: .disk
            default: .tcp
            }
        // Fast enough for a gigabyte, slow enough that frames wait for it.
        let pace = kind == .paced ? LinkPace(bytesPerSecond: 1e9, delay: .microseconds(200)) : nil
        let opened = Mutex<PeerTransport?>(nil)
        let security = kind == .tls ? { try LinkSecurity.always(.selfSigned()) } : { .localOnly }
        let listener = try await LinkTransport.listen(
            at: place.address(),
            as: endpoint(worker("far"), limits: limits, security: try security(), pace: pace),
            serving: server, on: loop(),
            bytesInFlightMax: bytesInFlightMax, opened: { transport in opened.withLock { $0 = transport } },
            refused: { Issue.record("a peer was refused: \($0)") })
        let near = try await LinkTransport.connect(
            to: listener.address,
            as: endpoint(worker("near"), limits: limits, security: try security(), pace: pace),
            serving: nearServer, on: loop(),
            bytesInFlightMax: bytesInFlightMax)
        try await until("the far end is open") { opened.withLock { $0 } != nil }
        let far = try #require(opened.withLock { $0 })
        return Fabric(near: near, far: far) {
            near.close("the test is over")
            await listener.close()
        }
    }
}

/// Polls for something that happens on other threads, soon.
func until(_ what: String, _ condition: @Sendable () async -> Bool) async throws {
    for _ in 0..<12_000 {
        if await condition() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    throw DejaVuError(.deadlineExceeded, "waited in vain for \(what)")
}

extension PeerTransport {
    /// Makes a frame's rows in a staging buffer and posts it.
    func post(
        _ sequence: SequenceID, _ positions: Range<Int>, rowBytes: Int, to store: String = "rows",
        priority: StreamPriority = .replica, within: TimeSpan = patience
    ) async throws(DejaVuError) -> Posting {
        let staging = try await prepare(positions.count * rowBytes, priority: priority, within: within)
        staging.fill { TestFrames.fill(&$0, sequence, positions, rowBytes: rowBytes) }
        let header = TestFrames.header(sequence, positions, rowBytes: rowBytes)
        return post(FramePost(header: header, store: store, priority: priority, within: within), rows: staging)
    }
}

/// A sequence that is open at a store.
func opened(_ number: UInt64, at transport: PeerTransport, _ store: String = "rows") async throws -> SequenceID {
    let sequence = SequenceID(number)
    try await transport.open(TestFrames.ticket(sequence), tokens: [], in: store, within: patience)
    return sequence
}
