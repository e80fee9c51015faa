import DejaVuControl
import DejaVuCore

/// Who waits for which request, and when what happened to it.
struct RequestBook {
    typealias Deliver = @Sendable (GenerationEvent) -> Void

    private struct Entry {
        let deliver: Deliver
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

    func admitted(_ id: RequestID, at now: Instant) {
        guard let entry = entries[id] else { return }
        observer?.requestAdmitted(queued: now - entry.submittedAt)
        entry.deliver(.admitted)
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
        entry.deliver(.token(choice: choice, token))
    }

    mutating func finished(_ id: RequestID, choice: Int, _ reason: FinishReason, at now: Instant) {
        guard let entry = entries[id] else { return }
        observer?.choiceFinished(
            reason, outputTokens: entry.choices[choice].tokens, after: now - entry.submittedAt)
        if entry.open == 1 { entries[id] = nil } else { entries[id]?.open -= 1 }
        entry.deliver(.finished(choice: choice, reason))
    }

    mutating func refused(_ id: RequestID, _ refusal: Refusal) {
        guard let entry = entries.removeValue(forKey: id) else { return }
        observer?.requestRefused(refusal.error.code)
        entry.deliver(.refused(refusal))
    }
}
