import DejaVuCore
import DejaVuKV
import DejaVuLib
import Glibc
import Testing

private let layers = LayerRange(0, 5)
private let rowBytes = 48

/// What keeps the rows.
enum StoreKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case host, disk, ggmlDevice, fasterTransformerDevice
    var testDescription: String { rawValue }

    /// - Parameter directory: empty, for what needs one.
    func make(_ name: String, layers: LayerRange, directory: String = "") async throws -> any KVStore {
        let numericClass = NumericClass(hash: 7)
        let row = try KVRow(headCount: 2, headSize: 6, elementBytes: 2)
        switch self {
        case .host:
            return try HostStore(
                name: name, layers: layers, rowBytes: rowBytes, numericClass: numericClass,
                options: HostStore.Options(budget: 4 << 20))
        case .disk:
            var options = DiskStore.Options(directory: directory, budget: 16 << 20)
            options.sync = .onClose
            return try await DiskStore.open(
                name: name, layers: layers, rowBytes: rowBytes, numericClass: numericClass, options: options)
        case .ggmlDevice:
            return try device(name, .ggml(row, layers: layers, cellCount: 512), numericClass)
        case .fasterTransformerDevice:
            return try device(
                name, .fasterTransformer(row, layers: layers, batch: 3, length: 100, x: 2), numericClass)
        }
    }

    private func device(_ name: String, _ layout: KVLayout, _ numericClass: NumericClass) throws -> DeviceStore {
        var cost = EmulatedDevice.Cost()
        cost.launch = .zero
        return try DeviceStore(
            name: name, layout: layout, memory: EmulatedDevice(layout: layout, cost: cost), numericClass: numericClass)
    }
}

/// A directory for a test, which goes with it.
private func withDirectory(_ body: (String) async throws -> Void) async throws {
    let path = "/tmp/dejavu-pairs-\(getpid())-\(UInt64.random(in: 0 ... .max))"
    guard mkdir(path, 0o700) == 0 else { throw DejaVuError(.unavailable, "no directory") }
    let result: (any Error)?
    do {
        try await body(path)
        result = nil
    } catch { result = error }
    for name in (try? PosixFileSystem().list(path)) ?? [] { unlink(path + "/" + name) }
    unlink(path + "/lock")
    rmdir(path)
    if let result { throw result }
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
    try await withDirectory { directory in
        let store = try await kind.make("\(kind) over \(way)", layers: layers, directory: directory)
        if let transport = way.kind {
            try await withFabric(transport, ["store": store]) { fabric in
                let peer = try await PeerStore.named("store", over: fabric.near, priority: .handOver, within: patience)
                try await body(peer, store)
            }
        } else {
            try await body(store, store)
        }
        try await (store as? DiskStore)?.close()
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
            for round in 0..<4 {
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
