import DejaVuControl
import DejaVuCore

/// Answers that a server before this one had begun, made anew from the tokens that its workers know.
///
/// The same code runs over the same tokens, so every event has the id and the bytes that it had, and who comes back
/// with the last id that it saw gets the exact rest. Nobody reads them yet: the resume grace runs for each.
extension ServingService {
    func restore(_ found: [RestoredRequest]) {
        var parts: [String: [(origin: AnswerOrigin, request: RestoredRequest)]] = [:]
        for request in found {
            guard let origin = AnswerOrigin(request.request.origin) else {
                // It was none of a server's, or too large to be kept.
                backend.cancel(request.request.id)
                continue
            }
            parts[origin.format.id, default: []].append((origin, request))
        }
        for parts in parts.values { restore(parts.sorted { $0.origin.index < $1.origin.index }) }
    }

    private func restore(_ parts: [(origin: AnswerOrigin, request: RestoredRequest)]) {
        let first = parts[0].origin
        let requests = parts.map(\.request)
        // Where a prompt's request is gone, so is its part of the answer: the client has to ask again.
        let isWhole =
            parts.map(\.origin.index) == Array(0..<first.count)
            && requests.allSatisfy { $0.request.choiceCount == requests[0].request.choiceCount }
        guard isWhole else { return requests.forEach { backend.cancel($0.request.id) } }
        let generation = Generation(
            requests: requests.map(\.request), stops: first.stops, model: model, metrics: metrics, started: .now)
        let echoes = parts.flatMap { part in
            part.origin.echo.map { Array(repeating: $0, count: part.request.request.choiceCount) } ?? []
        }
        let answer = LiveAnswer(
            generation, format: first.format, route: first.route, isStream: first.isStream,
            includesUsage: first.includesUsage, echoes: echoes, owner: first.owner, key: first.key, service: self)
        guard let counted = try? answers.register(answer), counted === answer else {
            return requests.forEach { backend.cancel($0.request.id) }
        }
        metrics.countResumed("restart")
        answer.resume(requests)
    }
}

extension RestoredRequest {
    /// What was delivered of it, as it must have been.
    var deliveries: [GenerationMailbox.Delivery] {
        var events: [GenerationEvent] = [.admitted(request.id)]
        for (index, choice) in choices.enumerated() {
            for (offset, token) in choice.outputs.enumerated() {
                let sampled = SampledToken(
                    sequence: SequenceID(0), position: request.prompt.count + offset, token: token)
                events.append(.token(request.id, choice: index, sampled))
            }
            if let reason = choice.finish { events.append(.finished(request.id, choice: index, reason)) }
        }
        return events.map { GenerationMailbox.Delivery(event: $0, at: .now) }
    }
}
