public import DejaVuCore
public import NIOCore
import NIOPosix
import Synchronization

/// The kind of a heartbeat's message.
package let heartbeatKind: UInt8 = 32

/// Says every 100 ms, over a link and on a thread of its own, that this process lives.
///
/// The thread does nothing else: neither a busy compute thread nor a busy event loop nor bulk in another socket delays
/// a beat. A link that breaks is made again. What follows from silence is decided elsewhere.
public final class HeartbeatSender: Sendable {
    public enum Event: Sendable {
        case opened(LinkIdentity)
        case ended(LinkEnd)
        /// No link could be made; it is tried again.
        case failed(DejaVuError)
    }

    private struct State {
        var link: Link?
        var isStopped = false
        var delay = retryDelayMin
    }

    private static let retryDelayMin = TimeSpan.milliseconds(100)
    private static let retryDelayMax = TimeSpan.seconds(Int64(2))

    private let address: LinkAddress
    private let endpoint: LinkEndpoint
    private let interval: TimeSpan
    private let content: @Sendable () -> ByteBuffer
    private let report: @Sendable (Event) -> Void
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let state = Mutex(State())

    /// - Parameters:
    ///   - interval: from beat to beat.
    ///   - content: what a beat says, asked for on the heartbeat's thread; must not wait.
    ///   - report: told on that thread, too; must not wait.
    public init(
        to address: LinkAddress, as endpoint: LinkEndpoint, every interval: TimeSpan = .milliseconds(100),
        content: @escaping @Sendable () -> ByteBuffer, report: @escaping @Sendable (Event) -> Void
    ) {
        precondition(interval > .zero, "a heart beats now and then")
        self.address = address
        var endpoint = endpoint
        endpoint.limits = HeartbeatListener.limits(endpoint.limits)
        self.endpoint = endpoint
        self.interval = interval
        self.content = content
        self.report = report
    }

    /// Begins to beat. Once.
    public func start() {
        connect()
        let loop = group.next()
        loop.scheduleRepeatedTask(initialDelay: .zero, delay: .init(interval)) { task in
            let (link, isStopped) = self.state.withLock { ($0.link, $0.isStopped) }
            if isStopped { return task.cancel() }
            if let link { self.beat(over: link) }
        }
    }

    /// Whether there is a link that carries the beats at the moment.
    public var isBeating: Bool { state.withLock { $0.link != nil } }

    /// Says goodbye and waits for the thread's end.
    public func stop(_ reason: String) async {
        sayGoodbye(reason)
        try? await group.shutdownGracefully()
    }

    /// Says goodbye and lets the thread end by itself.
    public func end(_ reason: String) {
        sayGoodbye(reason)
        group.shutdownGracefully { _ in }
    }

    private func sayGoodbye(_ reason: String) {
        let link = state.withLock { state in
            state.isStopped = true
            return state.link
        }
        link?.close(reason)
    }

    private func beat(over link: Link) { link.send(LinkMessage(kind: heartbeatKind, header: content())) }

    private func connect() {
        guard !state.withLock({ $0.isStopped }) else { return }
        endpoint.connect(to: address, on: group.next()) { link in
            let isStopped = self.state.withLock { state in
                state.link = link
                state.delay = Self.retryDelayMin
                return state.isStopped
            }
            if isStopped {
                link.close("this process is ending")
            } else {
                self.report(.opened(link.peer))
                // Not only when the next one is due: others may have waited for this link.
                self.beat(over: link)
            }
            return { event in
                guard case .closed(let end) = event else { return }
                self.lost(.ended(end))
            }
        }.whenFailure { error in
            self.lost(.failed(error as? DejaVuError ?? DejaVuError(.network, "\(error)")))
        }
    }

    private func lost(_ event: Event) {
        let delay = state.withLock { state -> TimeSpan? in
            state.link = nil
            defer { state.delay = min(state.delay * 2, Self.retryDelayMax) }
            return state.isStopped ? nil : state.delay
        }
        guard let delay else { return }
        report(event)
        group.next().scheduleTask(in: .init(delay)) { self.connect() }
    }
}
