import DejaVuCore
import DejaVuKV
import DejaVuLib
import Testing

private let sequence = SequenceID(7)
private let writer = Incarnation(3)

/// A pipeline of stores that hold a sequence of so many positions between them.
private func pipeline(
    _ stages: Int, of layerCount: Int, tokens: [TokenID], committed: Int
) async throws -> [LedgerStore] {
    var stores: [LedgerStore] = []
    for (index, layers) in LayerRange.even(layers: layerCount, stages: stages).enumerated() {
        let store = LedgerStore("source \(index)", layers: layers)
        try await store.open(
            Ticket(number: 1, sequence: sequence, layers: layers, positionLimit: tokens.count, writer: Incarnation(9)),
            tokens: tokens)
        store.compute(tokens, Span(sequence: sequence, layers: layers, positions: 0..<committed))
        stores.append(store)
    }
    return stores
}

private func targets(_ stages: Int, of layerCount: Int, positions: Int) async throws -> [StreamTarget] {
    var targets: [StreamTarget] = []
    for (index, layers) in LayerRange.even(layers: layerCount, stages: stages).enumerated() {
        let store = LedgerStore("target \(index)", layers: layers)
        let ticket = Ticket(
            number: 1, sequence: sequence, layers: layers, positionLimit: positions, writer: writer)
        try await store.open(ticket, tokens: [])
        targets.append(StreamTarget(store, ticket: ticket))
    }
    return targets
}

private func streamer(_ options: StreamOptions, _ tokens: [TokenID]) throws -> Streamer {
    let streamer = Streamer(options: options)
    try streamer.tokens.append(tokens, of: sequence)
    return streamer
}

private func span(_ layers: LayerRange, _ positions: Range<Int>) -> Span {
    Span(sequence: sequence, layers: layers, positions: positions)
}

@Test(arguments: [(1, 1), (1, 3), (2, 3), (3, 2), (3, 1), (5, 4)])
func streamOut_unequalDepths_everyRowArrives(depths: (from: Int, to: Int)) async throws {
    let tokens = testTokens(37, seed: 1)
    let sources = try await pipeline(depths.from, of: 7, tokens: tokens, committed: 37)
    let targets = try await targets(depths.to, of: 7, positions: 37)
    var options = StreamOptions()
    options.frameBytesMax = 500
    options.chunkBytesMax = 100
    let streamer = try streamer(options, tokens)
    for source in sources {
        let fitting = targets.filter { $0.ticket.layers.intersection(source.layers) != nil }
        #expect(try await streamer.streamOut(span(source.layers, 0..<37), from: source, to: fitting) == 37)
    }
    for target in targets { try await expectRows(target.store, tokens, span(target.ticket.layers, 0..<37)) }
    #expect(streamer.counters.bytesCommitted == 7 * 37 * 48)
    #expect(streamer.counters.bytesInFlight == 0)
}

@Test(arguments: [(1, 3), (2, 3), (3, 2), (4, 1)])
func streamIn_unequalDepths_everyRowArrives(depths: (from: Int, to: Int)) async throws {
    let tokens = testTokens(20, seed: 2)
    let sources = try await pipeline(depths.from, of: 6, tokens: tokens, committed: 20)
    let targets = try await targets(depths.to, of: 6, positions: 20)
    let streamer = try streamer(StreamOptions(), tokens)
    for target in targets {
        #expect(try await streamer.streamIn(span(target.ticket.layers, 0..<20), from: sources, into: target) == 20)
        try await expectRows(target.store, tokens, span(target.ticket.layers, 0..<20))
    }
}

@Test func streamOut_layersWithoutTarget_areRefusedAndNothingMoves() async throws {
    let tokens = testTokens(5, seed: 3)
    let sources = try await pipeline(1, of: 4, tokens: tokens, committed: 5)
    let targets = try await targets(2, of: 4, positions: 5)
    let streamer = try streamer(StreamOptions(), tokens)
    let error = await #expect(throws: DejaVuError.self) {
        try await streamer.streamOut(span(LayerRange(0, 4), 0..<5), from: sources[0], to: [targets[0]])
    }
    #expect(error?.code == .invalidArgument)
    #expect(streamer.counters.framesPosted == 0)
}

@Test func scatter_whatTheTargetHas_isNotSentAgain() async throws {
    let tokens = testTokens(30, seed: 4)
    let source = try await pipeline(1, of: 2, tokens: tokens, committed: 30)[0]
    let target = try await targets(1, of: 2, positions: 30)[0]
    let streamer = try streamer(StreamOptions(), tokens)
    #expect(try await streamer.scatter(span(source.layers, 0..<10), from: source, to: target) == 10)
    #expect(try await streamer.scatter(span(source.layers, 0..<30), from: source, to: target) == 30)
    #expect(streamer.counters.bytesPosted == 2 * 30 * 48)
    #expect(try await streamer.scatter(span(source.layers, 0..<30), from: source, to: target) == 30)
    #expect(streamer.counters.bytesPosted == 2 * 30 * 48)
    try await expectRows(target.store, tokens, span(source.layers, 0..<30))
}

@Test func scatter_positionsAboveTheTargetsWatermark_leaveAGapAndFail() async throws {
    let tokens = testTokens(30, seed: 5)
    let source = try await pipeline(1, of: 2, tokens: tokens, committed: 30)[0]
    let target = try await targets(1, of: 2, positions: 30)[0]
    let streamer = try streamer(StreamOptions(), tokens)
    let error = await #expect(throws: DejaVuError.self) {
        try await streamer.scatter(span(source.layers, 10..<30), from: source, to: target)
    }
    #expect(error?.code == .invalidArgument)
    #expect(try await target.store.watermark(of: sequence, layers: source.layers) == 0)
}

@Test(arguments: [StreamOptions(), .naive])
func scatter_anyOptions_givesTheSameRows(options: StreamOptions) async throws {
    let tokens = testTokens(23, seed: 6)
    let source = try await pipeline(1, of: 3, tokens: tokens, committed: 23)[0]
    let target = try await targets(1, of: 3, positions: 23)[0]
    let streamer = try streamer(options, tokens)
    #expect(try await streamer.scatter(span(source.layers, 0..<23), from: source, to: target) == 23)
    try await expectRows(target.store, tokens, span(source.layers, 0..<23))
}

@Test func scatter_stalledTarget_endsAtItsDeadlineAndGivesItsMemoryBack() async throws {
    let tokens = testTokens(8, seed: 7)
    let source = try await pipeline(1, of: 2, tokens: tokens, committed: 8)[0]
    let target = try await targets(1, of: 2, positions: 8)[0]
    (target.store as? LedgerStore)?.set { $0.isStalled = true }
    let streamer = try streamer(StreamOptions(), tokens)
    let error = await #expect(throws: DejaVuError.self) {
        try await streamer.scatter(
            span(source.layers, 0..<8), from: source, to: target, within: .milliseconds(50))
    }
    #expect(error?.code == .deadlineExceeded)
    #expect(streamer.counters.bytesInFlight == 0)
    #expect(streamer.counters.framesInFlight == 0)
    (target.store as? LedgerStore)?.set { $0.isStalled = false }
    #expect(try await streamer.scatter(span(source.layers, 0..<8), from: source, to: target) == 8)
    try await expectRows(target.store, tokens, span(source.layers, 0..<8))
}

@Test func scatter_cancelledInMidTransfer_commitsNothingMore() async throws {
    let tokens = testTokens(64, seed: 8)
    let source = try await pipeline(1, of: 2, tokens: tokens, committed: 64)[0]
    let target = try await targets(1, of: 2, positions: 64)[0]
    var options = StreamOptions()
    options.frameBytesMax = 2 * 48
    options.framesInFlightMax = 2
    let store = try #require(target.store as? LedgerStore)
    store.set { $0.writeDelay = .milliseconds(5) }
    let streamer = try streamer(options, tokens)
    let task = Task { () -> DejaVuError? in
        do throws(DejaVuError) {
            try await streamer.scatter(span(source.layers, 0..<64), from: source, to: target)
            return nil
        } catch { return error }
    }
    while store.writeCount < 5 { try await Task.sleep(for: .milliseconds(1)) }
    task.cancel()
    #expect(await task.value?.code == .cancelled)
    let mark = try await store.watermark(of: sequence, layers: source.layers)
    #expect(mark < 64)
    #expect(streamer.counters.bytesInFlight == 0)
    try await expectRows(store, tokens, span(source.layers, 0..<mark))
    store.set { $0.writeDelay = .zero }
    #expect(try await streamer.scatter(span(source.layers, 0..<64), from: source, to: target) == 64)
    try await expectRows(store, tokens, span(source.layers, 0..<64))
}

@Test func scatter_releasedWhileLanding_isRefused() async throws {
    let tokens = testTokens(64, seed: 9)
    let source = try await pipeline(1, of: 2, tokens: tokens, committed: 64)[0]
    let target = try await targets(1, of: 2, positions: 64)[0]
    let store = try #require(target.store as? LedgerStore)
    store.set { $0.writeDelay = .milliseconds(5) }
    var options = StreamOptions()
    options.frameBytesMax = 2 * 48
    let streamer = try streamer(options, tokens)
    let task = Task { () -> DejaVuError? in
        do throws(DejaVuError) {
            try await streamer.scatter(span(source.layers, 0..<64), from: source, to: target)
            return nil
        } catch { return error }
    }
    while store.writeCount < 5 { try await Task.sleep(for: .milliseconds(1)) }
    try await store.release(sequence)
    #expect(await task.value?.code == .refused)
    #expect(try await store.watermark(of: sequence, layers: source.layers) == 0)
}

@Test func layerPieces_allPairsOfDepths_coverEachLayerOnce() throws {
    for layers in 1...9 {
        for from in 1...layers {
            for to in 1...layers {
                let sources = LayerRange.even(layers: layers, stages: from)
                let targets = LayerRange.even(layers: layers, stages: to)
                let pieces = try LayerPieces.of(LayerRange(0, layers), sources: sources, targets: targets)
                #expect(pieces.flatMap(\.layers.indices) == Array(0..<layers))
                for piece in pieces {
                    #expect(sources[piece.source].contains(piece.layers))
                    #expect(targets[piece.target].contains(piece.layers))
                }
                #expect(pieces.count <= from + to - 1)
            }
        }
    }
}
