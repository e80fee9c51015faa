import DejaVuControl
import DejaVuCore
import DejaVuKV
import DejaVuLib
import Logging
import NIOCore

/// The source's side: copies what the stage holds, and will hold, to the holders of its replica, or from a prompt stage
/// to token stages. Confined to the worker's event loop; the bytes move in tasks of their own.
///
/// A link that does not open or breaks is made again, for as long as the controller wants it; meanwhile the replica
/// falls behind, and the stage does not wait.
final class ReplicaSource {
    private struct Target {
        /// What the engine calls it.
        let destination: StoreID
        /// Tells this wish for a link from an earlier one.
        var attempt: Int
        var tickets: [SequenceID: Ticket] = [:]
        var transport: PeerTransport?
        var subscription: StreamSubscription?
        var delay = ReplicaSource.retryDelayMin
    }

    private static let retryDelayMin = TimeSpan.milliseconds(100)
    private static let retryDelayMax = TimeSpan.seconds(2)

    private unowned let core: WorkerCore
    /// The stage's engine, which is this source's name too.
    private let id: EngineID
    let store: StageStore
    private var engine: StreamEngine?
    private var running: Task<Void, Never>?
    private var targets: [StoreAddress: Target] = [:]
    private var attempts = 0
    private var subscriptions: UInt64 = 0

    init(core: WorkerCore, _ id: EngineID, _ store: StageStore) {
        self.core = core
        self.id = id
        self.store = store
    }

    /// The engine is gone: nothing is copied from it any more.
    func end() {
        for holder in Array(targets.keys) { endReplication(to: holder) }
        store.setDoorbell(nil)
        running?.cancel()
        running = nil
        engine = nil
    }

    func replicate(_ sequence: SequenceID, _ ticket: Ticket, to holder: StoreAddress) {
        if targets[holder] == nil {
            attempts += 1
            targets[holder] = Target(destination: StoreID(UInt64(attempts)), attempt: attempts)
            connect(holder, attempt: attempts)
        }
        targets[holder]?.tickets[sequence] = ticket
        if targets[holder]?.subscription != nil { grant(ticket, to: holder) }
    }

    func release(_ sequence: SequenceID) {
        for holder in Array(targets.keys) { targets[holder]?.tickets[sequence] = nil }
        engine?.release(sequence)
    }

    func endReplication(to holder: StoreAddress) {
        guard let target = targets.removeValue(forKey: holder) else { return }
        target.subscription?.cancel()
        target.transport?.close("its replica is not wanted any more")
    }

    // MARK: Links

    private func connect(_ holder: StoreAddress, attempt: Int) {
        guard targets[holder]?.attempt == attempt, !core.hasEnded else { return }
        let address = holder.peer.address
        let bound = core.bound
        let endpoint = LinkEndpoint(
            key: core.options.key, limits: core.options.linkLimits, security: core.security,
            pace: core.options.wires?.bulk,
            judge: { other in
                other.incarnation == holder.peer.incarnation
                    ? nil : DejaVuError(.refused, "\(other) is not the holder that was meant to be at \(address)")
            },
            identity: { bound.value.identity })
        let loop = core.eventLoop
        let name = ReplicaServer.storeName(pipeline: holder.pipeline, layers: holder.layers)
        let id = self.id
        Task {
            let result = await openPeer(name, at: address, as: endpoint, on: loop)
            loop.execute {
                switch result {
                case .success(let peer):
                    bound.value.sources[id]?.opened(peer.store, peer.transport, holder, attempt: attempt)
                case .failure(let error): bound.value.sources[id]?.retry(holder, attempt: attempt, error)
                }
            }
        }
    }

    private func opened(_ peer: PeerStore, _ transport: PeerTransport, _ holder: StoreAddress, attempt: Int) {
        guard let destination = targets[holder]?.destination, targets[holder]?.attempt == attempt,
            let engine = startedEngine()
        else {
            return transport.close("it is not needed any more")
        }
        targets[holder]?.transport = transport
        targets[holder]?.delay = Self.retryDelayMin
        if targets[holder]?.subscription != nil {
            engine.attach(peer, as: destination)
            return
        }
        subscriptions += 1
        do throws(DejaVuError) {
            targets[holder]?.subscription = try engine.subscribe(
                Subscription(
                    id: SubscriptionID(subscriptions), destination: destination, layers: peer.layers,
                    priority: .replica), to: peer)
        } catch {
            transport.close(error.message)
            return retry(holder, attempt: attempt, error)
        }
        for ticket in targets[holder]?.tickets.values.sorted(by: { $0.sequence < $1.sequence }) ?? [] {
            grant(ticket, to: holder)
        }
    }

    private func retry(_ holder: StoreAddress, attempt: Int, _ error: DejaVuError) {
        guard let target = targets[holder], target.attempt == attempt, !core.hasEnded else { return }
        core.logger.debug("no way to where the rows are to go", metadata: ["error": "\(error)"])
        attempts += 1
        let next = attempts
        targets[holder]?.attempt = next
        targets[holder]?.delay = min(target.delay * 2, Self.retryDelayMax)
        let id = self.id
        let bound = core.bound
        core.eventLoop.scheduleTask(in: .nanoseconds(target.delay.nanoseconds)) {
            bound.value.sources[id]?.connect(holder, attempt: next)
        }
    }

    // MARK: Streams

    private func startedEngine() -> StreamEngine? {
        if let engine { return engine }
        var options = StreamOptions()
        // Small against what a worker has, large against what a step makes.
        options.bytesInFlightMax = 32 << 20
        options.frameBytesMax = 1 << 20
        let bound = core.bound
        let id = self.id
        let made = StreamEngine(source: store, streamer: Streamer(options: options, tokens: store.tokens)) { event in
            bound.eventLoop.execute { bound.value.sources[id]?.heard(event) }
        }
        engine = made
        store.setDoorbell(made.doorbell)
        running = Task { await made.run() }
        return made
    }

    private func grant(_ ticket: Ticket, to holder: StoreAddress) {
        guard let engine, let destination = targets[holder]?.destination else { return }
        do throws(DejaVuError) {
            try engine.grant(ticket, by: destination)
        } catch {
            core.logger.warning(
                "a sequence is not copied", metadata: ["sequence": "\(ticket.sequence)", "error": "\(error)"])
            return
        }
        let logger = core.logger
        Task {
            guard let error = await follow(ticket.sequence, engine) else { return }
            logger.warning("a sequence is not copied", metadata: ["error": "\(error)"])
        }
    }

    private func heard(_ event: StreamEvent) {
        switch event {
        case .linkLost(let destination, let error):
            guard let (holder, target) = targets.first(where: { $0.value.destination == destination }) else { return }
            targets[holder]?.transport = nil
            retry(holder, attempt: target.attempt, error)
        case .refused(_, let sequence, let error), .delayed(_, let sequence, let error):
            core.logger.debug("a frame was not taken", metadata: ["sequence": "\(sequence)", "error": "\(error)"])
        case .sourceLowered(let sequence, _, _, let error):
            // The sequence may have been released while its rows were to be read.
            core.logger.log(
                level: error.code == .notFound ? .debug : .error, "rows are gone",
                metadata: ["sequence": "\(sequence)", "error": "\(error)"])
        }
    }
}

/// How long a holder may take to say what it holds, and to answer for a frame.
private let holderTimeMax = TimeSpan.seconds(10)

/// A holder that answers.
private struct Peer: Sendable {
    let store: PeerStore
    let transport: PeerTransport
}

private func openPeer(
    _ name: String, at address: String, as endpoint: LinkEndpoint, on loop: any EventLoop
) async -> Result<Peer, DejaVuError> {
    let transport: PeerTransport
    do throws(DejaVuError) {
        transport = try await LinkTransport.connect(to: LinkAddress(parsing: address), as: endpoint, on: loop)
    } catch { return .failure(error) }
    do throws(DejaVuError) {
        let store = try await PeerStore.named(name, over: transport, priority: .replica, within: holderTimeMax)
        return .success(Peer(store: store, transport: transport))
    } catch {
        transport.close(error.message)
        return .failure(error)
    }
}

private func follow(_ sequence: SequenceID, _ engine: StreamEngine) async -> DejaVuError? {
    do throws(DejaVuError) { try await engine.follow(sequence) } catch { return error }
    return nil
}
