import DejaVuCore
import DejaVuLib
import Glibc
import Logging
import Synchronization

/// Starts the local workers, starts them again when they end, and leaves none behind; also those that a controller
/// before this one has started.
final class LocalSupervisor: Sendable {
    private enum Slot {
        case empty
        case running(ChildProcess, since: Instant)
    }
    private struct State {
        var slots: [Slot]
        var delays: [TimeSpan]
        /// Local workers that are there beside those that are wanted.
        var extras: [ChildProcess] = []
        var isStarted = false
        var stopping = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let workers: LocalWorkers
    private let key: ClusterKey
    private let controller: LinkAddress
    private let peerListening: PeerListening
    private let encryption: LinkEncryption
    private let logger: Logger
    private let schedule: @Sendable (TimeSpan, @escaping @Sendable () -> Void) -> Void
    private let lost: @Sendable (Int32, ChildEnd) -> Void
    private let state: Mutex<State>

    /// - Parameters:
    ///   - schedule: runs something later, unless the controller has ended by then.
    ///   - lost: told of each child that has ended, with its process id.
    init(
        workers: LocalWorkers, key: ClusterKey, controller: LinkAddress, peerListening: PeerListening,
        encryption: LinkEncryption, logger: Logger,
        schedule: @escaping @Sendable (TimeSpan, @escaping @Sendable () -> Void) -> Void,
        lost: @escaping @Sendable (Int32, ChildEnd) -> Void
    ) {
        self.workers = workers
        self.key = key
        self.controller = controller
        self.peerListening = peerListening
        self.encryption = encryption
        self.logger = logger
        self.schedule = schedule
        self.lost = lost
        state = Mutex(
            State(
                slots: Array(repeating: .empty, count: workers.count),
                delays: Array(repeating: workers.restartDelayMin, count: workers.count)))
    }

    /// Process ids of the children that live.
    var processIDs: [Int32] {
        state.withLock { Self.children($0).map(\.id) }
    }

    private static func children(_ state: State) -> [ChildProcess] {
        state.slots.compactMap { if case .running(let child, _) = $0 { child } else { nil } } + state.extras
    }

    /// Starts the workers that are not there yet.
    ///
    /// - Throws: `.unavailable` if a worker cannot be started at all; those that were are stopped by `stop`.
    func start() throws(DejaVuError) {
        state.withLock { $0.isStarted = true }
        for slot in 0..<workers.count where state.withLock({ if case .empty = $0.slots[slot] { true } else { false } })
        {
            try spawn(slot)
        }
    }

    /// Takes a local worker over that a controller before this one has started, unless it is known already.
    func adopt(_ process: ProcessIdentity, name: String) {
        guard process.id != getpid(), name.hasPrefix(Self.namePrefix) else { return }
        let wanted = Int(name.dropFirst(Self.namePrefix.count))
        // The watcher waits for the lock, too.
        state.withLock { state in
            guard !Self.children(state).contains(where: { $0.id == process.id }) else { return }
            var slot: Int?
            if let wanted, state.slots.indices.contains(wanted), case .empty = state.slots[wanted] { slot = wanted }
            let place = slot
            guard let child = ChildProcess.watch(process, ended: { self.ended($0, $1, slot: place) }) else { return }
            if let slot {
                state.slots[slot] = .running(child, since: MonotonicClock.now)
            } else {
                state.extras.append(child)
            }
            logger.info("worker taken over", metadata: ["worker": "\(name)", "pid": "\(process.id)"])
        }
    }

    private static let namePrefix = "local-"

    private func spawn(_ slot: Int) throws(DejaVuError) {
        let brief = LocalWorkerBrief(
            key: key.bytes, controller: controller, name: Self.namePrefix + "\(slot)", peerListening: peerListening,
            orphanGrace: workers.orphanGrace, encryption: encryption)
        let pipe = try brief.pipe()
        defer { close(pipe) }
        // The lock is held while the child is made, so that none can slip through a stop; its reaper waits for it, too.
        let failure = state.withLock { state -> DejaVuError? in
            guard !state.stopping else { return nil }
            do throws(DejaVuError) {
                let child = try ChildProcess.spawn(
                    workers.executable, arguments: workers.arguments, environment: Self.environment, inherited: pipe
                ) { child, end in self.ended(child, end, slot: slot) }
                state.slots[slot] = .running(child, since: MonotonicClock.now)
                logger.info("worker started", metadata: ["worker": "local-\(slot)", "pid": "\(child.id)"])
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw failure }
    }

    private func ended(_ child: ChildProcess, _ end: ChildEnd, slot: Int?) {
        // Before the slot is seen to be empty: what waits for that may take away what these need.
        if case .directory(let path) = peerListening { Self.removeSockets(of: child.id, in: path) }
        lost(child.id, end)
        let (delay, waiters) = state.withLock { state -> (TimeSpan?, [CheckedContinuation<Void, Never>]) in
            guard let slot else {
                state.extras.removeAll { $0 === child }
                defer { state.waiters = [] }
                return (nil, state.waiters)
            }
            var delay = state.delays[slot]
            if case .running(_, let since) = state.slots[slot], MonotonicClock.now - since >= workers.goodLife {
                delay = workers.restartDelayMin
            }
            state.slots[slot] = .empty
            if state.stopping {
                defer { state.waiters = [] }
                return (nil, state.waiters)
            }
            // Who is missing at the start is started then.
            guard state.isStarted else { return (nil, []) }
            state.delays[slot] = min(delay * 2, workers.restartDelayMax)
            return (delay, [])
        }
        for waiter in waiters { waiter.resume() }
        guard let delay, let slot else { return }
        logger.log(
            level: end == .exited(code: 0) ? .info : .warning, "worker ended and will be started again",
            metadata: ["worker": "local-\(slot)", "pid": "\(child.id)", "how": "\(end)", "delay": "\(delay)"])
        restart(slot, after: delay)
    }

    private func restart(_ slot: Int, after delay: TimeSpan) {
        schedule(delay) {
            do throws(DejaVuError) { try self.spawn(slot) } catch {
                self.logger.error(
                    "worker not started", metadata: ["worker": "local-\(slot)", "error": "\(error)"])
                self.restart(slot, after: self.workers.restartDelayMax)
            }
        }
    }

    /// - Returns: whether there is such a child.
    @discardableResult
    func kill(_ process: Int32) -> Bool {
        let child = child(process)
        child?.signal(SIGKILL)
        return child != nil
    }

    /// Kills a child that was told to end if it has not after a while.
    ///
    /// - Parameter isBack: whether it has a link again. Called where `schedule` runs things.
    func expectEnd(of process: Int32, unless isBack: @escaping @Sendable () -> Bool) {
        guard let child = child(process) else { return }
        schedule(workers.shutdownTime) {
            // Another may have its number by then.
            guard self.child(process) === child, !isBack() else { return }
            self.logger.warning("worker did not end in time and is killed", metadata: ["pid": "\(process)"])
            child.signal(SIGKILL)
        }
    }

    private func child(_ process: Int32) -> ChildProcess? {
        state.withLock { state in Self.children(state).first { $0.id == process } }
    }

    /// From here on, who ends is not started again.
    func startNoMore() { state.withLock { $0.stopping = true } }

    /// Waits for the children that were told to end, kills those that do not, and starts none again.
    func stop() async {
        startNoMore()
        let killer = Task {
            try await Task.sleep(for: .nanoseconds(workers.shutdownTime.nanoseconds))
            for process in processIDs {
                logger.warning("worker did not end in time and is killed", metadata: ["pid": "\(process)"])
                kill(process)
            }
        }
        while true {
            await withCheckedContinuation { continuation in
                let done = state.withLock { state in
                    let empty = Self.children(state).isEmpty
                    if !empty { state.waiters.append(continuation) }
                    return empty
                }
                if done { continuation.resume() }
            }
            if processIDs.isEmpty { break }
        }
        killer.cancel()
    }

    private static var environment: [String] {
        var variables: [String] = []
        var at = environ
        while let variable = at.pointee {
            variables.append(String(cString: variable))
            at += 1
        }
        return variables
    }

    /// What a killed worker leaves in the file system.
    static func removeSockets(of process: Int32, in directory: String) {
        StateDirectory.remove(in: directory) { $0.hasPrefix("peer-\(process)-") && $0.hasSuffix(".sock") }
    }
}
