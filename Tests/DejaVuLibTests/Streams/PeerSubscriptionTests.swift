import DejaVuCore
import DejaVuKV
import DejaVuLib
import Testing

private let all = LayerRange(0, 6)
private let id = SequenceID(21)

@Test(arguments: Kind.allCases)
func engine_overATransport_feedsUnequalStagesAndReplica(kind: Kind) async throws {
    var options = StreamOptions()
    options.frameBytesMax = 1500
    let harness = EngineHarness(layers: all, options: options)
    let parts = LayerRange.even(layers: 6, stages: 3) + [all]
    var stores: [any KVStore] = []
    for part in parts { stores.append(try await StoreKind.host.make("stage \(part)", layers: part)) }
    let names = Dictionary(uniqueKeysWithValues: stores.enumerated().map { ("\($0)", $1) })
    let text = testTokens(60, seed: 31)
    try await withFabric(kind, names) { fabric in
        try await harness.run {
            var handles: [StreamSubscription] = []
            try await harness.open(id, tokens: text, limit: 60)
            for number in stores.indices {
                let peer = try await PeerStore.named(
                    "\(number)", over: fabric.near, priority: .handOver, within: patience)
                let order = harness.order(UInt64(number), to: StoreID(UInt64(number)), parts[number])
                handles.append(try harness.engine.subscribe(order, to: peer))
                try await harness.grant(peer, StoreID(UInt64(number)), id, limit: 60)
            }
            for segment in LayerRange.even(layers: 6, stages: 4) { harness.compute(text, id, 0..<40, layers: segment) }
            for position in 40..<60 { harness.compute(text, id, position..<position + 1) }
            for handle in handles { try await handle.caughtUp(within: patience) }
            #expect(harness.events.isEmpty)
        }
    }
    for store in stores {
        try await expectRows(store, text, Span(sequence: id, layers: store.layers, positions: 0..<60))
    }
    #expect(harness.engine.counters.bytesCommitted == 2 * 6 * 60 * 48)
}

@Test(arguments: Kind.allCases)
func engine_linkLostInMidStream_goesOnWhenAttachedAgain(kind: Kind) async throws {
    var options = StreamOptions()
    options.frameBytesMax = 6 * 48 * 2
    let harness = EngineHarness(layers: all, options: options)
    let store = LedgerStore("replica", layers: all)
    let text = testTokens(90, seed: 32)
    try await harness.run {
        try await harness.open(id, tokens: text, limit: 90)
        var handle: StreamSubscription?
        for round in 0..<3 {
            store.set {
                $0.isStalled = false
                $0.writesUntilStall = 5
            }
            try await withFabric(kind, ["store": store]) { fabric in
                let peer = try await PeerStore.named("store", over: fabric.near, priority: .replica, within: patience)
                if handle == nil {
                    handle = try harness.engine.subscribe(harness.order(1, to: StoreID(1), all), to: peer)
                    try await harness.grant(peer, StoreID(1), id, limit: 90)
                } else {
                    harness.engine.attach(peer, as: StoreID(1))
                }
                harness.compute(text, id, round * 30..<round * 30 + 30)
                try await eventually("the stall") { store.isStalled }
                fabric.near.close("the link is cut")
            }
            try await eventually("the loss") { harness.events.count(where: \.isLoss) == round + 1 }
        }
        store.set {
            $0.isStalled = false
            $0.writesUntilStall = nil
        }
        #expect(try await store.watermark(of: id, layers: all) < 90)
        try await withFabric(kind, ["store": store]) { fabric in
            let peer = try await PeerStore.named("store", over: fabric.near, priority: .replica, within: patience)
            harness.engine.attach(peer, as: StoreID(1))
            try await handle?.caughtUp(within: patience)
        }
    }
    try await expectRows(store, text, Span(sequence: id, layers: all, positions: 0..<90))
}

@Test(arguments: Kind.allCases)
func streamIn_fromPeersOfUnequalDepth_bringsTheReplicaBack(kind: Kind) async throws {
    let text = testTokens(33, seed: 33)
    let streamer = Streamer()
    try streamer.tokens.append(text, of: id)
    let parts = LayerRange.even(layers: 6, stages: 2)
    let stores = parts.map { LedgerStore("\($0)", layers: $0) }
    for store in stores {
        let ticket = Ticket(number: 1, sequence: id, layers: store.layers, positionLimit: 33, writer: Incarnation(1))
        try await store.open(ticket, tokens: [])
        store.compute(text, Span(sequence: id, layers: store.layers, positions: 0..<33))
    }
    try await withFabric(kind, ["0": stores[0], "1": stores[1]]) { fabric in
        var peers: [any KVStore] = []
        for number in 0..<2 {
            peers.append(
                try await PeerStore.named("\(number)", over: fabric.near, priority: .restoration, within: patience))
        }
        for part in LayerRange.even(layers: 6, stages: 3) {
            let taker = try await StoreKind.host.make("taker", layers: part)
            let ticket = Ticket(number: 1, sequence: id, layers: part, positionLimit: 33, writer: Incarnation(2))
            try await taker.open(ticket, tokens: [])
            let span = Span(sequence: id, layers: part, positions: 0..<33)
            #expect(try await streamer.streamIn(span, from: peers, into: StreamTarget(taker, ticket: ticket)) == 33)
            try await expectRows(taker, text, span)
        }
    }
}

extension StreamEvent {
    fileprivate var isLoss: Bool { if case .linkLost = self { true } else { false } }
}
