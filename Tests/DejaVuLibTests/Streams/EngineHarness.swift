import DejaVuCore
import DejaVuKV
import DejaVuLib
import Synchronization
import Testing

/// One engine with its source and destinations in this process, and what it has reported.
final class EngineHarness: Sendable {
    /// Peers take frames only of whom they have shaken hands with: `worker`.
    static let writer = Incarnation(42)
    let source: LedgerStore
    let engine: StreamEngine
    private let numbers = Mutex<UInt64>(0)

    init(layers: LayerRange, options: StreamOptions = StreamOptions()) {
        let source = LedgerStore("source", layers: layers)
        self.source = source
        let reports = Reports()
        engine = StreamEngine(source: source, streamer: Streamer(options: options)) { reports.add($0) }
        self.reports = reports
    }

    private let reports: Reports
    private final class Reports: Sendable {
        let events = Mutex<[StreamEvent]>([])
        func add(_ event: StreamEvent) { events.withLock { $0.append(event) } }
    }
    var events: [StreamEvent] { reports.events.withLock { $0 } }

    /// Runs the engine while the body does.
    func run(_ body: () async throws -> Void) async throws {
        let task = Task { await engine.run() }
        do { try await body() } catch {
            task.cancel()
            await task.value
            throw error
        }
        task.cancel()
        await task.value
        #expect(engine.counters.framesInFlight == 0)
        #expect(engine.counters.bytesInFlight == 0)
    }

    func nextNumber() -> UInt64 {
        numbers.withLock { number in
            number += 1
            return number
        }
    }

    /// The source holds a sequence from now on; nothing is computed yet.
    func open(_ sequence: SequenceID, tokens: [TokenID], limit: Int) async throws {
        try await source.open(
            Ticket(
                number: nextNumber(), sequence: sequence, layers: source.layers, positionLimit: limit,
                writer: Incarnation(9)), tokens: tokens)
        try engine.streamer.tokens.append(tokens, of: sequence)
    }

    /// A pass over some layers, as a compute thread would tell of it.
    func compute(_ tokens: [TokenID], _ sequence: SequenceID, _ positions: Range<Int>, layers: LayerRange? = nil) {
        let layers = layers ?? source.layers
        source.compute(tokens, Span(sequence: sequence, layers: layers, positions: positions))
        engine.doorbell.note(sequence, layers: layers, watermark: positions.upperBound)
        engine.doorbell.ring()
    }

    /// A destination takes a sequence.
    func grant(_ store: any KVStore, _ id: StoreID, _ sequence: SequenceID, limit: Int) async throws {
        let ticket = Ticket(
            number: nextNumber(), sequence: sequence, layers: store.layers, positionLimit: limit, writer: Self.writer)
        try await store.open(ticket, tokens: [])
        try engine.grant(ticket, by: id)
    }

    func order(
        _ number: UInt64, to destination: StoreID, _ layers: LayerRange, priority: StreamPriority = .replica
    ) -> Subscription {
        Subscription(id: SubscriptionID(number), destination: destination, layers: layers, priority: priority)
    }
}

/// Polls for what happens soon on other tasks; a test fails, it never hangs.
func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
    for _ in 0..<4000 {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    throw DejaVuError(.deadlineExceeded, "waited in vain for: \(what)")
}
