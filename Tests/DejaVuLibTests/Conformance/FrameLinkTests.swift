import DejaVuCore
import DejaVuKV
import DejaVuLib
import DejaVuTestStores
import Glibc
import NIOCore
import Synchronization
import Testing

/// Whom a listener has turned away.
private final class Refusals: Sendable {
    private let errors = Mutex<[DejaVuError]>([])
    var codes: [DejaVuError.Code] { errors.withLock { $0.map(\.code) } }
    func note(_ error: DejaVuError) { errors.withLock { $0.append(error) } }
}

/// A server of frames that only a peer with the right key, model, class and version may reach.
private func withFrameListener(
    _ place: Place, as identity: LinkIdentity = worker("far"),
    _ body: (LinkListener, Refusals) async throws -> Void
) async throws {
    let store = RecordingStore(rowBytes: 1000)
    let refusals = Refusals()
    let listener = try await LinkTransport.listen(
        at: place.address(), as: endpoint(identity), serving: StoreServer(["rows": store]), on: loop(),
        refused: { refusals.note($0) })
    try await body(listener, refusals)
    #expect(store.events.isEmpty)
    await listener.close()
}

private let beginning = PeerMessage.begin(
    2, store: "rows", .swapIn, asks: false, TestFrames.header(SequenceID(1), 0..<1, rowBytes: 1000)
).message

@Test(arguments: Place.allCases)
func transport_handshakeIsReplayed_isRefusedAndItsFrameIsNotHeard(place: Place) async throws {
    try await withFrameListener(place) { listener, refusals in
        let honest = try RawPeer(connectedTo: listener.address)
        let said = try honest.shakeHands(as: worker("near"), key: key)
        let replay = try RawPeer(connectedTo: listener.address)
        for message in said + [beginning] { replay.say(message) }
        let answer = try #require(try replay.hearToTheEnd())
        #expect(Handshake.refusal(in: answer).message.contains("cluster key"))
        try await until("it is told") { refusals.codes.count == 1 }
    }
}

@Test(arguments: Place.allCases)
func transport_framesBeforeTheHandshake_areNotHeard(place: Place) async throws {
    try await withFrameListener(place) { listener, refusals in
        let peer = try RawPeer(connectedTo: listener.address)
        peer.say(beginning)
        _ = try peer.hearToTheEnd()
        try await until("it is told") { refusals.codes.count == 1 }
    }
}

/// What two ends may not differ in.
enum Difference: CaseIterable, Sendable {
    case key, model, numericClass, term

    var near: LinkIdentity {
        switch self {
        case .key: worker("near")
        case .model: worker("near", model: ModelID(digest: "beef"))
        case .numericClass: worker("near", numericClass: 8)
        case .term: worker("near", term: Term(number: 6, nonce: 1))
        }
    }

    /// Terms are compared between a controller and its workers.
    var far: LinkIdentity { self == .term ? controller(term: 5) : worker("far") }
    var code: DejaVuError.Code { self == .key || self == .term ? .refused : .mismatch }
}

@Test(arguments: Place.allCases, Difference.allCases)
func transport_endsDiffer_neitherGetsATransport(place: Place, difference: Difference) async throws {
    try await withFrameListener(place, as: difference.far) { listener, refusals in
        let other = difference == .key ? ClusterKey.random() : key
        let error = await #expect(throws: DejaVuError.self) {
            _ = try await LinkTransport.connect(
                to: listener.address, as: endpoint(difference.near, key: other), on: loop())
        }
        #expect(error?.code == difference.code, "\(String(describing: error))")
        try await until("it is told") { refusals.codes.count == 1 }
        #expect(refusals.codes == [difference.code])
    }
}

@Test(arguments: Place.allCases)
func transport_bulkFillsItsLinkAndStandsStill_activationsGoThereAndBack(place: Place) async throws {
    let rowBytes = roundCount >= 50 ? 1 << 30 : 64 << 20
    let store = RecordingStore(rowBytes: rowBytes, keepsRows: false)
    let kind: Kind = place == .unix ? .unix : place == .disk ? .disk : .tcp
    try await withFabric(kind, ["rows": store], bytesInFlightMax: rowBytes) { fabric in
        // As workers do it: rows between stages have a link of their own.
        let echoed = Inbox()
        let door = try await LinkListener.listen(at: place.address(), as: endpoint(worker("far")), on: loop()) { link in
            { event in if case .message(let message) = event { link.send(message) } }
        } refused: {
            Issue.record("refused: \($0)")
        }
        let activations = try await connect(endpoint(worker("near")), to: door, inbox: echoed)
        let sequence = try await opened(1, at: fabric.near)
        store.setGate(of: sequence, open: false)
        let bulk = try await fabric.near.post(
            sequence, 0..<1, rowBytes: rowBytes, priority: .rebuild, within: .seconds(Int64(600)))
        try await until("the bulk's link is full") {
            store.events.contains { if case .wrote = $0 { true } else { false } }
        }
        for count in 1...100 {
            activations.send(message(payload: [UInt8](repeating: UInt8(count), count: 2304)))
            try await until("the activation is back") { echoed.messages.count == count }
        }
        #expect(bulk.poll() == nil, "the bulk must still be under way")
        store.setGate(of: sequence, open: true)
        #expect(try await bulk.receipt() == .committed(watermark: 1))
        activations.close("done")
        await door.close()
    }
}
