import DejaVuCore
import DejaVuKV
import DejaVuLib
import Testing

private let layers = LayerRange(0, 5)
private let rowBytes = 48

/// A store here, or one behind a transport.
enum StoreKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case plain, host
    var testDescription: String { rawValue }

    func make(_ name: String, layers: LayerRange) throws -> any KVStore {
        switch self {
        case .plain: LedgerStore(name, layers: layers, rowBytes: rowBytes)
        case .host:
            try HostStore(
                name: name, layers: layers, rowBytes: rowBytes, numericClass: NumericClass(hash: 7),
                options: HostStore.Options(budget: 4 << 20))
        }
    }
}

/// Where a destination is.
enum Way: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case here, memory, unix, tcp
    var testDescription: String { rawValue }
    var kind: Kind? { Kind(rawValue: rawValue) }
}

/// Gives a store as it is seen from here, at the end of a way.
func withStore(
    _ kind: StoreKind, _ way: Way, _ body: (any KVStore, any KVStore) async throws -> Void
) async throws {
    let store = try kind.make("\(kind) over \(way)", layers: layers)
    guard let transport = way.kind else { return try await body(store, store) }
    try await withFabric(transport, ["store": store]) { fabric in
        let peer = try await PeerStore.named("store", over: fabric.near, priority: .handOver, within: patience)
        try await body(peer, store)
    }
}

/// All pairs of source and destination, over all ways in both directions.
private let pairs: [(StoreKind, Way, StoreKind, Way)] = StoreKind.allCases.flatMap { source in
    Way.allCases.flatMap { from in
        StoreKind.allCases.flatMap { target in Way.allCases.map { (source, from, target, $0) } }
    }
}

/// A sample of random spans goes from every kind of store to every kind of store, over every transport, in frames and
/// chunks of random sizes: every byte arrives where it belongs.
@Test(arguments: pairs)
func scatter_anyPairOfStores_movesEveryByte(pair: (StoreKind, Way, StoreKind, Way)) async throws {
    var random = SeededGenerator(seed: 11)
    try await withStore(pair.0, pair.1) { source, sourceItself in
        try await withStore(pair.2, pair.3) { target, targetItself in
            for round in 0..<8 {
                let id = SequenceID(UInt64(100 + round))
                let text = testTokens(random.next(in: 1...80), seed: UInt64(round))
                let first = random.next(below: 5)
                let part = LayerRange(first, random.next(in: first + 1...5))
                var options = StreamOptions()
                options.frameBytesMax = rowBytes * random.next(in: 1...200)
                options.chunkBytesMax = random.next(in: 1...5000)
                options.framesInFlightMax = random.next(in: 1...8)
                let streamer = Streamer(options: options)
                try streamer.tokens.append(text, of: id)
                let own = Ticket(
                    number: UInt64(2 * round + 1), sequence: id, layers: layers, positionLimit: text.count,
                    writer: Incarnation(1))
                try await sourceItself.open(own, tokens: [])
                let whole = Span(sequence: id, layers: layers, positions: 0..<text.count)
                try await sourceItself.commit(
                    testRows(text, whole, rowBytes: rowBytes), whole, ticket: own, tokens: streamer.tokens)
                let theirs = Ticket(
                    number: UInt64(2 * round + 2), sequence: id, layers: part, positionLimit: text.count,
                    writer: EngineHarness.writer)
                try await target.open(theirs, tokens: [])
                // In two parts, of which the second takes up what the first left.
                let cut = random.next(in: 0...text.count)
                for end in [cut, text.count] {
                    try await streamer.scatter(
                        Span(sequence: id, layers: part, positions: 0..<end), from: source,
                        to: StreamTarget(target, ticket: theirs))
                }
                let span = Span(sequence: id, layers: part, positions: 0..<text.count)
                try await expectRows(targetItself, text, span)
                try await expectRows(target, text, span)
                #expect(streamer.counters.bytesInFlight == 0)
                try await target.release(id)
                try await sourceItself.release(id)
            }
        }
    }
}

@Test(arguments: Way.allCases)
func flushAndFetch_oneRun_isOneFrame(way: Way) async throws {
    let text = testTokens(12, seed: 3)
    let id = SequenceID(5)
    let source = LedgerStore("source", layers: layers)
    let streamer = Streamer()
    try streamer.tokens.append(text, of: id)
    let ticket = Ticket(number: 1, sequence: id, layers: layers, positionLimit: 12, writer: EngineHarness.writer)
    try await source.open(ticket, tokens: [])
    source.compute(text, Span(sequence: id, layers: layers, positions: 0..<12))
    let run = Span(sequence: id, layers: LayerRange(2, 3), positions: 0..<12)
    try await withStore(.host, way) { target, _ in
        try await target.open(ticket, tokens: [])
        #expect(try await streamer.flush(run, from: source, to: StreamTarget(target, ticket: ticket)) == 12)
        #expect(streamer.counters.framesCommitted == 1)
        let back = LedgerStore("back", layers: layers)
        try await back.open(ticket, tokens: [])
        #expect(try await streamer.fetch(run, from: target, into: StreamTarget(back, ticket: ticket)) == 12)
        try await expectRows(back, text, run)
    }
    var options = StreamOptions()
    options.frameBytesMax = 11 * rowBytes
    let narrow = Streamer(options: options, tokens: streamer.tokens)
    let back = LedgerStore("back", layers: layers)
    try await back.open(ticket, tokens: [])
    let error = await #expect(throws: DejaVuError.self) {
        try await narrow.flush(run, from: source, to: StreamTarget(back, ticket: ticket))
    }
    #expect(error?.code == .invalidArgument)
}
