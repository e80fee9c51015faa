import DejaVuControl
import DejaVuCore
import NIOCore
import Synchronization

/// One request's answer, from its submission until the server forgets it: what generates it and what it has said.
///
/// Any number of readers follow it, each from its own place. Whoever reads also takes in what the controller has
/// delivered; while nobody does, an event loop does it. When the last reader leaves before the end, what runs is
/// cancelled: at once, or if the client has named the request by a key, when the resume grace is over.
final class LiveAnswer: Sendable {
    let format: AnswerFormat
    let route: Route
    let isStream: Bool
    let includesUsage: Bool
    /// Whose it is; see `Gatekeeper`.
    let owner: String
    let key: IdempotencyKey?
    let mailbox = GenerationMailbox()
    let choiceCount: Int
    let state: Mutex<State>

    private let service: ServingService
    private let eventLoop: any EventLoop

    struct State: Sendable {
        var generation: Generation
        var log: AnswerLog
        /// How far each reader has read.
        var readers: [UInt64: Int] = [:]
        var nextReader: UInt64 = 0
        var phase = Phase.waiting
        /// What the registry has been told of the log's size.
        var accountedBytes = 0
        var deliveries: [GenerationMailbox.Delivery] = []
    }

    enum Phase: Sendable {
        case waiting
        case running(ticker: RepeatedTask, grace: Scheduled<Void>?)
        /// nil for an answer that is whole.
        case ended(APIError?)
    }

    /// - Precondition: `echoes` is empty or has one for each choice.
    init(
        _ generation: Generation, format: AnswerFormat, route: Route, isStream: Bool, includesUsage: Bool,
        echoes: [String], owner: String, key: IdempotencyKey?, service: ServingService
    ) {
        self.format = format
        self.route = route
        self.isStream = isStream
        // A stream's own wish; whoever follows another answer may as well have it.
        self.includesUsage = includesUsage || !isStream
        self.owner = owner
        self.key = key
        self.service = service
        eventLoop = service.eventLoopGroup.next()
        choiceCount = generation.choices.count
        var log = AnswerLog(choiceCount: generation.choices.count)
        for (choice, echo) in echoes.enumerated() { log.appendEcho(echo, choice: choice) }
        state = Mutex(State(generation: generation, log: log))
    }

    var id: String { format.id }

    /// Hands the requests to the controller. From here on the readers are tapped in the interval of keep-alives.
    func submit() {
        let ticker = makeTicker()
        let requests = state.withLock { state in
            guard case .waiting = state.phase else { preconditionFailure("an answer is submitted once") }
            state.phase = .running(ticker: ticker, grace: nil)
            state.generation.submit()
            return state.generation.requests
        }
        for request in requests { service.backend.submit(request, to: mailbox) }
    }

    private func makeTicker() -> RepeatedTask {
        let interval = TimeAmount.nanoseconds(service.configuration.keepAliveInterval.nanoseconds)
        let mailbox = mailbox
        return eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in mailbox.tap() }
    }

    /// Takes up what another server had begun: its tokens first, then what comes. The grace runs as for one whose last
    /// reader has left.
    func resume(_ requests: [RestoredRequest]) {
        let ticker = makeTicker()
        perform(
            state.withLock { state in
                guard case .waiting = state.phase else { preconditionFailure("an answer is taken up once") }
                var effects = Effects()
                state.phase = .running(ticker: ticker, grace: scheduleGrace())
                state.generation.submit()
                state.generation.isReplayed = true
                take(requests.flatMap(\.deliveries), &state, &effects)
                state.generation.isReplayed = false
                return effects
            })
        for request in requests where request.choices.contains(where: { $0.finish == nil }) {
            service.backend.follow(request.request.id, to: mailbox)
        }
        pumpUnattended()
    }

    // MARK: What is delivered

    /// What has to be done once the lock is free.
    private struct Effects {
        var stopped: [(RequestID, choice: Int)] = []
        var cancelled: [RequestID] = []
        var ended: Generation.Outcome?
        var bytes = 0
    }

    /// Takes in what was delivered.
    func pump() {
        perform(
            state.withLock { state in
                var effects = Effects()
                guard case .running = state.phase else { return effects }
                mailbox.drain(into: &state.deliveries)
                guard !state.deliveries.isEmpty else { return effects }
                take(state.deliveries, &state, &effects)
                return effects
            })
    }

    private func take(_ deliveries: [GenerationMailbox.Delivery], _ state: inout State, _ effects: inout Effects) {
        do throws(APIError) {
            try take(deliveries, &state.generation, &state.log, &effects)
            if state.generation.isFinished { end(&state, nil, .completed, &effects) }
        } catch {
            end(&state, error, Generation.Outcome(error), &effects)
        }
        account(&state, &effects)
    }

    private func take(
        _ deliveries: [GenerationMailbox.Delivery], _ generation: inout Generation, _ log: inout AnswerLog,
        _ effects: inout Effects
    ) throws(APIError) {
        let isChat = format.kind == .chat
        for delivery in deliveries {
            let change = try generation.take(delivery) { index, choice in log.take(&choice, index, isChat: isChat) }
            if case .stopped(_, let id, let choice) = change { effects.stopped.append((id, choice)) }
        }
    }

    private func account(_ state: inout State, _ effects: inout Effects) {
        let bytes = state.log.byteCount
        effects.bytes += bytes - state.accountedBytes
        state.accountedBytes = bytes
    }

    private func end(
        _ state: inout State, _ error: APIError?, _ outcome: Generation.Outcome, _ effects: inout Effects
    ) {
        guard case .running(let ticker, let grace) = state.phase else { return }
        ticker.cancel()
        grace?.cancel()
        if let error {
            state.log.fail(error)
        } else {
            state.log.complete(usage: includesUsage ? AnswerFormat.usage(state.generation) : nil)
        }
        if !state.generation.isFinished { effects.cancelled += state.generation.requests.map(\.id) }
        effects.ended = outcome
        service.metrics.count(state.generation, outcome)
        state.generation.end()
        state.phase = .ended(error)
    }

    private func perform(_ effects: Effects) {
        for (id, choice) in effects.stopped { service.backend.finish(id, choice: choice) }
        for id in effects.cancelled { service.backend.cancel(id) }
        if let outcome = effects.ended {
            mailbox.close()
            service.metrics.count(route: route.rawValue, outcome)
            service.answers.ended(self, outcome)
        }
        if effects.bytes != 0 || effects.ended != nil { service.answers.changed(byBytes: effects.bytes) }
    }

    // MARK: Readers

    /// One more reader from now on, until it is gone.
    func attach() -> AnswerReader {
        let number = state.withLock { state in
            state.nextReader += 1
            state.readers[state.nextReader] = state.log.startIndex
            if case .running(let ticker, let grace?) = state.phase {
                grace.cancel()
                state.phase = .running(ticker: ticker, grace: nil)
            }
            return state.nextReader
        }
        mailbox.setUnattended(nil)
        return AnswerReader(self, number)
    }

    /// A reader leaves.
    func detach(_ number: UInt64) {
        let (effects, isUnattended) = state.withLock { state -> (Effects, Bool) in
            var effects = Effects()
            guard state.readers.removeValue(forKey: number) != nil, state.readers.isEmpty,
                case .running(let ticker, _) = state.phase
            else { return (effects, false) }
            guard key != nil else {
                end(&state, Self.left, .cancelled, &effects)
                account(&state, &effects)
                return (effects, false)
            }
            state.phase = .running(ticker: ticker, grace: scheduleGrace())
            return (effects, true)
        }
        perform(effects)
        if isUnattended { pumpUnattended() }
    }

    /// While nobody reads, an event loop takes in what is delivered.
    private func pumpUnattended() {
        let eventLoop = eventLoop
        mailbox.setUnattended { [weak self] in
            guard let self else { return }
            eventLoop.execute { self.pump() }
        }
        // For what came before that.
        eventLoop.execute { self.pump() }
    }

    private func scheduleGrace() -> Scheduled<Void> {
        let grace = TimeAmount.nanoseconds(service.configuration.resumeGrace.nanoseconds)
        return eventLoop.scheduleTask(in: grace) { [weak self] in self?.giveUp(Self.left) }
    }

    static let left = APIError(
        status: 503, type: "server_error", code: "cancelled",
        message: "The request was cancelled because its client had left.", retryAfter: 1)

    /// Ends what runs, unless somebody reads.
    private func giveUp(_ error: APIError) {
        perform(
            state.withLock { state in
                var effects = Effects()
                guard state.readers.isEmpty, case .running = state.phase else { return effects }
                end(&state, error, .cancelled, &effects)
                account(&state, &effects)
                return effects
            })
    }

    /// Ends what runs, since its client wants no more of it.
    func cancel() {
        let error = APIError(
            status: 503, type: "server_error", code: "cancelled", message: "The request was cancelled by its client.")
        pump()
        perform(
            state.withLock { state in
                var effects = Effects()
                guard case .running = state.phase else { return effects }
                end(&state, error, .cancelled, &effects)
                account(&state, &effects)
                return effects
            })
    }

    // MARK: Memory

    /// Drops what all readers have read. An answer that nobody reads is given up.
    func shrink(_ error: APIError) {
        giveUp(error)
        perform(
            state.withLock { state in
                var effects = Effects()
                guard case .running = state.phase else { return effects }
                state.log.drop(before: state.readers.values.min() ?? 0)
                account(&state, &effects)
                return effects
            })
    }

    /// The registry counts it no longer.
    ///
    /// - Returns: how many bytes it has counted.
    func forgetAccounted() -> Int {
        state.withLock { state in
            defer { state.accountedBytes = 0 }
            return state.accountedBytes
        }
    }
}
