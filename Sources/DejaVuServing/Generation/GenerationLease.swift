import DejaVuCore
import NIOCore
import Synchronization

/// Holds what must not outlive a generation: its requests in the controller and its timer.
///
/// An answer can be dropped without a word, for one when the connection breaks between its making and its first
/// byte. Then nobody calls `end`, and the lease's deinit does what is left to do.
final class GenerationLease: Sendable {
    private enum State {
        case idle
        case running(RepeatedTask)
        case ended
    }

    private let ids: [RequestID]
    private let route: Route
    private let mailbox: GenerationMailbox
    private let service: ServingService
    private let state = Mutex(State.idle)

    init(_ ids: [RequestID], route: Route, mailbox: GenerationMailbox, service: ServingService) {
        self.ids = ids
        self.route = route
        self.mailbox = mailbox
        self.service = service
    }

    /// From here on the mailbox is tapped in the interval of keep-alives.
    func begin() {
        let interval = TimeAmount.nanoseconds(service.configuration.keepAliveInterval.nanoseconds)
        let mailbox = mailbox
        let ticker = service.eventLoopGroup.next().scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in
            mailbox.tap()
        }
        state.withLock { $0 = .running(ticker) }
    }

    /// - Returns: false if it had ended before.
    func end(_ outcome: Generation.Outcome, isFinished: Bool) -> Bool {
        let old = state.withLock { state in
            defer { state = .ended }
            return state
        }
        switch old {
        case .ended: return false
        case .idle: break
        case .running(let ticker):
            ticker.cancel()
            if !isFinished { for id in ids { service.backend.cancel(id) } }
        }
        mailbox.close()
        service.metrics.count(route: route.rawValue, outcome)
        return true
    }

    deinit {
        _ = end(.cancelled, isFinished: false)
    }
}
