public import DejaVuCore
public import DejaVuKV
public import NIOCore
import Synchronization

/// Keeps KV in a device's own layout: the ledger, the cells, and copies by transfer plans on a thread of its own.
///
/// The engine writes rows itself and commits them (`beginPass`); frames from elsewhere land beside that. What is read
/// comes out packed.
public final class DeviceStore: BookedStore, InPlaceSource {
    typealias Place = DevicePlace

    public let name: String
    public let layout: KVLayout
    public let numericClass: NumericClass
    let memory: any DeviceMemory
    let plans: PlanCache
    let copyThread = IOThreads(count: 1)
    private let state: Mutex<State>
    private let onEvent: @Sendable (StoreEvent) -> Void

    private struct State: Sendable {
        var books: StoreBooks<DevicePlace>
        var cells: DeviceCells
    }

    /// - Throws: `.invalidArgument` if the memory does not have the layout's regions.
    public init(
        name: String, layout: KVLayout, memory: any DeviceMemory, numericClass: NumericClass,
        limits: LedgerLimits = LedgerLimits(), onEvent: @escaping @Sendable (StoreEvent) -> Void = { _ in }
    ) throws(DejaVuError) {
        let regions = memory.regionBytes
        guard regions.count == layout.regionCount, regions.allSatisfy({ $0 >= layout.regionBytes }) else {
            throw DejaVuError(
                .invalidArgument, "\(name): \(regions.count) regions for a layout of \(layout.regionCount)")
        }
        self.name = name
        self.layout = layout
        self.memory = memory
        self.numericClass = numericClass
        self.onEvent = onEvent
        plans = PlanCache(layout)
        let ledger = Ledger(
            layers: layout.layers, rowBytes: layout.row.rowBytes, numericClass: numericClass, limits: limits)
        state = Mutex(State(books: StoreBooks(ledger), cells: DeviceCells(layout)))
    }

    deinit { copyThread.endLater() }

    public var layers: LayerRange { layout.layers }
    public var rowBytes: Int { layout.row.rowBytes }

    func withBooks<Value: Sendable>(
        _ body: (inout Books, inout Books.Followup) throws(DejaVuError) -> Value
    ) throws(DejaVuError) -> Value {
        var followup = Books.Followup()
        let result = state.withLock { state in
            let result = Result { () throws(DejaVuError) in try body(&state.books, &followup) }
            for place in followup.freed { state.cells.give(back: place) }
            return result
        }
        followup.resume(onEvent)
        return try result.get()
    }

    /// Proves that the books and the cells agree.
    package func checkIntegrity() {
        state.withLock { state in
            state.books.checkIntegrity()
            state.cells.checkIntegrity()
        }
    }

    // MARK: Opening

    /// Opens a sequence in cells that the store gives out itself.
    public func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError) {
        try open(ticket, tokens) { (cells) throws(DejaVuError) in
            try cells.take(positions: ticket.positionLimit, of: ticket.sequence)
        }
    }

    /// Opens a sequence in cells that the device's owner gives out. One store does it one way or the other.
    ///
    /// - Throws: as `open`; `.invalidArgument` also if the cells are not there or are used.
    public func open(_ ticket: Ticket, tokens: [TokenID], cells run: CellRun) throws(DejaVuError) {
        try open(ticket, tokens) { (cells) throws(DejaVuError) in
            try cells.assign(run, positions: ticket.positionLimit, of: ticket.sequence)
        }
    }

    private func open(
        _ ticket: Ticket, _ tokens: [TokenID], _ place: (inout DeviceCells) throws(DejaVuError) -> DevicePlace
    ) throws(DejaVuError) {
        try state.withLock { (state) throws(DejaVuError) in
            let place = try place(&state.cells)
            do throws(DejaVuError) {
                try state.books.open(ticket, tokens: tokens, place: place)
            } catch {
                state.cells.give(back: place)
                throw error
            }
        }
    }

    public func renew(_ ticket: Ticket) async throws(DejaVuError) {
        try withBooks { (books, followup) throws(DejaVuError) in try books.renew(ticket, &followup) }
    }

    /// Tells tokens that came another way than with frames or passes.
    public func tell(_ tokens: [TokenID], at first: Int, of sequence: SequenceID) throws(DejaVuError) {
        try withBooks { (books, followup) throws(DejaVuError) in
            try books.tell(tokens, at: first, of: sequence, &followup)
        }
    }

    public func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int {
        bookedWatermark(of: sequence, layers: layers)
    }

    public func release(_ sequence: SequenceID) async throws(DejaVuError) { await releaseBooked(sequence) }

    // MARK: Reading

    public func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer {
        var buffer = ByteBuffer()
        try await read(span, into: &buffer)
        return buffer
    }

    public func read(_ span: Span, into buffer: inout ByteBuffer) async throws(DejaVuError) {
        let (tenancy, place) = try withBooks { (books, _) throws(DejaVuError) in try books.pin(span) }
        defer { unpin(tenancy) }
        let plan = try plans.fromDevice(span.layers, span.positions.count)
        let cell = place.start + span.positions.lowerBound
        let shared = SharedBuffer(buffer)
        buffer = ByteBuffer()
        defer { buffer = shared.value.withLock { $0 } }
        let memory = memory
        try await copyThread.run { () throws(DejaVuError) in
            let result = shared.value.withLock { buffer in
                var failure: DejaVuError?
                buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: plan.byteCount) { bytes in
                    do throws(DejaVuError) {
                        let target = UnsafeMutableRawBufferPointer(rebasing: bytes[..<plan.byteCount])
                        try memory.gather(plan, cell: cell, into: [target])
                        return plan.byteCount
                    } catch {
                        failure = error
                        return 0
                    }
                }
                return failure
            }
            if let result { throw result }
        }
    }

    /// Each read is a visit to the copy thread, and on real devices at least one launch.
    public var partBytes: Int { 1 << 20 }

    public func copy(_ span: Span, to target: RowMemory) async throws(DejaVuError) -> UInt32 {
        let (tenancy, place) = try withBooks { (books, _) throws(DejaVuError) in try books.pin(span) }
        defer { unpin(tenancy) }
        let plan = try plans.fromDevice(span.layers, span.positions.count, layerByLayer: true)
        let cell = place.start + span.positions.lowerBound
        let memory = memory
        return try await copyThread.run { () throws(DejaVuError) in
            try memory.gather(plan, cell: cell, into: target.layers)
            return target.checksum
        }
    }

    // MARK: Landing

    public func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission {
        let now = MonotonicTime.now
        let admission = try withBooks { (books, followup) throws(DejaVuError) in
            try books.admit(header, at: now, &followup)
        }
        switch admission {
        case .land(let arrival, let place): return .land(DeviceLanding(self, arrival, place))
        case .known(let watermark): return .known(watermark: watermark)
        case .gap(let watermark): return .gap(watermark: watermark)
        }
    }

    /// Asks for leave to let the engine write rows of a span. May be called from the compute thread: it never waits.
    ///
    /// - Throws: `.refused` if the sequence is not open or its ticket does not reach so far; `.mismatch` if the tokens
    ///   are others than those known; `.unavailable` while a frame lands on the same rows.
    public func beginPass(_ span: Span, tokens: [TokenID]) throws(DejaVuError) -> PassAdmission {
        let admission = try withBooks { (books, _) throws(DejaVuError) in try books.admitLocal(span, tokens: tokens) }
        switch admission {
        case .land(let arrival, let place):
            return .run(DevicePass(store: self, arrival: arrival, firstCell: place.start))
        case .known(let watermark): return .known(watermark: watermark)
        case .gap(let watermark): return .gap(watermark: watermark)
        }
    }
}

/// A device store's answer to an engine that wants to write rows.
public enum PassAdmission: Sendable {
    case run(DevicePass)
    /// All rows are there; write them to a scratch row, if at all.
    case known(watermark: Int)
    /// Rows below are missing: a pass reads them.
    case gap(watermark: Int)
}

/// Leave for the engine to write rows. Ends by `commit` or `abandon`, exactly once; until then the memory is not given
/// to anybody else, also if the sequence is released.
public struct DevicePass: Sendable {
    let store: DeviceStore
    let arrival: Arrival
    /// The cell of the sequence's position 0.
    public let firstCell: Int

    /// The rows that are new. Those below are committed: they must not be written.
    public var parts: [Arrival.Part] { arrival.parts }

    /// The rows are written and may be read. Never waits.
    ///
    /// - Returns: the watermark over the pass's layers.
    /// - Throws: `.refused` if the sequence was released meanwhile.
    @discardableResult
    public func commit() throws(DejaVuError) -> Int {
        let now = MonotonicTime.now
        let outcome = try store.withBooks { (books, followup) throws(DejaVuError) in
            books.finish(arrival.id, intact: true, at: now, &followup)
        }
        guard let outcome else { preconditionFailure("a pass begins at a watermark, so it commits at once") }
        return try outcome.get()
    }

    /// Nothing was written, or what was written is not to be read. Nothing writes any more.
    public func abandon() { store.abandon(arrival.id) }
}
