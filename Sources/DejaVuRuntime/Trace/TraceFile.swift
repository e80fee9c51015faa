package import DejaVuControl
package import DejaVuCore
import Glibc
package import Logging
import Synchronization

/// Writes what the workers of a controller do to a file that Chrome's and Perfetto's viewers open.
///
/// The file is a whole JSON array after every write, so one that a killed server leaves can be read. Memory and size
/// are bounded: what comes faster than the disk takes it is counted and left out, and a full file ends.
package final class TraceFile: ControllerObserver {
    fileprivate struct State {
        var lines: [String] = []
        var lineBytes = 0
        var dropped = 0
        var context = TraceEvent.Context()
        var offsets: [WorkerID: ClockOffset] = [:]
        var transferCount: UInt64 = 0
        var waiter: CheckedContinuation<Void, Never>?
        /// Nothing is written any more.
        var hasEnded = false
    }

    /// What waits for the disk.
    fileprivate static let waitingBytesMax = 16 << 20
    /// How often the file grows.
    private static let interval = TimeSpan.milliseconds(200)

    private let state = Mutex(State())
    private let descriptor: Int32
    private let sizeMax: Int
    private let logger: Logger

    package var wantsTrace: Bool { true }

    /// - Parameter topology: says what each pipeline is for.
    /// - Throws: `.invalidArgument` if the file cannot be made.
    package init(
        path: String, topology: PipelineTopology, sizeMax: Int = 512 << 20, logger: Logger
    ) throws(DejaVuError) {
        self.sizeMax = sizeMax
        self.logger = logger
        descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw DejaVuError(
                .invalidArgument, "cannot write a trace to \(path): \(String(cString: strerror(errno)))",
                subject: "trace-out")
        }
        state.withLock { state in
            state.context.roles = topology.pipelines.map(\.role)
            state.add(TraceEvent(nameOf: 0, "cluster"))
        }
        do throws(DejaVuError) {
            try OSThread.start("trace") { self.work() }
        } catch {
            close(descriptor)
            throw error
        }
    }

    deinit { close(descriptor) }

    // MARK: What the controller tells

    package func workerJoined(_ worker: WorkerID, _ hello: WorkerHello) {
        let now = MonotonicClock.now
        state.withLock { state in
            state.context.names[hello.incarnation] = hello.name
            state.add(TraceEvent(nameOf: worker.rawValue, "\(hello.name) (\(worker))"))
            state.add(TraceEvent(moment: "\(hello.name) joined", at: now))
        }
    }

    package func workerLost(_ worker: WorkerID, reason: String) {
        let now = MonotonicClock.now
        state.withLock { state in
            state.offsets[worker] = nil
            state.add(TraceEvent(moment: "\(worker) lost: \(reason)", at: now))
        }
    }

    package func traced(_ batch: TraceBatch, by worker: WorkerID, isLocal: Bool, at now: Instant) {
        state.withLock { state in
            let offset: TimeSpan =
                isLocal
                ? .zero : state.offsets[worker, default: ClockOffset()].heard(sentAt: batch.sentAt, receivedAt: now)
            state.dropped += batch.dropped
            for record in batch.records {
                state.transferCount += 1
                state.add(
                    TraceEvent(
                        record, of: worker, offset: offset, context: state.context, number: state.transferCount))
            }
        }
    }

    // MARK: The file

    /// Returns when what is left has been written. Once.
    package func finish() async {
        await withCheckedContinuation { continuation in
            let hasEnded = state.withLock { state in
                if !state.hasEnded { state.waiter = continuation }
                return state.hasEnded
            }
            if hasEnded { continuation.resume() }
        }
    }

    private func work() {
        let opening = "[\n"
        let closing = "\n]\n"
        var size = 0
        while true {
            let (lines, dropped, finishing) = state.withLock { state in
                defer { (state.lines, state.lineBytes, state.dropped) = ([], 0, 0) }
                return (state.lines, state.dropped, state.waiter != nil)
            }
            if dropped > 0 { logger.warning("a trace has holes", metadata: ["records": "\(dropped)"]) }
            if !lines.isEmpty {
                let text = (size == 0 ? opening : ",\n") + lines.joined(separator: ",\n")
                guard size + text.utf8.count <= sizeMax, write(text + closing, at: size) else {
                    logger.warning("the trace ends here", metadata: ["bytes": "\(size)"])
                    break
                }
                size += text.utf8.count
            }
            if finishing { break }
            usleep(UInt32(Self.interval.nanoseconds / 1000))
        }
        let waiter = state.withLock { state in
            state.hasEnded = true
            return state.waiter
        }
        waiter?.resume()
    }

    private func write(_ text: String, at offset: Int) -> Bool {
        var rest = Array(text.utf8)[...]
        var place = offset
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, place) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
            place += count
        }
        return true
    }
}

extension TraceFile.State {
    fileprivate mutating func add(_ event: TraceEvent) {
        guard !hasEnded, lineBytes + event.text.utf8.count <= TraceFile.waitingBytesMax else {
            dropped += 1
            return
        }
        lineBytes += event.text.utf8.count
        lines.append(event.text)
    }
}
