import DejaVuControl
import DejaVuCore
import DejaVuMetrics

/// One HTTP request's generation: its prompts, their choices, and the events that make them grow.
///
/// Used by one task, which calls `end` when it knows the outcome. If the last copy goes without that, the client is
/// taken to be gone: what runs is cancelled.
struct Generation {
    let requests: [Request]
    let mailbox = GenerationMailbox()
    private(set) var choices: [ChoiceState]
    /// When the client's request had come in whole.
    let started: ContinuousClock.Instant

    private let backend: any GenerationBackend
    private let model: any TextModel
    private let metrics: ServingMetrics
    private let lease: GenerationLease
    private let choicesPerRequest: Int
    /// Whether the last `advance` returned because of the time alone.
    private(set) var wasTapped = false
    /// Whether any choice has got a token or an end.
    private(set) var hasBegun = false
    private var admitted: Int = 0
    private var lastToken: [ContinuousClock.Instant?]
    private var submitted: ContinuousClock.Instant = .now
    private var deliveries: [GenerationMailbox.Delivery] = []

    /// - Precondition: at least one request, and all with the same number of choices.
    init(
        requests: [Request], stops: [[UInt8]], route: Route, service: ServingService, started: ContinuousClock.Instant
    ) {
        precondition(!requests.isEmpty && requests.allSatisfy { $0.choiceCount == requests[0].choiceCount })
        self.requests = requests
        self.backend = service.backend
        self.model = service.model
        self.metrics = service.metrics
        self.started = started
        lease = GenerationLease(requests.map(\.id), route: route, mailbox: mailbox, service: service)
        choicesPerRequest = requests[0].choiceCount
        choices = requests.flatMap { request in
            (0..<request.choiceCount).map { _ in ChoiceState(request: request, stops: stops) }
        }
        lastToken = Array(repeating: nil, count: choices.count)
    }

    var isFinished: Bool { choices.allSatisfy { $0.finish != nil } }
    var isAdmitted: Bool { admitted == requests.count }
    var promptTokenCount: Int { requests.reduce(0) { $0 + $1.prompt.count } }
    var outputTokenCount: Int { choices.reduce(0) { $0 + $1.tokenCount } }

    mutating func submit() {
        submitted = .now
        lease.begin()
        for request in requests { backend.submit(request, to: mailbox) }
    }

    /// Waits for events and takes them in.
    ///
    /// - Parameter onChange: called after each event that changed a choice, which it may `take` from.
    /// - Throws: what to tell the client when the request cannot be completed; `clientGone` if the task was cancelled.
    mutating func advance(
        _ onChange: (_ index: Int, _ choice: inout ChoiceState) -> Void = { _, _ in }
    ) async throws(APIError) {
        guard await mailbox.receive(into: &deliveries) else { throw Self.clientGone }
        wasTapped = deliveries.isEmpty
        for delivery in deliveries {
            guard let index = try take(delivery) else { continue }
            hasBegun = true
            onChange(index, &choices[index])
            if let reason = choices[index].finish, let error = APIError(ended: reason) { throw error }
        }
    }

    /// What `advance` throws when the task was cancelled, which happens when the connection is gone.
    static let clientGone = APIError(
        status: 499, type: "server_error", code: "client_gone", message: "The client closed the connection.")

    /// - Returns: the choice that changed, if any did.
    private mutating func take(_ delivery: GenerationMailbox.Delivery) throws(APIError) -> Int? {
        switch delivery.event {
        case .admitted:
            admitted += 1
            metrics.queueTime.observe(seconds(from: submitted, to: delivery.at))
            return nil
        case .token(let id, let choice, let token):
            guard let index = index(id, choice), choices[index].finish == nil else { return nil }
            observe(index, delivery.at)
            choices[index].accept(token, model: model)
            if choices[index].hasFoundStop { backend.finish(id, choice: choice) }
            return index
        case .finished(let id, let choice, let reason):
            guard let index = index(id, choice), choices[index].finish == nil else { return nil }
            choices[index].end(reason)
            return index
        case .refused(_, let refusal):
            throw APIError(refusal.error, retryAfter: refusal.retryAfter)
        }
    }

    private func index(_ id: RequestID, _ choice: Int) -> Int? {
        guard (0..<choicesPerRequest).contains(choice) else { return nil }
        return requests.firstIndex { $0.id == id }.map { $0 * choicesPerRequest + choice }
    }

    private mutating func observe(_ index: Int, _ at: ContinuousClock.Instant) {
        metrics.outputTokens.add()
        if let last = lastToken[index] {
            metrics.interToken.observe(seconds(from: last, to: at))
        } else if index == 0 {
            metrics.timeToFirstToken.observe(seconds(from: started, to: at))
        }
        lastToken[index] = at
    }

    /// Closes the books: what still runs is cancelled, and the request is counted.
    func end(_ outcome: Outcome) {
        guard lease.end(outcome, isFinished: isFinished) else { return }
        metrics.count(self, outcome)
    }

    /// How a generation request ended, as the metrics call it.
    enum Outcome: String, Sendable, CaseIterable {
        case completed, refused, busy, unavailable, cancelled, failed

        init(_ error: APIError) {
            switch error.status {
            case 499: self = .cancelled
            case 400..<429, 430..<499: self = .refused
            case 429: self = .busy
            case 503: self = .unavailable
            default: self = .failed
            }
        }
    }
}

extension APIError {
    /// The error for a choice that ended without an answer; nil where the end is a proper one.
    fileprivate init?(ended reason: FinishReason) {
        switch reason {
        case .stop, .length: return nil
        case .cancelled:
            self.init(
                status: 503, type: "server_error", code: "cancelled",
                message: "The request was cancelled on the server.",
                retryAfter: 1)
        case .deadline:
            self.init(
                status: 503, type: "server_error", code: "deadline_exceeded",
                message: "The request was not finished before the server's deadline for requests.", retryAfter: 1)
        case .poisoned:
            self.init(
                status: 500, type: "server_error", code: "poisoned",
                message: "The request was stopped: workers failed repeatedly while they ran it.")
        case .shutdown:
            self.init(
                status: 503, type: "server_error", code: "shutting_down", message: "The server is shutting down.",
                retryAfter: 5)
        }
    }
}

/// The seconds between two moments.
func seconds(from start: ContinuousClock.Instant, to end: ContinuousClock.Instant) -> Double {
    let (seconds, attoseconds) = (end - start).components
    return Double(seconds) + Double(attoseconds) * 1e-18
}
