import DejaVuControl
import DejaVuCore
import DejaVuMetrics

/// One HTTP request's generation: its prompts, their choices, and the events that make them grow.
struct Generation: Sendable {
    /// Empty once the generation has ended.
    private(set) var requests: [Request]
    private(set) var choices: [ChoiceState]
    let promptTokenCount: Int
    /// When the client's request had come in whole.
    let started: ContinuousClock.Instant

    private let model: any TextModel
    private let metrics: ServingMetrics
    private let choicesPerRequest: Int
    /// Whether any choice has got a token or an end.
    private(set) var hasBegun = false
    /// While it takes in what another server had delivered: that is no news for the metrics.
    var isReplayed = false
    private var admitted: Int = 0
    private var lastToken: [ContinuousClock.Instant?]
    private var submitted: ContinuousClock.Instant

    /// - Precondition: at least one request, and all with the same number of choices.
    init(
        requests: [Request], stops: [[UInt8]], model: any TextModel, metrics: ServingMetrics,
        started: ContinuousClock.Instant
    ) {
        precondition(!requests.isEmpty && requests.allSatisfy { $0.choiceCount == requests[0].choiceCount })
        self.requests = requests
        self.model = model
        self.metrics = metrics
        self.started = started
        submitted = started
        promptTokenCount = requests.reduce(0) { $0 + $1.prompt.count }
        choicesPerRequest = requests[0].choiceCount
        choices = requests.flatMap { request in
            (0..<request.choiceCount).map { _ in ChoiceState(request: request, stops: stops) }
        }
        lastToken = Array(repeating: nil, count: choices.count)
    }

    var isFinished: Bool { choices.allSatisfy { $0.finish != nil } }
    var isAdmitted: Bool { admitted >= requests.count }
    var outputTokenCount: Int { choices.reduce(0) { $0 + $1.tokenCount } }

    /// The requests go to the controller now.
    mutating func submit() { submitted = .now }

    /// Forgets what only a running generation needs.
    mutating func end() { requests = [] }

    /// What an event did.
    enum Change: Sendable {
        case none
        case choice(Int)
        /// A stop string ended this one, which the controller does not know yet.
        case stopped(Int, RequestID, choice: Int)
    }

    /// Takes an event in.
    ///
    /// - Parameter onChange: called with a choice that changed, which it may `take` from.
    /// - Throws: what to tell the client when the request cannot be completed.
    mutating func take(
        _ delivery: GenerationMailbox.Delivery, onChange: (_ index: Int, _ choice: inout ChoiceState) -> Void
    ) throws(APIError) -> Change {
        let change: Change
        let index: Int
        switch delivery.event {
        case .admitted:
            admitted += 1
            if !isReplayed { metrics.queueTime.observe(seconds(from: submitted, to: delivery.at)) }
            return .none
        case .token(let id, let choice, let token):
            guard let found = self.index(id, choice), choices[found].finish == nil else { return .none }
            index = found
            if isReplayed { lastToken[index] = delivery.at } else { observe(index, delivery.at) }
            choices[index].accept(token, model: model)
            change = choices[index].hasFoundStop ? .stopped(index, id, choice: choice) : .choice(index)
        case .finished(let id, let choice, let reason):
            guard let found = self.index(id, choice), choices[found].finish == nil else { return .none }
            index = found
            choices[index].end(reason)
            change = .choice(index)
        case .refused(_, let refusal):
            throw APIError(refusal.error, retryAfter: refusal.retryAfter)
        }
        hasBegun = true
        onChange(index, &choices[index])
        if let reason = choices[index].finish, let error = APIError(ended: reason) { throw error }
        return change
    }

    /// What is thrown to a task that was cancelled, which happens when its connection is gone.
    static let clientGone = APIError(
        status: 499, type: "server_error", code: "client_gone", message: "The client closed the connection.")

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
