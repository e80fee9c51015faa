public import DejaVuCore
public import DejaVuKV
import NIOCore
import Synchronization

/// Carries out the subscriptions of one source: drives the pure `SubscriptionBook` and moves the bytes.
///
/// `run` does the work until its task is cancelled. Compute threads touch the `doorbell` alone; everything else may be
/// called from any task. Nothing here waits for a destination but the task that sends to it: a slow one makes its own
/// backlog grow and no other's, up to the bound on all bytes in flight.
public final class StreamEngine: Sendable {
    /// A frame to be sent, with what it says.
    struct Parcel: Sendable {
        let dispatch: Dispatch
        let header: FrameHeader
        /// nil: sent run by run, without staging.
        let rows: StagedRows?
    }

    /// The way to one destination.
    struct Lane {
        var store: any KVStore
        /// Grows with each `attach`: what an older store says is no news.
        var generation = 0
        var queue: [Parcel] = []
        var isServed = false
        /// The same peer for each priority; empty if the store is not a peer.
        var peers: [PeerStore] = []
        /// The store, if rows can be copied straight into it.
        var inPlace: (any InPlaceStore)?
    }

    struct Stream: Hashable {
        let subscription: SubscriptionID
        let sequence: SequenceID
    }

    struct Alarm {
        let due: ContinuousClock.Instant
        let destination: StoreID
        let sequence: SequenceID
        var isSet = false
    }

    typealias Condition = @Sendable (borrowing State) -> Result<Void, DejaVuError>?

    struct Waiter {
        let id: Int
        let due: ContinuousClock.Instant
        /// What it waits for and how long, to say so when that was in vain.
        let what: String
        let time: TimeSpan
        let condition: Condition
        let continuation: CheckedContinuation<Result<Void, DejaVuError>, Never>
    }

    struct State {
        var book: SubscriptionBook
        var lanes: [StoreID: Lane] = [:]
        /// Failures in a row.
        var failures: [Stream: Int] = [:]
        var alarms: [Alarm] = []
        /// Where the layers of the source are; kept only while they are sent together.
        var marks: [SequenceID: LayerMarks] = [:]
        var readers: [SubscriptionID: [AsyncStream<StreamProgress>.Continuation]] = [:]
        var waiters: [Waiter] = []
        var lastWaiter = 0
        /// The one clock for all waiters: when it rings, and its number.
        var clock: (due: ContinuousClock.Instant, number: Int)?
        var lastClock = 0
        /// Frames at peers that have no receipt yet.
        var postings: [FlightID: Posting] = [:]
        /// The last look at the doorbell whose notes were taken in.
        var absorbedCount = 0
        /// The last look at the doorbell that was finished, with nothing left to do after it.
        var idleCount = 0
        var lookCount = 0
        var isRunning = false
        /// The run is about to end: what is cancelled now has not failed.
        var isEnding = false
    }

    public let source: any KVStore
    /// The source, if rows can be copied straight out of it, and are to be.
    let inPlaceSource: (any InPlaceSource)?
    public let streamer: Streamer
    /// The compute thread's end of the engine.
    public let doorbell: Doorbell
    let report: @Sendable (StreamEvent) -> Void
    let state: Mutex<State>

    var options: StreamOptions { streamer.options }

    /// - Parameters:
    ///   - source: where the rows are.
    ///   - streamer: moves the bytes; several engines may share one, and with it the bound on bytes in flight.
    ///   - report: told of what goes wrong; must not wait.
    public init(
        source: any KVStore, streamer: Streamer = Streamer(),
        report: @escaping @Sendable (StreamEvent) -> Void = { _ in }
    ) {
        self.source = source
        self.streamer = streamer
        self.report = report
        let options = streamer.options
        inPlaceSource = options.bufferedCopies && options.deltas ? source as? any InPlaceSource : nil
        doorbell = Doorbell(capacity: options.doorbellCountMax)
        var limits = SubscriptionLimits()
        limits.frameBytesMax = max(options.frameBytesMax, source.rowBytes)
        // One destination that stands still must not take all of the staging memory.
        limits.bytesInFlightMax = max(options.bytesInFlightMax / 2, limits.frameBytesMax)
        limits.flightsMax = options.framesInFlightMax
        state = Mutex(State(book: SubscriptionBook(layers: source.layers, rowBytes: source.rowBytes, limits: limits)))
    }

    // MARK: Orders

    /// Keeps a destination up to date with the source. Streams begin when the destination's tickets are told: `grant`.
    ///
    /// - Throws: `.invalidArgument` if the id is in use or the source has none of the layers; `.mismatch` if the two
    ///   stores' rows differ; `.resourceExhausted` beyond the limit of subscriptions.
    @discardableResult
    public func subscribe(_ order: Subscription, to store: any KVStore) throws(DejaVuError) -> StreamSubscription {
        guard store.rowBytes == source.rowBytes, store.numericClass == source.numericClass else {
            throw DejaVuError(.mismatch, "\(store.name) holds other rows than \(source.name)")
        }
        let result = state.withLock { state -> Result<Bool, DejaVuError> in
            do throws(DejaVuError) { try state.book.subscribe(order) } catch { return .failure(error) }
            guard state.lanes[order.destination] == nil else { return .success(false) }
            state.lanes[order.destination] = Lane(store: store)
            return .success(true)
        }
        if try result.get() { attach(store, as: order.destination) }
        doorbell.ring()
        return StreamSubscription(order: order, engine: self)
    }

    func unsubscribe(_ id: SubscriptionID) {
        let readers = state.withLock { state in
            for destination in Array(state.lanes.keys) {
                drop(from: destination, &state) { $0.dispatch.subscription == id }
            }
            state.book.unsubscribe(id)
            state.failures = state.failures.filter { $0.key.subscription != id }
            let used = Set(state.book.subscriptions.map(\.destination))
            state.lanes = state.lanes.filter { used.contains($0.key) || $0.value.isServed }
            return state.readers.removeValue(forKey: id) ?? []
        }
        for reader in readers { reader.finish() }
        doorbell.ring()
    }

    func setPaused(_ id: SubscriptionID, _ isPaused: Bool) {
        state.withLock { _ = $0.book.setPaused(id, isPaused) }
        doorbell.ring()
    }

    func progress(of id: SubscriptionID) -> AsyncStream<StreamProgress> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: StreamProgress.self, bufferingPolicy: .bufferingNewest(1024))
        let exists = state.withLock { state in
            guard state.book.subscriptions.contains(where: { $0.id == id }) else { return false }
            state.readers[id, default: []].append(continuation)
            return true
        }
        if !exists { continuation.finish() }
        return stream
    }

    // MARK: Destinations

    /// A destination can be reached, for the first time or again: what it has not acknowledged is sent anew. A process
    /// that was started anew has no tickets any more and must `grant` new ones.
    public func attach(_ store: any KVStore, as destination: StoreID) {
        let peer = store as? PeerStore
        let generation = state.withLock { state -> Int? in
            guard var lane = state.lanes[destination] else { return nil }
            lane.store = store
            lane.generation += 1
            lane.peers = peer.map { peer in StreamPriority.allCases.map { peer.at($0) } } ?? []
            lane.inPlace = store as? any InPlaceStore
            state.lanes[destination] = lane
            drop(from: destination, &state) { _ in true }
            state.book.linkOpened(destination)
            state.book.resume(destination)
            return lane.generation
        }
        guard let generation else { return }
        peer?.transport.whenEnded { [weak self] end in self?.lost(destination, generation: generation, end.error) }
        doorbell.ring()
    }

    /// A destination is gone: what is on its way to it is forgotten, and nothing more is sent until it is attached.
    /// Links that are lost by themselves need not be told.
    public func detach(_ destination: StoreID) {
        let generation = state.withLock { $0.lanes[destination]?.generation }
        if let generation {
            lost(destination, generation: generation, DejaVuError(.unavailable, "\(destination) was detached"))
        }
    }

    func lost(_ destination: StoreID, generation: Int, _ error: DejaVuError) {
        let isNews = state.withLock { state in
            guard state.lanes[destination]?.generation == generation else { return false }
            state.lanes[destination]?.generation += 1
            drop(from: destination, &state) { _ in true }
            state.book.linkLost(destination)
            state.alarms.removeAll { $0.destination == destination }
            return true
        }
        if isNews { report(.linkLost(destination, error)) }
        doorbell.ring()
    }

    /// A destination has given its leave for a sequence; the source need not have it yet.
    ///
    /// - Parameter watermark: what it holds of it; 0 is always right.
    public func grant(_ ticket: Ticket, by destination: StoreID, watermark: Int = 0) throws(DejaVuError) {
        let result = state.withLock { state -> Result<Void, DejaVuError> in
            do throws(DejaVuError) {
                return .success(try state.book.grant(ticket, by: destination, watermark: watermark))
            } catch { return .failure(error) }
        }
        try result.get()
        doorbell.ring()
    }

    /// A destination has released a sequence: nothing more of it is sent there.
    public func revoke(_ sequence: SequenceID, by destination: StoreID) {
        state.withLock { state in
            drop(from: destination, &state) { $0.dispatch.span.sequence == sequence }
            state.book.revoke(sequence, by: destination)
        }
        doorbell.ring()
    }

    /// A destination has found that it holds less than it had acknowledged: it is sent again.
    public func destinationLowered(
        _ destination: StoreID, _ sequence: SequenceID, layers: LayerRange, to watermark: Int
    ) {
        state.withLock { $0.book.destinationLowered(destination, sequence, layers: layers, to: watermark) }
        doorbell.ring()
    }

    // MARK: The source

    /// Streams what the source holds of a sequence already. New rows are told by the doorbell.
    public func follow(_ sequence: SequenceID) async throws(DejaVuError) {
        let mark = try await source.watermark(of: sequence, layers: source.layers)
        let result = state.withLock { raise(sequence, source.layers, to: mark, &$0) }
        try result.get()
        doorbell.ring()
    }

    /// The source no longer holds a sequence. What is on its way may still arrive.
    public func release(_ sequence: SequenceID) {
        state.withLock { state in
            for destination in Array(state.lanes.keys) {
                drop(from: destination, &state) { $0.dispatch.span.sequence == sequence }
            }
            state.book.sourceReleased(sequence)
            state.marks[sequence] = nil
            state.failures = state.failures.filter { $0.key.sequence != sequence }
            state.alarms.removeAll { $0.sequence == sequence }
        }
        doorbell.ring()
    }

    /// The source holds less than it had said.
    public func sourceLowered(_ sequence: SequenceID, layers: LayerRange, to mark: Int) {
        state.withLock { state in
            state.book.sourceLowered(sequence, layers: layers, to: mark)
            state.marks[sequence]?.lower(layers, to: mark)
        }
        doorbell.ring()
    }

    /// To be called by whoever drives compute, between two passes: rings the bell, and where streaming may not overlap
    /// with compute waits until all that can be sent is acknowledged.
    public func passEnded() async throws(DejaVuError) {
        doorbell.ring()
        if !options.tokenOverlap { try await settled(within: options.frameTimeMax) }
    }

    // MARK: Asking

    public var counters: StreamCounters {
        var counters = streamer.counters
        counters.backlogRows = state.withLock { $0.book.backlog.rows }
        return counters
    }

    /// How far all destinations are behind, together.
    public var backlog: Backlog { state.withLock { $0.book.backlog } }

    /// Waits until everything that can be sent has been answered. Streams that stand still (no ticket, refused, link
    /// lost, waiting to be tried again) do not count.
    public func settled(within time: TimeSpan) async throws(DejaVuError) {
        let look = state.withLock { $0.lookCount }
        try await wait(within: time, "streams do not settle") { state in
            state.idleCount > look && state.book.flightCount == 0 ? .success(()) : nil
        }
    }
}
