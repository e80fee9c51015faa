import DejaVuControl
import DejaVuCore
import DejaVuLib
import Glibc
import Logging
import NIOCore
import Synchronization

/// The holder's side: where sources reach this worker with frames, and what they may write to. Confined to the worker's
/// event loop, but for `landed`.
final class ReplicaServer {
    /// Marks that have come since the machine was told last.
    final class Landings: Sendable {
        private let marks = Mutex<[ReplicaID: [SequenceID: Int]]>([:])

        /// - Returns: whether the machine is to be told: nobody else has seen to it yet.
        func add(_ mark: SequenceMark, of replica: ReplicaID) -> Bool {
            marks.withLock { marks in
                let isFirst = marks.isEmpty
                let known = marks[replica]?[mark.sequence] ?? 0
                marks[replica, default: [:]][mark.sequence] = max(known, mark.watermark)
                return isFirst
            }
        }

        func take() -> [ReplicaID: [SequenceID: Int]] {
            marks.withLock { marks in
                defer { marks = [:] }
                return marks
            }
        }
    }

    private unowned let core: WorkerCore
    private let server = StoreServer([:], readBytesMax: 1 << 20)
    private let landings = Landings()
    private var offered: [ReplicaID: String] = [:]
    private(set) var listener: LinkListener?

    init(core: WorkerCore) { self.core = core }

    /// What a source asks for: its own stage.
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

    /// What is told of each frame that has landed in a replica. May be called on any thread.
    static func landed(_ core: NIOLoopBound<WorkerCore>, _ landings: Landings, _ replica: ReplicaID)
        -> @Sendable (SequenceMark) -> Void
    {
        { mark in
            guard landings.add(mark, of: replica) else { return }
            core.eventLoop.execute { core.value.replicas?.report() }
        }
    }

    func landed(_ replica: ReplicaID) -> @Sendable (SequenceMark) -> Void {
        Self.landed(core.bound, landings, replica)
    }

    private func report() {
        for (replica, marks) in landings.take() {
            core.handle(
                .landed(replica, marks.map { SequenceMark(sequence: $0.key, watermark: $0.value) }))
        }
        core.flush()
    }

    func offer(_ store: StageStore, _ assignment: ReplicaAssignment) {
        let name = Self.storeName(pipeline: assignment.pipeline, layers: assignment.layers)
        offered[assignment.id] = name
        server.offer(store, as: name)
    }

    func withdraw(_ replica: ReplicaID) {
        if let name = offered.removeValue(forKey: replica) { server.withdraw(name) }
    }
}
