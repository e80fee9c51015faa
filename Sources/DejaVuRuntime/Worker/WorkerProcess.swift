package import DejaVuCore
package import DejaVuEngine
import DejaVuLib
import Glibc
package import Logging
import NIOCore
import NIOPosix
import Synchronization

/// One worker: it joins a controller, obeys it, computes, and ends.
///
/// Threads: an event loop that carries all links and decides (`WorkerMachine`); one compute thread; one beside it while
/// an engine is made; and one that sends a heartbeat every 100 ms over a link of its own and does nothing else. A beat
/// says that the process lives, and the counters in it that the compute thread and the loader get on.
package final class WorkerProcess: Sendable {
    private let options: WorkerOptions
    private let model: WorkerModel
    private let makeEngine: EngineFactory
    private let meter: EmulationMeter?
    private let swap: SwapMeter?
    private let logger: Logger
    private let security: LinkSecurity
    private let core = Mutex<NIOLoopBound<WorkerCore>?>(nil)
    package let incarnation = Incarnation(UInt64.random(in: .min ... .max))

    /// - Parameter meter: what the engines add to if they are emulated; the controller is told with each heartbeat.
    /// - Throws: `.invalidArgument` if the options make no sense.
    package init(
        options: WorkerOptions, model: WorkerModel, logger: Logger, meter: EmulationMeter? = nil,
        swap: SwapMeter? = nil,
        makeEngine: @escaping EngineFactory
    ) throws(DejaVuError) {
        try options.validate()
        security = try options.security()
        self.options = options
        self.model = model
        self.makeEngine = makeEngine
        self.meter = meter
        self.swap = swap
        var logger = logger
        logger[metadataKey: "worker"] = "\(options.name)"
        self.logger = logger
    }

    /// Works until the controller says that it is enough, `stop` is called, or there is no controller any more. Once.
    ///
    /// - Parameter ending: called when it is clear that it ends, before anything is given back.
    package func run(ending: @escaping @Sendable () -> Void = {}) async -> WorkerExit {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let compute = ComputeThread(poison: options.poisonToken)
        let exit: WorkerExit
        do throws(DejaVuError) {
            let core = await start(compute, on: loop)
            try compute.start(makeEngine: makeEngine) { report in
                loop.execute { core.value.computeReported(report) }
            }
            exit = await withCheckedContinuation { continuation in
                loop.execute {
                    core.value.begin { exit in
                        ending()
                        continuation.resume(returning: exit)
                    }
                }
            }
            let listener = try? await loop.submit { core.value.peers?.listener }.get()
            await listener?.close()
            let bulk = try? await loop.submit { core.value.replicas?.listener }.get()
            await bulk?.close()
            logger.info("the worker ends", metadata: ["code": "\(exit.code)", "reason": "\(exit.reason)"])
        } catch {
            try? await group.shutdownGracefully()
            return WorkerExit(code: 1, reason: error.message)
        }
        compute.stop()
        // A pass cannot be interrupted. If one takes longer than this, its thread ends with the process.
        for _ in 0..<200 where !compute.hasEnded { try? await Task.sleep(for: .milliseconds(10)) }
        if compute.hasEnded { try? await group.shutdownGracefully() }
        return exit
    }

    private func start(_ compute: ComputeThread, on loop: any EventLoop) async -> NIOLoopBound<WorkerCore> {
        let bound = await withCheckedContinuation { continuation in
            loop.execute {
                let core = WorkerCore(
                    options: self.options, model: self.model, incarnation: self.incarnation,
                    security: self.security, compute: compute, meter: self.meter, swap: self.swap, logger: self.logger,
                    eventLoop: loop)
                continuation.resume(returning: NIOLoopBound(core, eventLoop: loop))
            }
        }
        core.withLock { $0 = bound }
        return bound
    }

    /// Lets the controller move its stages to others, then ends with code 0. Without a controller it ends at once. May
    /// be called on any thread, before `run` without effect.
    package func drain() {
        guard let core = core.withLock({ $0 }) else { return }
        core.eventLoop.execute { core.value.drain() }
    }

    /// Leaves the cluster as it is and ends with code 0. May be called on any thread, before `run` without effect.
    package func stop(_ reason: String) {
        guard let core = core.withLock({ $0 }) else { return }
        core.eventLoop.execute { core.value.leave(reason) }
    }
}
