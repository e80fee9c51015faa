public import DejaVuCore
public import DejaVuKV
import Synchronization

/// Keeps packed rows in segment files of one directory, for this user alone.
///
/// Frames are appended as records; every byte that is read is verified. What a crash leaves is found again when the
/// store is opened: the watermarks are then what is whole, and the sequences wait for new tickets (`renew`). All file
/// operations block threads of the store's own.
public final class DiskStore: BookedStore {
    typealias Place = Int

    /// When rows are made durable. A process that dies loses nothing in any case; a machine does.
    public enum SyncPolicy: Hashable, Sendable {
        /// By `sync` and `close` alone.
        case onClose
        /// When so many bytes have landed since the last time.
        case everyBytes(Int)
        /// Before each frame's commit.
        case everyFrame
    }

    /// How a disk store is made.
    public struct Options: Sendable {
        public var directory: String
        /// Bytes of all segment files together.
        public var budget: Int
        public var sync = SyncPolicy.everyBytes(256 << 20)
        /// A segment takes no more records beyond this; a larger frame has one to itself.
        public var segmentBytes = 64 << 20
        public var threads = 2
        /// Bytes of one frame that may wait for the disk before `write` does.
        public var queuedBytesMax = 1 << 20
        public var limits = LedgerLimits()

        public init(directory: String, budget: Int) {
            self.directory = directory
            self.budget = budget
        }

        func check() throws(DejaVuError) {
            guard budget > 0, segmentBytes >= 4096, (1...64).contains(threads), queuedBytesMax > 0, !directory.isEmpty
            else { throw DejaVuError(.invalidArgument, "no disk store has such options") }
            if case .everyBytes(let count) = sync, count <= 0 {
                throw DejaVuError(.invalidArgument, "a sync every \(count) bytes", subject: "sync")
            }
        }
    }

    public let name: String
    public let layers: LayerRange
    public let rowBytes: Int
    public let numericClass: NumericClass
    let options: Options
    let files: any DiskFileSystem
    let threads: IOThreads
    let state: Mutex<DiskState>
    private let onEvent: @Sendable (StoreEvent) -> Void
    /// Holds the directory's lock until the store is closed.
    let claim: Mutex<(any Sendable)?>
    /// Only one thread at a time makes a segment.
    let making = Mutex(())

    /// Opens a directory, makes it if need be, and finds what is whole in it.
    ///
    /// - Throws: `.invalidArgument` for options that make no sense; `.unavailable` if the directory cannot be used, or
    ///   another store is using it.
    public static func open(
        name: String, layers: LayerRange, rowBytes: Int, numericClass: NumericClass, options: Options,
        onEvent: @escaping @Sendable (StoreEvent) -> Void = { _ in }
    ) async throws(DejaVuError) -> DiskStore {
        try await open(
            name: name, layers: layers, rowBytes: rowBytes, numericClass: numericClass, options: options,
            files: PosixFileSystem(), onEvent: onEvent)
    }

    package static func open(
        name: String, layers: LayerRange, rowBytes: Int, numericClass: NumericClass, options: Options,
        files: any DiskFileSystem, onEvent: @escaping @Sendable (StoreEvent) -> Void
    ) async throws(DejaVuError) -> DiskStore {
        try options.check()
        let threads = IOThreads(count: options.threads)
        do throws(DejaVuError) {
            return try await threads.run { () throws(DejaVuError) in
                do throws(IOFailure) {
                    let claim = try files.claim(options.directory)
                    let store = DiskStore(
                        name, layers, rowBytes, numericClass, options, files, threads, claim, onEvent)
                    try store.scan()
                    return store
                } catch { throw error.error }
            }
        } catch {
            threads.endLater()
            throw error
        }
    }

    private init(
        _ name: String, _ layers: LayerRange, _ rowBytes: Int, _ numericClass: NumericClass, _ options: Options,
        _ files: any DiskFileSystem, _ threads: IOThreads, _ claim: any Sendable,
        _ onEvent: @escaping @Sendable (StoreEvent) -> Void
    ) {
        self.name = name
        self.layers = layers
        self.rowBytes = rowBytes
        self.numericClass = numericClass
        self.options = options
        self.files = files
        self.threads = threads
        self.claim = Mutex(claim)
        self.onEvent = onEvent
        let ledger = Ledger(layers: layers, rowBytes: rowBytes, numericClass: numericClass, limits: options.limits)
        state = Mutex(DiskState(ledger))
    }

    deinit { threads.endLater() }

    // MARK: Looking

    /// Bytes of all segment files.
    public var bytesUsed: Int { state.withLock { $0.fileBytes } }
    public var segmentCount: Int { state.withLock { $0.segments.count } }
    /// Sequences that are kept, those that were found when the store was opened among them.
    public var sequences: [SequenceID] { state.withLock { $0.books.ledger.sequences } }

    /// The ticket of a sequence; after a restart the last one known, which nobody may write with until it is renewed.
    public func ticket(of sequence: SequenceID) -> Ticket? { state.withLock { $0.books.ledger.ticket(of: sequence) } }

    /// Tokens at some positions, as frames brought them; nil beyond what is certain.
    public func tokens(of sequence: SequenceID, in positions: Range<Int>) -> [TokenID]? {
        state.withLock { $0.books.ledger.tokens(of: sequence, in: positions).map { Array($0) } }
    }

    package func checkIntegrity() {
        state.withLock { state in
            state.books.checkIntegrity()
            precondition(
                state.segments.values.reduce(0) { $0 + $1.end } == state.fileBytes, "bytes of files are counted wrong")
            precondition(
                state.sequences.values.reduce(0) { $0 + $1.promisedBytes } == state.promisedBytes,
                "promised bytes are counted wrong")
        }
    }

    // MARK: Books

    func report(_ event: StoreEvent) { onEvent(event) }

    func withBooks<Value: Sendable>(
        _ body: (inout Books, inout Books.Followup) throws(DejaVuError) -> Value
    ) throws(DejaVuError) -> Value {
        try withState { (state, followup) throws(DejaVuError) in try body(&state.books, &followup) }
    }

    func withState<Value: Sendable>(
        _ body: (inout DiskState, inout Books.Followup) throws(DejaVuError) -> Value
    ) throws(DejaVuError) -> Value {
        var followup = Books.Followup()
        let result = state.withLock { state in
            let result = Result { () throws(DejaVuError) in try body(&state, &followup) }
            state.apply(&followup)
            return result
        }
        followup.resume(onEvent)
        return try result.get()
    }

    /// `withState` for what cannot fail.
    func changeState(_ body: (inout DiskState, inout Books.Followup) -> Void) {
        do {
            try withState { (state, followup) throws(DejaVuError) in body(&state, &followup) }
        } catch {
            preconditionFailure("\(name): \(error)")
        }
    }

    // MARK: KVStore

    public func open(_ ticket: Ticket, tokens: [TokenID]) async throws(DejaVuError) {
        try state.withLock { (state) throws(DejaVuError) in
            let (rows, rowsOverflow) = max(ticket.positionLimit, 1).multipliedReportingOverflow(by: rowBytes)
            let (bytes, overflow) = rows.multipliedReportingOverflow(by: max(ticket.layers.count, 1))
            let free = options.budget - max(state.promisedBytes, 0)
            guard !rowsOverflow, !overflow, bytes <= free else {
                throw DejaVuError(
                    .resourceExhausted,
                    "\(name): \(ticket.sequence) needs \(overflow || rowsOverflow ? Int.max : bytes) bytes; \(free) "
                        + "of \(options.budget) are not promised", subject: "budget")
            }
            let place = state.addPlace(
                DiskSequence(sequence: ticket.sequence, promisedBytes: bytes, ticket: ticket.number))
            do throws(DejaVuError) {
                try state.books.open(ticket, tokens: tokens, place: place)
            } catch {
                state.removePlace(place)
                throw error
            }
        }
    }

    public func renew(_ ticket: Ticket) async throws(DejaVuError) {
        try withState { (state, followup) throws(DejaVuError) in
            try state.books.renew(ticket, &followup)
            if let place = state.books.place(of: ticket.sequence) { state.sequences[place]?.ticket = ticket.number }
        }
    }

    public func tell(_ tokens: [TokenID], at first: Int, of sequence: SequenceID) async throws(DejaVuError) {
        try withBooks { (books, followup) throws(DejaVuError) in
            try books.tell(tokens, at: first, of: sequence, &followup)
        }
    }

    public func watermark(of sequence: SequenceID, layers: LayerRange) async throws(DejaVuError) -> Int {
        bookedWatermark(of: sequence, layers: layers)
    }

    public func release(_ sequence: SequenceID) async throws(DejaVuError) {
        let number = state.withLock { state in
            state.books.place(of: sequence).flatMap { state.sequences[$0]?.ticket }
        }
        await releaseBooked(sequence)
        guard let number else { return }
        try await threads.run { () throws(DejaVuError) in
            self.removeUnused()
            self.writeRelease(ReleaseRecord(sequence: sequence, ticket: number))
        }
    }
}
