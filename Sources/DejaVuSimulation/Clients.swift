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
    }
    struct Entry: Sendable {
        let client: Scenario.Client
        var outputCountMax = 0
        var choices: [Choice] = []
        var submitted = false
        var admitted = false
        var refused = false
        var cancelSent = false

        var isOver: Bool { refused || (submitted && choices.allSatisfy { $0.finished != nil }) }
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

    var allOver: Bool { entries.allSatisfy { $0.isOver } }
    func index(of request: RequestID) -> Int? { places[request.rawValue] }
    func isOver(_ request: RequestID, choice: Int) -> Bool {
        index(of: request).map { entries[$0].refused || entries[$0].choices[choice].finished != nil } ?? false
    }

    mutating func submit(_ index: Int) {
        let request = entries[index].client.request
        let context = configuration.limits.contextLength
        let outputs =
            request.outputCountMax ?? min(configuration.limits.outputCountDefault, context - request.prompt.count)
        entries[index].submitted = true
        entries[index].outputCountMax = outputs
        guard outputs >= 1, request.prompt.count + outputs <= context else { return }
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
        if entries[index].isOver { return "\(request) was admitted after its end" }
        entries[index].admitted = true
        return nil
    }

    mutating func refused(_ request: RequestID, _ refusal: Refusal) -> String? {
        guard let index = index(of: request) else { return "\(request) was refused but never sent" }
        let entry = entries[index]
        if entry.admitted || entry.refused { return "\(request) was refused after it was taken" }
        if entry.choices.contains(where: { !$0.received.isEmpty || $0.finished != nil }) {
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
        let entry = entries[index]
        let state = entry.choices[choice]
        if !entry.admitted || entry.refused { return "\(request)/\(choice) got a token without being admitted" }
        if state.finished != nil { return "\(request)/\(choice) got a token after its end" }
        let place = state.received.count
        if token.position != entry.client.request.prompt.count + place {
            return "\(request)/\(choice) got position \(token.position) as its token \(place)"
        }
        if place >= state.expected.count || state.expected[place] != token.token {
            return "\(request)/\(choice) got another token \(place) than a run without failures gives"
        }
        entries[index].choices[choice].received.append(token.token)
        return nil
    }

    mutating func finished(
        _ request: RequestID, choice: Int, _ reason: FinishReason, now: Instant, drainEnd: Instant, workersLost: UInt64
    ) -> String? {
        guard let index = index(of: request), entries[index].choices.indices.contains(choice) else {
            return "\(request)/\(choice) ended but does not exist"
        }
        let entry = entries[index]
        let state = entry.choices[choice]
        if state.finished != nil || entry.refused { return "\(request)/\(choice) ended twice" }
        entries[index].choices[choice].finished = reason
        let stopped = state.received.last.map { entry.client.request.stopTokens.contains($0) } ?? false
        let justified: Bool =
            switch reason {
            case .stop: stopped || state.finishSent
            case .length: !stopped && state.received.count == entry.outputCountMax
            case .cancelled: entry.cancelSent
            case .deadline: entry.client.request.deadline <= now
            case .poisoned: entry.client.poisonedPosition != nil || workersLost >= 3
            case .shutdown: drainEnd <= now
            }
        return justified ? nil : "\(request)/\(choice) ended with \(reason.rawValue), which is not so"
    }
}
