import DejaVuControl
import DejaVuCore
import HTTPTypes
import Hummingbird
import Logging

/// The routes that generate.
extension ServingService {
    /// What a generation request comes down to once it is read and tokenized.
    private struct Plan: Sendable {
        let options: GenerationOptions
        let prompts: [[TokenID]]
        /// For each choice the text that goes before its own; empty for none.
        let echoes: [String]
    }

    func generate(
        _ route: Route, _ request: HummingbirdCore.Request, _ exchange: Exchange
    ) async throws(APIError) -> Reply {
        let resumes = Resumption(request)
        let answer: LiveAnswer
        do throws(APIError) {
            let bytes = try await body(request)
            let started = ContinuousClock.now
            let key = try IdempotencyKey(resumes.key, route: route, body: bytes)
            let lastEvent = try resumes.lastEvent()
            if let key, let known = try answers.find(key, owner: exchange.owner) {
                metrics.countResumed("key")
                return try await reply(known.attach(), after: lastEvent)
            }
            if lastEvent != nil {
                // A new answer would begin anew, and not where that event was.
                throw .nothingToResume
            }
            let plan = try await inPool { () throws(APIError) -> Plan in
                try route == .chat ? planChat(bytes, exchange) : planCompletion(bytes, exchange)
            }
            answer = make(plan, route, exchange, key, started: started)
        } catch {
            metrics.count(route: route.rawValue, Generation.Outcome(error))
            throw error
        }
        let counted = try answers.register(answer)
        let reader = counted.attach()
        if counted === answer { answer.submit() } else { metrics.countResumed("key") }
        return try await reply(reader, after: nil)
    }

    private func make(
        _ plan: Plan, _ route: Route, _ exchange: Exchange, _ key: IdempotencyKey?,
        started: ContinuousClock.Instant
    ) -> LiveAnswer {
        // Nobody shall guess the ids of others.
        let format = AnswerFormat(
            kind: route == .chat ? .chat : .completion, id: RequestIdentity.hexadecimal(.random(in: .min ... .max)),
            created: unixTime(), model: model.description)
        let requests = plan.prompts.indices.map { index in
            let origin = AnswerOrigin(
                format: format, route: route, options: plan.options, owner: exchange.owner, key: key, index: index,
                count: plan.prompts.count,
                echo: plan.echoes.isEmpty ? nil : plan.echoes[index * plan.options.choiceCount])
            return request(plan.prompts[index], plan.options, origin: origin.bytes)
        }
        let generation = Generation(
            requests: requests, stops: plan.options.stops, model: model, metrics: metrics, started: started)
        return LiveAnswer(
            generation, format: format, route: route, isStream: plan.options.isStream,
            includesUsage: plan.options.includesUsage, echoes: plan.echoes, owner: exchange.owner, key: key,
            service: self)
    }

    // MARK: Planning

    private func planChat(_ bytes: [UInt8], _ exchange: Exchange) throws(APIError) -> Plan {
        let chat = try ChatRequest(
            parse(bytes), limits: configuration.limits, vocabularyCount: model.description.vocabularyCount)
        try checkModel(chat.options.model)
        if configuration.logsPrompts { exchange.logger.info("prompt", metadata: ["messages": "\(chat.messages)"]) }
        let prompt: [TokenID]
        do throws(DejaVuError) {
            prompt = try model.prompt(of: chat.messages)
        } catch {
            throw APIError(error.subject == nil ? DejaVuError(error.code, error.message, subject: "messages") : error)
        }
        var options = chat.options
        options.outputCountMax = try outputCount(prompt, options.outputCountMax, isOwnWish: true, "messages")
        return Plan(options: options, prompts: [prompt], echoes: [])
    }

    private func planCompletion(_ bytes: [UInt8], _ exchange: Exchange) throws(APIError) -> Plan {
        let body = try parse(bytes)
        let completion = try CompletionRequest(
            body, limits: configuration.limits, vocabularyCount: model.description.vocabularyCount)
        try checkModel(completion.options.model)
        var prompts: [[TokenID]] = []
        var echoes: [String] = []
        var options = completion.options
        let hasMaximum = body["max_tokens"].map { $0 != .null } ?? false
        var outputCountMax = Int.max
        for prompt in completion.prompts {
            let tokens: [TokenID]
            switch prompt {
            case .tokens(let given): tokens = given
            case .text(let text):
                if configuration.logsPrompts { exchange.logger.info("prompt", metadata: ["text": "\(text)"]) }
                do throws(DejaVuError) {
                    tokens = try model.tokenize(text, addsSpecial: true, parsesSpecial: true)
                } catch { throw APIError(error) }
                guard !tokens.isEmpty else {
                    throw .invalid("prompt", "Invalid 'prompt': this model needs at least one token to start from.")
                }
            }
            let count = try outputCount(tokens, options.outputCountMax, isOwnWish: hasMaximum, "prompt")
            outputCountMax = min(outputCountMax, count ?? .max)
            prompts.append(tokens)
            if completion.echoes {
                let text: String
                if case .text(let given) = prompt { text = given } else { text = model.detokenize(tokens) }
                echoes += Array(repeating: text, count: options.choiceCount)
            }
        }
        options.outputCountMax = outputCountMax
        return Plan(options: options, prompts: prompts, echoes: echoes)
    }

    /// How many tokens may be generated behind a prompt.
    ///
    /// - Parameter isOwnWish: whether the client named the number: then it is refused rather than cut.
    private func outputCount(
        _ prompt: [TokenID], _ wish: Int?, isOwnWish: Bool, _ parameter: String
    ) throws(APIError) -> Int? {
        let context = model.description.contextLength
        guard prompt.count < context else {
            throw .invalid(
                parameter, code: "context_length_exceeded",
                "This model's maximum context length is \(context) tokens. However, your \(parameter) resulted in "
                    + "\(prompt.count) tokens. Please reduce the length of the \(parameter).")
        }
        let room = context - prompt.count
        guard let wish = wish ?? configuration.limits.outputCountDefault.map({ min($0, room) }) else { return room }
        guard wish <= room || !isOwnWish else {
            throw .invalid(
                parameter, code: "context_length_exceeded",
                "This model's maximum context length is \(context) tokens. However, you requested "
                    + "\(prompt.count + wish) tokens (\(prompt.count) in the \(parameter), \(wish) in the completion). "
                    + "Please reduce the length of the \(parameter) or completion.")
        }
        return min(wish, room)
    }

    private func request(
        _ prompt: [TokenID], _ options: GenerationOptions, origin: [UInt8]
    ) -> DejaVuControl.Request {
        DejaVuControl.Request(
            id: DejaVuCore.RequestID(numbers.take()), prompt: prompt, choiceCount: options.choiceCount,
            sampling: options.sampling, outputCountMax: options.outputCountMax,
            stopTokens: options.ignoresEnd ? [] : model.stopTokens,
            deadline: backend.now + configuration.requestTimeout, origin: origin)
    }
}
