import DejaVuControl
import DejaVuCore

/// What the clients have seen, and what they should see: the judge of invariants 1 and 2.
struct Clients: Sendable {
    struct Choice: Sendable {
        /// The text of a run without batching, stages or failures.
        let expected: [TokenID]
        var received: [TokenID] = []
        var finished: FinishReason?
        var finishSent = false
        /// How far the answer has come at the present server, and how it ended there: a restart may set it back, to
        /// what the workers know.
        var served = 0
        var servedEnd: FinishReason?
    }
    struct Entry: Sendable {
        let client: Scenario.Client
        var outputCountMax = 0
        var choices: [Choice] = []
        var submitted = false
        var admitted = false
        var refused = false
        var cancelSent = false
        /// Under which the server has it: another after it was sent again.
        var id: RequestID
        /// That of the present server: one that is restored gets another.
        var deadline: Instant
        /// Whether the server of now knows it.
        var isServed = false

        init(client: Scenario.Client) {
            self.client = client
            id = client.request.id
            deadline = client.request.deadline
        }

        /// As it is sent.
        var request: Request {
            let first = client.request
            return Request(
                id: id, prompt: first.prompt, choiceCount: first.choiceCount, sampling: first.sampling,
                outputCountMax: first.outputCountMax, stopTokens: first.stopTokens, deadline: first.deadline)
        }

        /// For the client.
        var isOver: Bool { refused || (submitted && choices.allSatisfy { $0.finished != nil }) }
        /// For the server.
        var isServedToItsEnd: Bool { refused || !isServed || choices.allSatisfy { $0.servedEnd != nil } }
    }

    private(set) var entries: [Entry]
    /// Looked up only, never iterated.
    private var places: [UInt64: Int] = [:]
    let configuration: ControllerConfiguration

    init(_ scenario: Scenario) {
        configuration = scenario.configuration
        entries = scenario.clients.map { Entry(client: $0) }
        for (index, client) in scenario.clients.enumerated() { places[client.request.id.rawValue] = index }
    }

    /// What is added to a request's id each time that it is sent again.
    private static let again: UInt64 = 1 << 32

    var allOver: Bool { entries.allSatisfy { $0.isOver } }
    func index(of request: RequestID) -> Int? {
        request == RequestID(.max) ? nil : places[request.rawValue % Self.again]
    }
    /// Whether it is the one that a client has now, and not one of before it sent it again.
    func isPresent(_ request: RequestID) -> Bool { index(of: request).map { entries[$0].id == request } ?? false }
    func isOver(_ request: RequestID, choice: Int) -> Bool {
        guard let index = index(of: request), isPresent(request) else { return true }
        return entries[index].refused || !entries[index].isServed || entries[index].choices[choice].servedEnd != nil
    }

    // MARK: A server's death

    mutating func serverDied() {
        for index in entries.indices {
            entries[index].isServed = false
            entries[index].admitted = false
            for choice in entries[index].choices.indices {
                entries[index].choices[choice].served = 0
                entries[index].choices[choice].servedEnd = nil
            }
        }
    }

    /// The next server has found the request at the workers: it knows nothing that the client has not seen.
    mutating func restored(_ restored: RestoredRequest) -> String? {
        let id = restored.request.id
        guard let index = index(of: id), entries[index].submitted, !entries[index].isServed else {
            return "\(id) was restored but never sent, or twice"
        }
        guard isPresent(id) else { return nil }
        entries[index].isServed = true
        entries[index].admitted = true
        entries[index].deadline = restored.request.deadline
        for (place, choice) in restored.choices.enumerated() {
            let known = entries[index].choices[place]
            guard known.received.starts(with: choice.outputs) else {
                return "\(id)/\(place) was restored with other tokens than its client has"
            }
            // One that had left, or waited too long, was told so by a controller that died with this knowledge; the
            // sequence may have gone on without it.
            if let finish = choice.finish, finish != known.finished, known.finished != .cancelled,
                known.finished != .deadline
            {
                return "\(id)/\(place) was restored with an end that its client was not told"
            }
            entries[index].choices[place].served = choice.outputs.count
            entries[index].choices[place].servedEnd = choice.finish
        }
        return nil
    }

    /// The client sends its request again, as one of its own.
    mutating func sendAgain(_ index: Int) {
        entries[index].id = RequestID(entries[index].id.rawValue + Self.again)
    }

    mutating func submit(_ index: Int) {
        let request = entries[index].client.request
        let context = configuration.limits.contextLength
        let outputs =
            request.outputCountMax ?? min(configuration.limits.outputCountDefault, context - request.prompt.count)
        let isFirst = !entries[index].submitted
        entries[index].submitted = true
        entries[index].isServed = true
        entries[index].deadline = request.deadline
        entries[index].outputCountMax = outputs
        guard isFirst, outputs >= 1, request.prompt.count + outputs <= context else { return }
        entries[index].choices = (0..<request.choiceCount).map { choice in
            var sampling = request.sampling
            sampling.seed = request.choiceSeed(choice)
            return Choice(
                expected: EmulatedChain.continuation(
                    of: request.prompt, count: outputs, layerCount: configuration.layerCount,
                    vocabularyCount: configuration.vocabularyCount, sampling: sampling,
                    stopTokens: request.stopTokens))
        }
    }

    mutating func cancelSent(_ index: Int) { entries[index].cancelSent = true }
    mutating func finishSent(_ request: RequestID, choice: Int) {
        if let index = index(of: request) { entries[index].choices[choice].finishSent = true }
    }

    // MARK: What the controller says; each returns what is wrong with it, if anything

    mutating func admitted(_ request: RequestID) -> String? {
        guard let index = index(of: request) else { return "\(request) was admitted but never sent" }
        if entries[index].admitted { return "\(request) was admitted twice" }
        if entries[index].isServedToItsEnd { return "\(request) was admitted after its end" }
        entries[index].admitted = true
        return nil
    }

    mutating func refused(_ request: RequestID, _ refusal: Refusal) -> String? {
        guard let index = index(of: request) else { return "\(request) was refused but never sent" }
        let entry = entries[index]
        if entry.admitted || entry.refused { return "\(request) was refused after it was taken" }
        if entry.choices.contains(where: { $0.served > 0 || $0.servedEnd != nil }) {
            return "\(request) was refused after something was emitted"
        }
        entries[index].refused = true
        let passing = refusal.error.code == .resourceExhausted || refusal.error.code == .unavailable
        if passing != (refusal.retryAfter != nil) { return "\(request): a refusal that may pass says when, others not" }
        return nil
    }

    mutating func emitted(_ request: RequestID, choice: Int, _ token: SampledToken) -> String? {
        guard let index = index(of: request), entries[index].choices.indices.contains(choice) else {
            return "\(request)/\(choice) got a token but does not exist"
        }
        guard isPresent(request) else { return nil }
        let entry = entries[index]
        let state = entry.choices[choice]
        if !entry.admitted || entry.refused { return "\(request)/\(choice) got a token without being admitted" }
        if state.servedEnd != nil { return "\(request)/\(choice) got a token after its end" }
        let place = state.served
        if token.position != entry.client.request.prompt.count + place {
            return "\(request)/\(choice) got position \(token.position) as its token \(place)"
        }
        if place >= state.expected.count || state.expected[place] != token.token {
            return "\(request)/\(choice) got another token \(place) than a run without failures gives"
        }
        entries[index].choices[choice].served += 1
        // Of what it has already the client wants nothing.
        if place == state.received.count { entries[index].choices[choice].received.append(token.token) }
        return nil
    }

    mutating func finished(
        _ request: RequestID, choice: Int, _ reason: FinishReason, now: Instant, drainEnd: Instant, workersLost: UInt64
    ) -> String? {
        guard let index = index(of: request), entries[index].choices.indices.contains(choice) else {
            return "\(request)/\(choice) ended but does not exist"
        }
        guard isPresent(request) else { return nil }
        let entry = entries[index]
        let state = entry.choices[choice]
        if state.servedEnd != nil || entry.refused { return "\(request)/\(choice) ended twice" }
        entries[index].choices[choice].servedEnd = reason
        if state.finished == nil { entries[index].choices[choice].finished = reason }
        let last = state.served > 0 ? state.received[state.served - 1] : nil
        let stopped = last.map { entry.client.request.stopTokens.contains($0) } ?? false
        let justified: Bool =
            switch reason {
            case .stop: stopped || state.finishSent
            case .length: !stopped && state.served == entry.outputCountMax
            case .cancelled: entry.cancelSent
            case .deadline: entry.deadline <= now
            case .poisoned: entry.client.poisonedPosition != nil || workersLost >= 3
            case .shutdown: drainEnd <= now
            }
        return justified ? nil : "\(request)/\(choice) ended with \(reason.rawValue), which is not so"
    }
}
