import DejaVuControl
import DejaVuCore

/// Who waits for which request, and when what happened to it.
struct RequestBook {
    typealias Deliver = @Sendable (GenerationEvent) -> Void

    private struct Entry {
        /// nil for a restored one as long as nobody follows it.
        var deliver: Deliver?
        /// What such a one has not delivered.
        var pending: [GenerationEvent] = []
        let submittedAt: Instant
        var choices: [Choice]
        var open: Int
    }
    private struct Choice {
        var tokens = 0
        var lastAt: Instant
    }

    private var entries: [RequestID: Entry] = [:]
    private let observer: (any ControllerObserver)?

    init(observer: (any ControllerObserver)?) { self.observer = observer }

    var count: Int { entries.count }

    mutating func submit(_ request: Request, at now: Instant, deliver: @escaping Deliver) {
        precondition(entries[request.id] == nil, "\(request.id) was submitted before")
        entries[request.id] = Entry(
            deliver: deliver, submittedAt: now,
            choices: Array(repeating: Choice(lastAt: now), count: request.choiceCount), open: request.choiceCount)
        observer?.requestSubmitted(promptTokens: request.prompt.count, choices: request.choiceCount)
    }

    /// A request of before this controller: who follows it comes later.
    mutating func restore(_ restored: RestoredRequest, at now: Instant) {
        let open = restored.choices.reduce(0) { $0 + ($1.finish == nil ? 1 : 0) }
        guard open > 0, entries[restored.request.id] == nil else { return }
        entries[restored.request.id] = Entry(
            deliver: nil, submittedAt: now,
            choices: restored.choices.map { Choice(tokens: $0.outputs.count, lastAt: now) }, open: open)
    }

    /// What comes for a restored request from now on, and what has come, goes there.
    mutating func follow(_ id: RequestID, deliver: @escaping Deliver) {
        guard let entry = entries[id] else { return }
        for event in entry.pending { deliver(event) }
        entries[id]?.pending = []
        entries[id]?.deliver = deliver
        if entry.open == 0 { entries[id] = nil }
    }

    private mutating func deliver(_ event: GenerationEvent, of id: RequestID) {
        if let deliver = entries[id]?.deliver { deliver(event) } else { entries[id]?.pending.append(event) }
    }

    mutating func admitted(_ id: RequestID, at now: Instant) {
        guard let entry = entries[id] else { return }
        observer?.requestAdmitted(queued: now - entry.submittedAt)
        deliver(.admitted, of: id)
    }

    mutating func emitted(_ id: RequestID, choice: Int, _ token: SampledToken, at now: Instant) {
        guard let entry = entries[id] else { return }
        let since = now - entry.choices[choice].lastAt
        if entry.choices[choice].tokens == 0 {
            observer?.firstToken(after: since)
        } else {
            observer?.nextToken(after: since)
        }
        entries[id]?.choices[choice].tokens += 1
        entries[id]?.choices[choice].lastAt = now
        deliver(.token(choice: choice, token), of: id)
    }

    mutating func finished(_ id: RequestID, choice: Int, _ reason: FinishReason, at now: Instant) {
        guard let entry = entries[id] else { return }
        observer?.choiceFinished(
            reason, outputTokens: entry.choices[choice].tokens, after: now - entry.submittedAt)
        entries[id]?.open -= 1
        deliver(.finished(choice: choice, reason), of: id)
        if entry.open == 1, entry.deliver != nil { entries[id] = nil }
    }

    mutating func refused(_ id: RequestID, _ refusal: Refusal) {
        guard let entry = entries.removeValue(forKey: id) else { return }
        observer?.requestRefused(refusal.error.code)
        entry.deliver?(.refused(refusal))
    }
}
