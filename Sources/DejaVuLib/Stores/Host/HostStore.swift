public import DejaVuCore
public import DejaVuKV
public import NIOCore
import Synchronization

/// Keeps packed rows in this process's memory, within a budget.
///
/// A sequence has its place from `open` to `release`: for each layer of its ticket one run for all its positions.
/// Frames land in place. What is read is copied once, into the caller's buffer. Long copies are cut, so that no task
/// holds a thread of the pool for more than a moment.
public final class HostStore: BookedStore, InPlaceSource, InPlaceStore {
    typealias Place = HostPlace

    /// How a host store is made.
    public struct Options: Sendable {
        /// Bytes of rows; whole pages of it are used.
        public var budget: Int
        /// Ask the kernel for huge pages: fewer misses of address translation in long copies.
        public var hugePages = true
        /// Touch all memory at the start instead of when it is first written.
        public var prefault = false
        public var limits = LedgerLimits()
        public init(budget: Int) { self.budget = budget }
    }

    private struct State: Sendable {
        var books: StoreBooks<HostPlace>
        var allocator: CellAllocator
    }

    /// No copy holds a thread longer than this many bytes take: about 0.1 ms.
    static let pieceBytesMax = 1 << 20

    public let name: String
    public let layers: LayerRange
    public let rowBytes: Int
    public let numericClass: NumericClass
    private let arena: HostArena
    private let state: Mutex<State>
    private let onEvent: @Sendable (StoreEvent) -> Void

    /// - Precondition: there are layers, and rows have bytes.
    /// - Throws: `.invalidArgument` for a budget below one page; `.resourceExhausted` if it cannot be mapped.
    public init(
        name: String, layers: LayerRange, rowBytes: Int, numericClass: NumericClass, options: Options,
        onEvent: @escaping @Sendable (StoreEvent) -> Void = { _ in }
    ) throws(DejaVuError) {
        self.name = name
        self.layers = layers
        self.rowBytes = rowBytes
        self.numericClass = numericClass
        self.onEvent = onEvent
        arena = try HostArena(byteCount: options.budget, hugePages: options.hugePages)
        if options.prefault { arena.prefault() }
        let ledger = Ledger(layers: layers, rowBytes: rowBytes, numericClass: numericClass, limits: options.limits)
        let allocator = CellAllocator(cellCount: arena.byteCount / HostArena.unitBytes)
        state = Mutex(State(books: StoreBooks(ledger), allocator: allocator))
    }

    /// The budget in whole pages.
    public var byteCount: Int { arena.byteCount }
    /// Bytes that open and not yet quiet sequences hold.
    public var bytesUsed: Int { state.withLock { $0.allocator.usedCount * HostArena.unitBytes } }
    /// Whether the kernel was asked for huge pages and has not refused.
    public var hasHugePages: Bool { arena.hugePages }

    func withBooks<Value: Sendable>(
        _ body: (inout Books, inout Books.Followup) throws(DejaVuError) -> Value
    ) throws(DejaVuError) -> Value {
        var followup = Books.Followup()
        let result = state.withLock { state in
            let result = Result { () throws(DejaVuError) in try body(&state.books, &followup) }
            for place in followup.freed { for run in place.runs { state.allocator.free(run) } }
            return result
        }
        followup.resume(onEvent)
        return try result.get()
    }

    /// Proves that the books and the memory agree.
    package func checkIntegrity() {
        state.withLock { state in
            state.books.checkIntegrity()
            state.allocator.checkIntegrity()
        }
    }

    // MARK: KVStore

    public func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError) {
        try state.withLock { (state) throws(DejaVuError) in
            let place = try place(for: ticket, in: &state.allocator)
            do throws(DejaVuError) {
                try state.books.open(ticket, tokens: tokens, place: place)
            } catch {
                for run in place.runs { state.allocator.free(run) }
                throw error
            }
        }
    }

    private func place(for ticket: Ticket, in allocator: inout CellAllocator) throws(DejaVuError) -> HostPlace {
        let (bytes, overflow) = max(ticket.positionLimit, 1).multipliedReportingOverflow(by: rowBytes)
        let units = overflow ? 0 : bytes / HostArena.unitBytes + 1
        if units > 0, units <= allocator.cellCount,
            let runs = allocator.allocate(positions: units, times: ticket.layers.count)
        {
            return HostPlace(layers: ticket.layers, runs: runs)
        }
        let free = allocator.freeCount * HostArena.unitBytes
        throw DejaVuError(
            .resourceExhausted,
            "\(name): \(ticket.sequence) needs \(overflow ? Int.max : bytes) bytes in each of \(ticket.layers.count) "
                + "layers; \(free) of \(arena.byteCount) are free, in runs of at most "
                + "\(allocator.longestFree * HostArena.unitBytes)",
            subject: "budget")
    }

    public func renew(_ ticket: Ticket) async throws(DejaVuError) {
        try withBooks { (books, followup) throws(DejaVuError) in try books.renew(ticket, &followup) }
    }

    public func tell(_ tokens: [TokenID], at first: Int, of sequence: SequenceID) async throws(DejaVuError) {
        try withBooks { (books, followup) throws(DejaVuError) in
            try books.tell(tokens, at: first, of: sequence, &followup)
        }
    }

    public func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int {
        bookedWatermark(of: sequence, layers: layers)
    }

    public func read(_ span: Span) async throws(DejaVuError) -> ByteBuffer {
        var buffer = ByteBuffer()
        try await read(span, into: &buffer)
        return buffer
    }

    public func read(_ span: Span, into buffer: inout ByteBuffer) async throws(DejaVuError) {
        let (tenancy, place) = try withBooks { (books, _) throws(DejaVuError) in try books.pin(span) }
        defer { unpin(tenancy) }
        let map = PayloadMap(span, rowBytes: rowBytes)
        buffer.reserveCapacity(minimumWritableBytes: map.byteCount)
        var at = 0
        while at < map.byteCount {
            let piece = map.piece(at: at, limit: Self.pieceBytesMax)
            let source = UnsafeRawBufferPointer(
                start: arena.base + place.offset(layer: piece.layer, byte: piece.offset), count: piece.byteCount)
            buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: piece.byteCount) { target in
                target.copyMemory(from: source)
                return piece.byteCount
            }
            at += piece.byteCount
            if at % Self.pieceBytesMax < piece.byteCount, at < map.byteCount { await Task.yield() }
        }
    }

    public func begin(_ header: FrameHeader) async throws(DejaVuError) -> FrameAdmission {
        let now = MonotonicTime.now
        let admission = try withBooks { (books, followup) throws(DejaVuError) in
            try books.admit(header, at: now, &followup)
        }
        switch admission {
        case .land(let arrival, let place): return .land(HostLanding(self, arrival, place))
        case .known(let watermark): return .known(watermark: watermark)
        case .gap(let watermark): return .gap(watermark: watermark)
        }
    }

    public func release(_ sequence: SequenceID) async throws(DejaVuError) {
        await releaseBooked(sequence)
    }

    /// Where a span's rows are, or belong.
    func memory(of span: Span, in place: HostPlace) -> RowMemory {
        let count = span.positions.count * rowBytes
        return RowMemory(
            layers: span.layers.indices.map { layer in
                let offset = place.offset(layer: layer, byte: span.positions.lowerBound * rowBytes)
                precondition(offset >= 0 && offset + count <= arena.byteCount, "rows lie in the arena")
                return UnsafeMutableRawBufferPointer(start: arena.base + offset, count: count)
            })
    }

    public func copy(_ span: Span, to memory: RowMemory) async throws(DejaVuError) -> UInt32 {
        let (tenancy, place) = try withBooks { (books, _) throws(DejaVuError) in try books.pin(span) }
        defer { unpin(tenancy) }
        var checksum = Checksum()
        var untilYield = Self.pieceBytesMax
        for (source, target) in zip(self.memory(of: span, in: place).layers, memory.layers) {
            for start in stride(from: 0, to: source.count, by: Self.pieceBytesMax) {
                let piece = UnsafeRawBufferPointer(
                    rebasing: source[start..<min(start + Self.pieceBytesMax, source.count)])
                if piece.count > untilYield {
                    untilYield = Self.pieceBytesMax
                    await Task.yield()
                    try checkCancellation()
                }
                checksum.copy(piece, to: UnsafeMutableRawBufferPointer(rebasing: target[start...]))
                untilYield -= piece.count
            }
        }
        return checksum.value
    }

    /// Copies bytes of a frame to where they belong, and takes them into the checksum.
    func copy(
        _ bytes: UnsafeRawBufferPointer, of map: PayloadMap, at start: Int, to place: HostPlace,
        checksum: inout Checksum
    ) {
        var done = 0
        while done < bytes.count {
            let piece = map.piece(at: start + done, limit: bytes.count - done)
            let source = UnsafeRawBufferPointer(rebasing: bytes[done..<done + piece.byteCount])
            if piece.isNew {
                let target = UnsafeMutableRawBufferPointer(
                    start: arena.base + place.offset(layer: piece.layer, byte: piece.offset), count: piece.byteCount)
                checksum.copy(source, to: target)
            } else {
                checksum.update(source)
            }
            done += piece.byteCount
        }
    }
}
