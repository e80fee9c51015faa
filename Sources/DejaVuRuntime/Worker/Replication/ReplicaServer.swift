import DejaVuControl
import DejaVuCore
import DejaVuLib
import Glibc
import Logging
import NIOCore
import Synchronization

/// The receiver's side: where sources reach this worker with frames, and what they may write to: replicas, and stages
/// to which prompt stages bring rows. Confined to the worker's event loop, but for `landed`.
final class ReplicaServer {
    /// Whose cells frames land in.
    enum Receiver: Hashable, Sendable {
        case replica(ReplicaID)
        case stage(EngineID)
    }

    /// Marks that have come since the machine was told last.
    final class Landings: Sendable {
        private let marks = Mutex<[Receiver: [SequenceID: Int]]>([:])

        /// - Returns: whether the machine is to be told: nobody else has seen to it yet.
        func add(_ mark: SequenceMark, of receiver: Receiver) -> Bool {
            marks.withLock { marks in
                let isFirst = marks.isEmpty
                let known = marks[receiver]?[mark.sequence] ?? 0
                marks[receiver, default: [:]][mark.sequence] = max(known, mark.watermark)
                return isFirst
            }
        }

        func take() -> [Receiver: [SequenceID: Int]] {
            marks.withLock { marks in
                defer { marks = [:] }
                return marks
            }
        }
    }

    private unowned let core: WorkerCore
    private let server = StoreServer([:], readBytesMax: 1 << 20)
    private let landings = Landings()
    private var offered: [Receiver: (name: String, store: StageStore)] = [:]
    private(set) var listener: LinkListener?

    init(core: WorkerCore) { self.core = core }

    /// What a source asks for.
    static func storeName(pipeline: PipelineID, layers: LayerRange) -> String { "\(pipeline)/\(layers)" }

    /// Listens for sources, once.
    ///
    /// - Returns: where they reach this worker.
    func listen(at host: String?) -> EventLoopFuture<LinkAddress> {
        if let listener { return core.eventLoop.makeSucceededFuture(listener.address) }
        let address = WorkerPeers.address(of: core, host: host, suffix: "-bulk")
        let bound = core.bound
        let server = self.server
        let endpoint = LinkEndpoint(
            key: core.options.key, limits: core.options.linkLimits, security: core.security,
            pace: core.options.wires?.bulk,
            judge: { peer in
                peer.role == .worker ? nil : DejaVuError(.refused, "\(peer) is no worker, but brings frames")
            },
            identity: { bound.value.identity })
        let loop = core.eventLoop
        return loop.makeFutureWithTask {
            try await LinkTransport.listen(at: address, as: endpoint, serving: server, on: loop) { error in
                loop.execute {
                    bound.value.logger.warning("a source was turned away", metadata: ["error": "\(error)"])
                }
            }
        }.map { listener in
            bound.value.replicas?.listener = listener
            return listener.address
        }
    }

    /// What is told of each frame that has landed. May be called on any thread.
    private static func landed(_ core: NIOLoopBound<WorkerCore>, _ landings: Landings, _ receiver: Receiver)
        -> @Sendable (SequenceMark) -> Void
    {
        { mark in
            guard landings.add(mark, of: receiver) else { return }
            core.eventLoop.execute { core.value.replicas?.report() }
        }
    }

    func landed(_ replica: ReplicaID) -> @Sendable (SequenceMark) -> Void {
        Self.landed(core.bound, landings, .replica(replica))
    }

    private func report() {
        for (receiver, marks) in landings.take() {
            let marks = marks.map { SequenceMark(sequence: $0.key, watermark: $0.value) }
            switch receiver {
            case .replica(let replica): core.handle(.landed(replica, marks))
            case .stage(let engine): core.handle(.stageLanded(engine, marks))
            }
        }
        core.flush()
    }

    func offer(_ store: StageStore, _ assignment: ReplicaAssignment) {
        let name = Self.storeName(pipeline: assignment.pipeline, layers: assignment.layers)
        offered[.replica(assignment.id)] = (name, store)
        server.offer(store, as: name)
    }

    /// Lets prompt stages find a stage. No effect if they do already.
    func offer(_ store: StageStore, of engine: EngineID, _ pipeline: PipelineID, _ layers: LayerRange) {
        let name = Self.storeName(pipeline: pipeline, layers: layers)
        guard offered[.stage(engine)]?.name != name else { return }
        withdraw(engine)
        store.setLanded(Self.landed(core.bound, landings, .stage(engine)))
        offered[.stage(engine)] = (name, store)
        server.offer(store, as: name)
    }

    func withdraw(_ replica: ReplicaID) { withdraw(.replica(replica)) }

    func withdraw(_ engine: EngineID) { withdraw(.stage(engine)) }

    private func withdraw(_ receiver: Receiver) {
        if let offer = offered.removeValue(forKey: receiver) { server.withdraw(offer.name) }
    }

    func store(of replica: ReplicaID) -> StageStore? { offered[.replica(replica)]?.store }
}
