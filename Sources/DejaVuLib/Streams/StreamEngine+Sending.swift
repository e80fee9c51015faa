import DejaVuCore
import DejaVuKV
import NIOCore
import Synchronization

extension StreamEngine {
    /// Sends what waits for one destination, in order, until nothing does.
    func serve(_ destination: StoreID) async {
        while let lane = state.withLock({ $0.lanes[destination] }) {
            if lane.peers.isEmpty || !options.bufferedCopies {
                await serveInTurn(destination, lane.store)
            } else {
                await servePeer(destination, lane.peers)
            }
            let isDone = state.withLock { state in
                guard state.lanes[destination]?.queue.isEmpty ?? true || Task.isCancelled else { return false }
                state.lanes[destination]?.isServed = false
                return true
            }
            if isDone { break }
        }
    }

    private func take(_ destination: StoreID, for store: any KVStore) -> Parcel? {
        state.withLock { state in
            guard let lane = state.lanes[destination], !lane.queue.isEmpty, lane.store === store else { return nil }
            return state.lanes[destination]?.queue.removeFirst()
        }
    }

    // MARK: Stores of this process

    /// One frame after the other: a local store gains nothing from two at a time. A frame that takes too long is
    /// cancelled; one clock watches all of them, since one for each would cost more than a small frame.
    private func serveInTurn(_ destination: StoreID, _ store: any KVStore) async {
        let watch = Watch(options.frameTimeMax)
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                while !Task.isCancelled, let parcel = self.take(destination, for: store) {
                    watch.start()
                    let result = await self.deliver(parcel, to: store)
                    self.answered(parcel.dispatch, self.judged(result, watch))
                }
            }
            group.addTask { await watch.untilOverdue() }
            // Whichever ends first ends the other.
            await group.next()
            group.cancelAll()
        }
    }

    private func judged(
        _ result: Result<FrameReceipt, DejaVuError>, _ watch: Watch
    ) -> Result<FrameReceipt, DejaVuError> {
        if case .failure = result, watch.isOverdue {
            return .failure(DejaVuError(.deadlineExceeded, "a frame took longer than \(options.frameTimeMax)"))
        }
        return result
    }

    private func deliver(_ parcel: Parcel, to store: any KVStore) async -> Result<FrameReceipt, DejaVuError> {
        do throws(DejaVuError) {
            switch try await streamer.post(
                parcel.header, rows: parcel.rows, from: source, to: store, priority: parcel.dispatch.priority)
            {
            case .known(let watermark): return .success(.known(watermark: watermark))
            case .gap(let watermark): return .success(.gap(watermark: watermark))
            case .landing(let finish): return await finish().map { .committed(watermark: $0) }
            }
        } catch { return .failure(error) }
    }

    // MARK: Peers

    /// All frames at once as far as the limits allow: the bytes follow the header, and receipts come when they come,
    /// while further frames are sent.
    private func servePeer(_ destination: StoreID, _ peers: [PeerStore]) async {
        guard let store = state.withLock({ $0.lanes[destination]?.store }) else { return }
        while !Task.isCancelled, let parcel = take(destination, for: store) {
            guard let rows = parcel.rows else { preconditionFailure("peers are sent packed rows") }
            let peer = peers[Int(parcel.dispatch.priority.rawValue)]
            do throws(DejaVuError) {
                let staging = try await peer.transport.prepare(
                    parcel.header.payloadBytes, priority: parcel.dispatch.priority, within: options.frameTimeMax)
                staging.lend(rows.bytes)
                streamer.began(parcel.header)
                expect(peer.post(parcel.header, rows: staging), of: parcel.dispatch, parcel.header, Held(rows))
            } catch {
                failed(parcel.dispatch, error)
            }
        }
    }

    /// Takes a posting's receipt when it comes, on the thread that brings it.
    private func expect(_ posting: Posting, of dispatch: Dispatch, _ header: FrameHeader, _ rows: Held) {
        state.withLock { $0.postings[dispatch.flight] = posting }
        posting.whenEnded { result in
            // Until here the rows are in flight.
            rows.letGo()
            self.streamer.ended(header, result)
            self.answered(dispatch, result)
            // Last, since the engine's end waits for it.
            self.state.withLock { _ = $0.postings.removeValue(forKey: dispatch.flight) }
        }
    }
}

/// Keeps rows in flight.
private final class Held: Sendable {
    private let rows: Mutex<StagedRows?>
    init(_ rows: StagedRows) { self.rows = Mutex(rows) }
    func letGo() { rows.withLock { $0 = nil } }
}

/// Watches over frames that go one after the other.
private final class Watch: Sendable {
    private let started = Mutex(ContinuousClock.now)
    private let time: Duration

    init(_ time: TimeSpan) { self.time = .nanoseconds(time.nanoseconds) }

    /// A frame begins.
    func start() { started.withLock { $0 = .now } }

    private var due: ContinuousClock.Instant { started.withLock { $0 } + time }

    var isOverdue: Bool { due <= .now }

    /// Ends when a frame has had its time, or with its task.
    func untilOverdue() async {
        while !Task.isCancelled, !isOverdue { try? await Task.sleep(until: due, clock: .continuous) }
    }
}
