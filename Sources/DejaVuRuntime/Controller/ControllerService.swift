package import DejaVuControl
package import DejaVuCore
package import DejaVuLib
package import Logging
import NIOCore
import NIOPosix
import Synchronization

/// The controller process: the machine that decides, the links to its workers, and the workers that it has started.
///
/// Everything may be called from any thread and returns at once, unless it says otherwise.
package final class ControllerService: Sendable {
    package let term: Term
    /// Where workers of other machines join; the port is the real one.
    package let clusterAddress: LinkAddress?
    /// Where workers of this machine join.
    package let localAddress: LinkAddress
    private let core: NIOLoopBound<ControllerCore>
    private let group: MultiThreadedEventLoopGroup
    private let listeners: [LinkListener]
    private let heartbeats: HeartbeatDoors
    private let supervisor: LocalSupervisor
    private let directory: StateDirectory
    private let logger: Logger
    /// Says why once some worker obeys a later controller: this one has ended then, and is to be stopped.
    package let deposition: AsyncStream<String>
    private let requestCount = Atomic<UInt64>(0)
    private let life = Mutex(Life.running)

    private enum Life {
        case running
        case stopping
        /// The event loop is gone; this was the last status.
        case ended(ClusterStatus)
    }

    private init(
        term: Term, core: NIOLoopBound<ControllerCore>, group: MultiThreadedEventLoopGroup, listeners: [LinkListener],
        heartbeats: HeartbeatDoors, supervisor: LocalSupervisor, directory: StateDirectory,
        deposition: AsyncStream<String>, logger: Logger
    ) {
        self.deposition = deposition
        self.heartbeats = heartbeats
        self.term = term
        self.core = core
        self.group = group
        self.listeners = listeners
        self.supervisor = supervisor
        self.directory = directory
        self.logger = logger
        localAddress = listeners[0].address
        clusterAddress = listeners.count > 1 ? listeners[1].address : nil
    }

    // MARK: Start

    /// Takes the state directory's lock and the next term, listens, takes over the workers of a controller that was
    /// killed, and starts the local workers that are missing. Whether the system is ready is in its status.
    ///
    /// - Throws: what cannot be used or is taken. Nothing is left behind then.
    package static func start(
        _ options: ControllerOptions, observer: (any ControllerObserver)? = nil, logger: Logger
    ) async throws(DejaVuError) -> ControllerService {
        try options.validate()
        let directory = try StateDirectory(options.stateDirectory, isTemporary: options.isStateTemporary)
        let term = try directory.nextTerm()
        let machine = try ControllerMachine(configuration: options.configuration, term: term)
        let recorder: StepRecorder? =
            if let path = options.recordPath {
                try StepRecorder(
                    path: path, header: RecordingHeader(configuration: options.configuration, term: term),
                    logger: logger)
            } else { nil }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let (deposition, depose) = AsyncStream.makeStream(of: String.self)
        let former = directory.knownWorkers()
        let adoption = options.adoption(of: former)
        let core = await withCheckedContinuation { continuation in
            loop.execute {
                let core = ControllerCore(
                    machine: machine, directory: directory, eventLoop: loop, observer: observer, recorder: recorder,
                    logger: logger, deposed: { depose.yield($0) })
                core.beginAdoption(
                    expecting: adoption.expected, until: adoption.until, deadline: adoption.deadline)
                continuation.resume(returning: core.bound)
            }
        }
        let key: ClusterKey
        let listeners: [LinkListener]
        let heartbeats: HeartbeatDoors
        do throws(DejaVuError) {
            if let given = options.key { key = given } else { key = try directory.localKey() }
            let endpoint = try endpoint(options, key: key, term: term)
            heartbeats = try await .open(
                in: directory, cluster: options.clusterListen, as: endpoint, core: core, logger)
            // Before the first worker can ask where to.
            loop.execute { core.value.heartbeats = heartbeats }
            do throws(DejaVuError) {
                listeners = try await listen(options, as: endpoint, directory: directory, core: core, logger)
            } catch {
                await heartbeats.close()
                throw error
            }
        } catch {
            loop.execute { core.value.end() }
            try? await group.shutdownGracefully()
            throw error
        }
        let supervisor = supervise(options, key: key, controller: listeners[0].address, directory, core, logger)
        for worker in former { if let process = worker.process { supervisor.adopt(process, name: worker.name) } }
        loop.execute { core.value.supervise(by: supervisor) }
        let service = ControllerService(
            term: term, core: core, group: group, listeners: listeners, heartbeats: heartbeats,
            supervisor: supervisor, directory: directory, deposition: deposition, logger: logger)
        await service.endAdoption()
        do throws(DejaVuError) { try supervisor.start() } catch {
            await service.stop()
            throw error
        }
        return service
    }

    /// Waits until the workers of before are here or are given up. Who is given up must not hold a place.
    private func endAdoption() async {
        let joined = await withCheckedContinuation { continuation in
            core.eventLoop.execute { [core] in
                core.value.whenAdopted { continuation.resume(returning: core.value.joinedProcesses) }
            }
        }
        for process in supervisor.processIDs where !joined.contains(process) {
            logger.warning("a worker of before did not come and is killed", metadata: ["pid": "\(process)"])
            supervisor.kill(process)
        }
    }

    /// Who this controller is to its workers, and whom it takes.
    private static func endpoint(
        _ options: ControllerOptions, key: ClusterKey, term: Term
    ) throws(DejaVuError) -> LinkEndpoint {
        let identity = LinkIdentity(
            role: .controller, name: "serve", incarnation: Incarnation(term.nonce), term: term,
            model: options.configuration.model, numericClass: options.configuration.numericClass)
        return LinkEndpoint(
            key: key, limits: options.linkLimits,
            security: options.clusterListen == nil ? .localOnly : try options.encryption.security(),
            judge: { peer in
                peer.role == .worker ? nil : DejaVuError(.refused, "\(peer) is no worker, but joins a controller")
            },
            identity: { identity })
    }

    private static func listen(
        _ options: ControllerOptions, as endpoint: LinkEndpoint, directory: StateDirectory,
        core: NIOLoopBound<ControllerCore>, _ logger: Logger
    ) async throws(DejaVuError) -> [LinkListener] {
        let local = LinkAddress.unix(path: directory.socketDirectory + "/controller.sock")
        var listeners: [LinkListener] = []
        for address in [local, options.clusterListen].compactMap({ $0 }) {
            let isLocal = address == local
            do throws(DejaVuError) {
                listeners.append(
                    try await LinkListener.listen(at: address, as: endpoint, on: core.eventLoop) { link in
                        core.value.opened(link, isLocal: isLocal)
                    } refused: { error in
                        logger.warning("a worker was turned away", metadata: ["error": "\(error)"])
                        guard error.subject == "term" else { return }
                        core.eventLoop.execute { core.value.perform(.depose(reason: error.message)) }
                    })
            } catch {
                for listener in listeners { await listener.close() }
                throw error
            }
        }
        return listeners
    }

    private static func supervise(
        _ options: ControllerOptions, key: ClusterKey, controller: LinkAddress, _ directory: StateDirectory,
        _ core: NIOLoopBound<ControllerCore>, _ logger: Logger
    ) -> LocalSupervisor {
        let peerListening: PeerListening =
            if case .tcp(let host, _) = options.clusterListen {
                .host(host)
            } else {
                .directory(directory.socketDirectory)
            }
        let loop = core.eventLoop
        return LocalSupervisor(
            workers: options.localWorkers, key: key, controller: controller, peerListening: peerListening,
            encryption: options.encryption, logger: logger,
            schedule: { delay, body in
                loop.execute {
                    loop.scheduleTask(in: .nanoseconds(delay.nanoseconds)) {
                        // Making a process takes too long for the loop.
                        do throws(DejaVuError) { try OSThread.start("spawner", body: body) } catch {
                            logger.error("worker not started", metadata: ["error": "\(error)"])
                        }
                    }
                }
            },
            lost: { process, end in loop.execute { core.value.childEnded(process, end) } })
    }

    // MARK: Requests

    /// The clock in which `Request.deadline` is counted.
    package static var now: Instant { MonotonicClock.now }

    /// An id that no request had before.
    package func nextRequestID() -> RequestID {
        RequestID(requestCount.wrappingAdd(1, ordering: .relaxed).newValue)
    }

    /// Takes a request. It always comes to an end by itself: `.refused`, or `.finished` for each choice.
    ///
    /// - Parameter deliver: called on the controller's event loop, so it must not wait; the number of calls is bounded
    ///   by what the request may generate.
    package func submit(_ request: Request, deliver: @escaping @Sendable (GenerationEvent) -> Void) {
        let taken = onLoop { $0.submit(request, deliver: deliver) }
        if !taken {
            let error = DejaVuError(.unavailable, "the server has stopped")
            deliver(.refused(Refusal(error: error, retryAfter: nil)))
        }
    }

    /// Takes a request and streams what becomes of it. Ending the iteration early cancels it.
    package func events(of request: Request) -> AsyncStream<GenerationEvent> {
        // What is not yet read is bounded by what the request may generate.
        let (stream, continuation) = AsyncStream.makeStream(of: GenerationEvent.self, bufferingPolicy: .unbounded)
        let open = Mutex(request.choiceCount)
        continuation.onTermination = { reason in
            if case .cancelled = reason { self.cancel(request.id) }
        }
        submit(request) { event in
            continuation.yield(event)
            switch event {
            case .refused: continuation.finish()
            case .finished:
                let left = open.withLock { open in
                    open -= 1
                    return open
                }
                if left == 0 { continuation.finish() }
            case .admitted, .token: break
            }
        }
        return stream
    }

    /// Requests that a controller before this one had taken, as they were found at the workers. Each is told once, and
    /// whoever takes it follows it or cancels it.
    package func takeRestored() async -> [RestoredRequest] {
        await withCheckedContinuation { continuation in
            let asked = onLoop { continuation.resume(returning: $0.takeRestored()) }
            if !asked { continuation.resume(returning: []) }
        }
    }

    /// Streams what becomes of a restored request that has not ended, behind what was restored.
    package func follow(_ request: RequestID, deliver: @escaping @Sendable (GenerationEvent) -> Void) {
        onLoop { $0.follow(request, deliver: deliver) }
    }

    /// The client is gone. Unknown requests are ignored.
    package func cancel(_ request: RequestID) { onLoop { $0.perform(.cancel(request)) } }

    /// A stop string was found in a choice's text.
    package func finish(_ request: RequestID, choice: Int) { onLoop { $0.perform(.finish(request, choice: choice)) } }

    /// What the controller knows at this moment.
    package func status() async -> ClusterStatus {
        await withCheckedContinuation { continuation in
            let asked = onLoop { continuation.resume(returning: $0.status()) }
            if asked { return }
            guard case .ended(let last) = life.withLock({ $0 }) else {
                preconditionFailure("only the end makes the loop deaf")
            }
            continuation.resume(returning: last)
        }
    }

    /// Process ids of the local workers that live.
    package var localProcessIDs: [Int32] { supervisor.processIDs }

    /// Lets a worker hand its stages over to others and end. No effect on one that is not there.
    package func drainWorker(_ worker: WorkerID) { onLoop { $0.perform(.drainWorker(worker)) } }

    /// Kills a worker that this controller has started, as `kill -9` would.
    ///
    /// - Returns: whether there is such a process.
    package func killLocalWorker(_ process: Int32) -> Bool { supervisor.kill(process) }

    /// - Returns: false once the event loop is gone; the body is not run then.
    @discardableResult
    private func onLoop(_ body: @escaping @Sendable (ControllerCore) -> Void) -> Bool {
        let core = self.core
        return life.withLock { life in
            if case .ended = life { return false }
            core.eventLoop.execute { body(core.value) }
            return true
        }
    }

    // MARK: Stop

    /// Admits nothing more and waits until the requests that run have ended; those that have not by the deadline end
    /// with `.shutdown`.
    package func drain(until deadline: Instant) async {
        await withCheckedContinuation { continuation in
            let asked = onLoop { core in
                core.whenStopped { continuation.resume() }
                core.perform(.drain(deadline: deadline))
            }
            if !asked { continuation.resume() }
        }
    }

    /// Leaves as a killed process would: without a word to anyone. For tests of what comes after.
    package func abandon() async {
        let isFirst = life.withLock { life in
            guard case .running = life else { return false }
            life = .stopping
            return true
        }
        guard isFirst else { return }
        supervisor.startNoMore()
        await heartbeats.close()
        let status = await status()
        await withCheckedContinuation { continuation in
            onLoop {
                $0.vanish()
                continuation.resume()
            }
        }
        life.withLock { $0 = .ended(status) }
        try? await group.shutdownGracefully()
        directory.release(keeping: true)
    }

    /// Ends everything now: requests, local workers, links. Returns when no child is left. Further calls do nothing.
    package func stop() async {
        let isFirst = life.withLock { life in
            guard case .running = life else { return false }
            life = .stopping
            return true
        }
        guard isFirst else { return }
        await drain(until: MonotonicClock.now)
        await supervisor.stop()
        for listener in listeners { await listener.close() }
        await heartbeats.close()
        let status = await status()
        await withCheckedContinuation { continuation in
            onLoop {
                $0.end()
                continuation.resume()
            }
        }
        life.withLock { $0 = .ended(status) }
        try? await group.shutdownGracefully()
        directory.release()
        logger.info("the controller ends", metadata: ["term": "\(term)"])
    }
}
