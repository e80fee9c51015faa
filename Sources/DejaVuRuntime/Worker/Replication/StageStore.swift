package import DejaVuControl
package import DejaVuCore
package import DejaVuEngine
package import DejaVuKV
package import DejaVuLib
package import NIOCore
import Synchronization

/// A stage's cells as a store: what a source's stream reads, and what frames land in at a holder.
///
/// The controller gives out cells, so sequences are opened and released by this process alone, never by a peer. Its
/// ledger says who may write; bytes move on whatever thread asks, beside the passes (see `StageMemory`).
package final class StageStore: KVStore {
    struct State: Sendable {
        var ledger: Ledger
        var cells: [SequenceID: CellRun] = [:]
        /// As they were opened or adopted.
        var records: [SequenceID: SequenceRecord] = [:]
        /// Frames on their way into a sequence's cells.
        var arrivals: [SequenceID: [StageArrival]] = [:]
        /// Who waits until nobody writes under a dead ticket any more.
        var waiting: [UInt64: @Sendable () -> Void] = [:]
        var doorbell: Doorbell?
        /// Told of each frame that has been committed; must not wait.
        var landed: @Sendable (SequenceMark) -> Void
    }

    package let name: String
    package let layers: LayerRange
    package let rowBytes: Int
    package let numericClass: NumericClass
    /// What frames say of the sequences' texts.
    package let tokens = TokenBook()
    /// Told of passes that will come.
    package let announcements: (any PassAnnouncements)?
    let memory: any StageMemory
    let tracer: WorkerTracer
    let state: Mutex<State>
    /// Held while a frame's rows are written, from the last look at its ticket on.
    let writing = Mutex(())

    package init(
        name: String, stage: StageDescription, memory: any StageMemory,
        announcements: (any PassAnnouncements)? = nil, tracer: WorkerTracer = WorkerTracer(),
        landed: @escaping @Sendable (SequenceMark) -> Void = { _ in }
    ) {
        self.name = name
        self.announcements = announcements
        layers = stage.layers
        rowBytes = memory.rowBytes
        numericClass = stage.numericClass
        self.memory = memory
        self.tracer = tracer
        state = Mutex(
            State(
                ledger: Ledger(layers: stage.layers, rowBytes: memory.rowBytes, numericClass: stage.numericClass),
                landed: landed))
    }

    // MARK: The process's side

    /// Takes a sequence in that has nothing in its cells yet.
    package func open(_ record: SequenceRecord, cells: CellRun, ticket: Ticket) throws(DejaVuError) {
        let text = record.prompt + record.outputs
        try state.withLock { (state) throws(DejaVuError) in
            try state.ledger.open(ticket, tokens: text)
            state.cells[record.id] = cells
            state.records[record.id] = record
        }
        try tokens.append(text, of: record.id)
    }

    /// The sequence is this process's own from here on: its old ticket is dead, and what only some layers have is
    /// forgotten.
    ///
    /// - Returns: its cells, and how many positions are committed in them.
    package func adopt(_ record: SequenceRecord, ticket: Ticket) throws(DejaVuError) -> (cells: CellRun, watermark: Int)
    {
        let text = record.prompt + record.outputs
        try state.withLock { (state) throws(DejaVuError) in
            let settled = try state.ledger.renew(ticket)
            precondition(settled.quiet.isEmpty, "a renewal releases nothing")
        }
        // Who saw an old ticket open has written now; what else is on its way writes nothing any more.
        writing.withLock { _ in }
        let (place, quiet) = try state.withLock { (state) throws(DejaVuError) in
            var settled = Settlement()
            for arrival in state.arrivals.removeValue(forKey: record.id) ?? [] {
                settled.quiet += state.ledger.abandon(arrival.id).quiet
            }
            let told = try state.ledger.tell(text, at: 0, of: record.id)
            guard let cells = state.cells[record.id] else {
                throw DejaVuError(.internalError, "\(record.id) is open without cells")
            }
            state.records[record.id] = record
            let watermark = state.ledger.watermark(of: record.id, layers: layers)
            let lowered = state.ledger.lower(record.id, layers: layers, to: watermark).settled
            return ((cells, watermark), state.take(settled.quiet + told.quiet + lowered.quiet))
        }
        for body in quiet { body() }
        try tokens.append(text, of: record.id)
        return (place.0, place.1)
    }

    /// Lets a further writer into an open sequence's cells, instead of whoever was let into these layers before.
    ///
    /// - Returns: how many positions are committed.
    package func share(_ ticket: Ticket) throws(DejaVuError) -> Int {
        endShares(of: [ticket.sequence], layers: ticket.layers)
        return try state.withLock { (state) throws(DejaVuError) in
            try state.ledger.share(ticket)
            return state.ledger.watermark(of: ticket.sequence, layers: layers)
        }
    }

    /// What frames have brought of a sequence, and an engine does not know of.
    package struct News: Sendable {
        /// With all tokens up to the watermark.
        package let record: SequenceRecord
        package let cells: CellRun
        package let watermark: Int
    }

    /// A pass is about to write: whoever was let in besides has written his last. Called on the compute thread.
    ///
    /// - Parameter held: what the engine knows to be there of a sequence.
    package func begin(_ pass: Pass, held: (SequenceID) -> Int) -> [News] {
        endShares(of: pass.entries.map(\.sequence), layers: layers)
        var news: [News] = []
        for entry in pass.entries {
            let known = held(entry.sequence)
            state.withLock { state in
                let watermark = state.ledger.watermark(of: entry.sequence, layers: layers)
                guard watermark > known, let cells = state.cells[entry.sequence],
                    var record = state.records[entry.sequence]
                else { return }
                if watermark > record.knownCount,
                    let tokens = state.ledger.tokens(of: entry.sequence, in: record.knownCount..<watermark)
                {
                    record.outputs += tokens
                }
                news.append(News(record: record, cells: cells, watermark: watermark))
            }
        }
        return news
    }

    private func endShares(of sequences: [SequenceID], layers: LayerRange) {
        let (ended, quiet) = state.withLock { state -> ([SequenceID], [@Sendable () -> Void]) in
            let ended = sequences.filter { !state.ledger.shares(of: $0).isEmpty }
            let settled = ended.flatMap { state.ledger.withdrawShares(of: $0, layers: layers).quiet }
            return (ended, state.take(settled))
        }
        for body in quiet { body() }
        guard !ended.isEmpty else { return }
        // As when a sequence is adopted.
        writing.withLock { _ in }
        let more = state.withLock { state in
            var settled: [UInt64] = []
            for sequence in ended {
                let open = Set(state.ledger.shares(of: sequence).map(\.number))
                for arrival in state.arrivals[sequence] ?? [] where !open.contains(arrival.ticket) {
                    state.forget(arrival.id, of: sequence)
                    settled += state.ledger.abandon(arrival.id).quiet
                }
            }
            return state.take(settled)
        }
        for body in more { body() }
    }

    /// Who is to hear of committed frames.
    package func setLanded(_ landed: @escaping @Sendable (SequenceMark) -> Void) {
        state.withLock { $0.landed = landed }
    }

    /// A pass has run: its rows are committed. Called on the compute thread.
    package func committed(_ pass: Pass) {
        let now = MonotonicClock.now
        let doorbell = state.withLock { state in
            for entry in pass.entries {
                let span = Span(sequence: entry.sequence, layers: layers, positions: entry.first..<entry.end)
                guard case .land(let arrival) = state.ledger.admitLocal(span, tokens: entry.tokens) else { continue }
                _ = state.ledger.finish(arrival.id, intact: true, at: now)
            }
            return state.doorbell
        }
        for entry in pass.entries {
            do throws(DejaVuError) {
                try tokens.append(entry.tokens, at: entry.first, of: entry.sequence)
            } catch {
                preconditionFailure("\(pass.id) ran tokens that are not the sequence's: \(error)")
            }
            doorbell?.note(entry.sequence, layers: layers, watermark: entry.end)
        }
        doorbell?.ring()
    }

    /// Who is to hear of committed passes.
    package func setDoorbell(_ doorbell: Doorbell?) { state.withLock { $0.doorbell = doorbell } }

    /// Revokes the ticket at once.
    ///
    /// - Parameter quiet: called once, when nothing can be written to its cells any more.
    package func release(_ sequence: SequenceID, quiet: @escaping @Sendable () -> Void = {}) {
        let isQuiet = state.withLock { state in
            state.cells[sequence] = nil
            state.records[sequence] = nil
            state.arrivals[sequence] = nil
            guard let number = state.ledger.ticket(of: sequence)?.number, let settled = state.ledger.release(sequence)
            else { return true }
            if settled.quiet.contains(number) { return true }
            state.waiting[number] = quiet
            return false
        }
        tokens.release(sequence)
        if isQuiet { quiet() }
    }

    /// What is committed of all open sequences.
    package var marks: [SequenceMark] {
        state.withLock { state in
            state.ledger.sequences.map {
                SequenceMark(sequence: $0, watermark: state.ledger.watermark(of: $0, layers: layers))
            }
        }
    }

    /// The tokens of a sequence from position 0 on, as far as passes and committed frames have brought them.
    package func knownTokens(of sequence: SequenceID) -> [TokenID] {
        let landed = state.withLock { state in
            let mark = state.ledger.watermark(of: sequence, layers: layers)
            return state.ledger.tokens(of: sequence, in: 0..<mark).map { Array($0) } ?? []
        }
        let told = tokens.text(of: sequence, in: 0..<tokens.count(of: sequence))?.tokens ?? []
        return told.count > landed.count ? told : landed
    }

    // MARK: KVStore

    package func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError) {
        throw DejaVuError(.unsupported, "the controller opens sequences in \(name)")
    }

    package func release(_ sequence: SequenceID) async throws(DejaVuError) {
        throw DejaVuError(.unsupported, "the controller releases sequences in \(name)")
    }

    package func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int {
        state.withLock { $0.ledger.watermark(of: sequence, layers: layers) }
    }

    package func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer {
        var buffer = ByteBuffer()
        try await read(span, into: &buffer)
        return buffer
    }

    package func read(_ span: Span, into buffer: inout ByteBuffer) async throws(DejaVuError) {
        let cells = state.withLock { $0.ledger.mayRead(span) ? $0.cells[span.sequence] : nil }
        guard let cells else { throw DejaVuError(.notFound, "\(span) is not in \(name)") }
        let range = cells.start + span.positions.lowerBound..<cells.start + span.positions.upperBound
        let count = span.positions.count * rowBytes
        let start = buffer.writerIndex
        for layer in span.layers.indices {
            var failure: DejaVuError?
            buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { target in
                do throws(DejaVuError) {
                    try memory.read(
                        layer: layer - layers.first, cells: range,
                        into: UnsafeMutableRawBufferPointer(rebasing: target[..<count]))
                } catch { failure = error }
                return count
            }
            guard let failure else { continue }
            buffer.moveWriterIndex(to: start)
            throw failure
        }
    }

    package func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission {
        let now = MonotonicClock.now
        let (admission, cells, isFeed) = state.withLock { state in
            let admission = state.ledger.admit(header, at: now)
            if case .land(let arrival) = admission {
                state.arrivals[header.span.sequence, default: []].append(
                    StageArrival(id: arrival.id, ticket: header.ticket))
            }
            let shares = state.ledger.shares(of: header.span.sequence)
            return (admission, state.cells[header.span.sequence], shares.contains { $0.number == header.ticket })
        }
        switch admission {
        case .land(let arrival):
            guard let cells else { preconditionFailure("\(header.span.sequence) is open without cells") }
            let transfer = TracedTransfer(header, kind: isFeed ? .feed : .replica, at: now)
            return .land(StageLanding(store: self, arrival: arrival, cells: cells, transfer: transfer))
        case .known(let watermark): return .known(watermark: watermark)
        case .gap(let watermark): return .gap(watermark: watermark)
        case .refused(let refusal, _): throw Self.error(refusal, header.span)
        }
    }
}

/// A frame that has been let in, and under which ticket.
struct StageArrival: Sendable {
    let id: ArrivalID
    let ticket: UInt64
}
