import NIOCore

/// Runs the tasks of connections on their event loop.
///
/// A token then goes from the controller to the socket with one change of thread instead of three, and all the
/// tokens of a step that belong to one loop share one wake-up.
final class EventLoopExecutor: TaskExecutor {
    let eventLoop: any EventLoop

    init(_ eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let executor = asUnownedTaskExecutor()
        eventLoop.execute { job.runSynchronously(on: executor) }
    }
}
