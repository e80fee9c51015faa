import DejaVuCore
import DejaVuKV
import DejaVuLib
import NIOCore
import Synchronization
import Testing

/// The bytes that a row must have: a function of all tokens up to it, the layer and the position, as in a real model.
func testRow(_ tokens: some Collection<TokenID>, layer: Int, position: Int, rowBytes: Int) -> [UInt8] {
    testRow(hash: TokenChain(tokens.prefix(position + 1)).hash, layer: layer, position: position, rowBytes: rowBytes)
}

func testRow(hash: UInt64, layer: Int, position: Int, rowBytes: Int) -> [UInt8] {
    var state = mix64(hash ^ mix64(UInt64(layer) << 32 ^ UInt64(position)))
    return (0..<rowBytes).map { index in
        if index % 8 == 0 { state = mix64(state &+ 1) }
        return UInt8(truncatingIfNeeded: state >> UInt64(index % 8 * 8))
    }
}

/// The packed rows that a span must have.
func testRows(_ tokens: [TokenID], _ span: Span, rowBytes: Int) -> [UInt8] {
    span.layers.indices.flatMap { layer in
        span.positions.flatMap { testRow(tokens, layer: layer, position: $0, rowBytes: rowBytes) }
    }
}

func testTokens(_ count: Int, seed: UInt64) -> [TokenID] {
    var generator = SeededGenerator(seed: seed)
    return (0..<count).map { _ in TokenID(generator.next(below: 1000)) }
}

/// A store in plain arrays over a real ledger, with faults to order.
final class LedgerStore: KVStore {
    struct Faults {
        /// Before each chunk.
        var writeDelay: Duration = .zero
        /// The next so many chunks fail.
        var failingWrites = 0
        /// The next so many frames fail at the end.
        var failingFinishes = 0
        var failingReads = 0
        /// Chunks wait until their task is cancelled.
        var isStalled = false
        /// The same, after so many more.
        var writesUntilStall: Int?
    }
    private struct State {
        var ledger: Ledger
        var rows: [SequenceID: [UInt8]] = [:]
        var waiters: [ArrivalID: CheckedContinuation<Completion, Never>] = [:]
        var ended: [ArrivalID: Completion] = [:]
        var faults = Faults()
        var readCount = 0
        var writeCount = 0
    }
    let name: String
    let layers: LayerRange
    let rowBytes: Int
    let numericClass = NumericClass(hash: 7)
    private let state: Mutex<State>

    init(_ name: String, layers: LayerRange, rowBytes: Int = 48) {
        self.name = name
        self.layers = layers
        self.rowBytes = rowBytes
        state = Mutex(State(ledger: Ledger(layers: layers, rowBytes: rowBytes, numericClass: NumericClass(hash: 7))))
    }

    var isStalled: Bool { state.withLock { $0.faults.isStalled } }
    var readCount: Int { state.withLock { $0.readCount } }
    var writeCount: Int { state.withLock { $0.writeCount } }
    func set(_ change: (inout Faults) -> Void) { state.withLock { change(&$0.faults) } }

    func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError) {
        let result = state.withLock { state -> Result<Void, DejaVuError> in
            do throws(DejaVuError) {
                try state.ledger.open(ticket, tokens: tokens)
                state.rows[ticket.sequence] = [UInt8](
                    repeating: 0, count: layers.count * ticket.positionLimit * rowBytes)
                return .success(())
            } catch { return .failure(error) }
        }
        try result.get()
    }

    /// Rows of the store's own engine.
    func compute(_ tokens: [TokenID], _ span: Span) {
        state.withLock { state in
            guard
                case .land(let arrival) = state.ledger.admitLocal(span, tokens: Array(tokens[span.positions]))
            else { return }
            place(arrival, testRows(tokens, span, rowBytes: rowBytes), &state)
            settle(state.ledger.finish(arrival.id, intact: true, at: .zero), arrival.id, &state)
        }
    }

    func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int {
        state.withLock { $0.ledger.watermark(of: sequence, layers: layers) }
    }

    func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer {
        let result = state.withLock { state -> Result<ByteBuffer, DejaVuError> in
            state.readCount += 1
            if state.faults.failingReads > 0 {
                state.faults.failingReads -= 1
                return .failure(DejaVuError(.unavailable, "a read that was to fail"))
            }
            guard state.ledger.mayRead(span), let rows = state.rows[span.sequence] else {
                return .failure(DejaVuError(.notFound, "\(span) is not committed in \(name)"))
            }
            var buffer = ByteBuffer()
            for layer in span.layers.indices {
                let start = offset(layer, span.positions.lowerBound, rows.count)
                buffer.writeBytes(rows[start..<start + span.positions.count * rowBytes])
            }
            return .success(buffer)
        }
        return try result.get()
    }

    func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission {
        switch state.withLock({ $0.ledger.admit(header, at: .zero) }) {
        case .land(let arrival): .land(Landing(store: self, arrival: arrival))
        case .known(let watermark): .known(watermark: watermark)
        case .gap(let watermark): .gap(watermark: watermark)
        case .refused(let refusal, _): throw error(refusal)
        }
    }

    func release(_ sequence: SequenceID) async throws(DejaVuError) {
        state.withLock { state in
            if let settled = state.ledger.release(sequence) { settle(settled, &state) }
            state.rows[sequence] = nil
        }
    }

    /// Damage was found.
    func lower(_ sequence: SequenceID, to end: Int) {
        state.withLock { state in settle(state.ledger.lower(sequence, layers: layers, to: end).settled, &state) }
    }

    private func error(_ refusal: Refusal) -> DejaVuError {
        DejaVuError(
            refusal.isIntegrityFault ? .mismatch : refusal.isPassing ? .unavailable : .refused,
            "\(name): \(refusal.rawValue)")
    }

    private func offset(_ layer: Int, _ position: Int, _ bytes: Int) -> Int {
        (layer - layers.first) * (bytes / layers.count) + position * rowBytes
    }

    private func place(_ arrival: Arrival, _ bytes: [UInt8], _ state: inout State) {
        let span = arrival.span
        guard var rows = state.rows.removeValue(forKey: span.sequence) else { return }
        for part in arrival.parts {
            for layer in part.layers.indices {
                for position in part.positions {
                    let from =
                        ((layer - span.layers.first) * span.positions.count + position - span.positions.lowerBound)
                        * rowBytes
                    let to = offset(layer, position, rows.count)
                    rows.replaceSubrange(to..<to + rowBytes, with: bytes[from..<from + rowBytes])
                }
            }
        }
        state.rows[span.sequence] = rows
    }

    private func settle(_ result: (completion: Completion, settled: Settlement), _ id: ArrivalID, _ state: inout State)
    {
        if result.completion != .waiting { end(id, result.completion, &state) }
        settle(result.settled, &state)
    }

    private func settle(_ settled: Settlement, _ state: inout State) {
        for ended in settled.ended { end(ended.arrival, ended.completion, &state) }
    }

    private func end(_ id: ArrivalID, _ completion: Completion, _ state: inout State) {
        if let waiter = state.waiters.removeValue(forKey: id) {
            waiter.resume(returning: completion)
        } else {
            state.ended[id] = completion
        }
    }

    private final class Landing: FrameLanding {
        let store: LedgerStore
        let arrival: Arrival
        let bytes = Mutex<[UInt8]>([])

        init(store: LedgerStore, arrival: Arrival) {
            self.store = store
            self.arrival = arrival
        }

        func write(_ chunk: ByteBuffer) async throws(DejaVuError) {
            let faults = store.state.withLock { state in
                if let left = state.faults.writesUntilStall {
                    if left == 0 { state.faults.isStalled = true }
                    state.faults.writesUntilStall = max(0, left - 1)
                }
                return state.faults
            }
            if faults.writeDelay > .zero { try? await Task.sleep(for: faults.writeDelay) }
            if faults.isStalled { try? await Task.sleep(for: .seconds(3600)) }
            if Task.isCancelled { throw DejaVuError(.cancelled, "cancelled") }
            let leave = store.state.withLock { state -> ChunkLeave? in
                state.writeCount += 1
                if state.faults.failingWrites > 0 {
                    state.faults.failingWrites -= 1
                    return nil
                }
                return state.ledger.take(arrival.id, bytes: chunk.readableBytes)
            }
            guard let leave else { throw DejaVuError(.network, "a write that was to fail") }
            if leave == .write { bytes.withLock { $0.append(contentsOf: chunk.readableBytesView) } }
        }

        func finish(checksum: UInt32) async throws(DejaVuError) -> Int {
            let bytes = self.bytes.withLock { $0 }
            let failed = store.state.withLock { state -> Bool in
                if state.faults.failingFinishes > 0 {
                    state.faults.failingFinishes -= 1
                    return true
                }
                let intact = Checksum.of(bytes) == checksum
                if intact, bytes.count == arrival.payloadBytes { store.place(arrival, bytes, &state) }
                store.settle(state.ledger.finish(arrival.id, intact: intact, at: .zero), arrival.id, &state)
                return false
            }
            if failed { throw DejaVuError(.network, "a finish that was to fail") }
            let completion = await withCheckedContinuation { continuation in
                store.state.withLock { state in
                    if let ended = state.ended.removeValue(forKey: arrival.id) {
                        continuation.resume(returning: ended)
                    } else {
                        state.waiters[arrival.id] = continuation
                    }
                }
            }
            switch completion {
            case .committed(let watermark): return watermark
            case .refused(let refusal, _): throw store.error(refusal)
            case .waiting: preconditionFailure("a settled arrival does not wait")
            }
        }

        func abandon() {
            store.state.withLock { state in store.settle(state.ledger.abandon(arrival.id), &state) }
        }
    }
}

/// Holds a span of a store against what it must be.
func expectRows(
    _ store: any KVStore, _ tokens: [TokenID], _ span: Span, sourceLocation: SourceLocation = #_sourceLocation
) async throws {
    let mark = try await store.watermark(of: span.sequence, layers: span.layers)
    try #require(mark >= span.positions.upperBound, "\(store.name) holds \(mark)", sourceLocation: sourceLocation)
    let bytes = Array(try await store.read(span).readableBytesView)
    #expect(
        bytes == testRows(tokens, span, rowBytes: store.rowBytes), "\(store.name): \(span)",
        sourceLocation: sourceLocation)
}
