import DejaVuControl
import DejaVuCore
import HTTPTypes
import Hummingbird
import Logging
import NIOCore

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
        let plan: Plan
        let started: ContinuousClock.Instant
        do throws(APIError) {
            let bytes = try await body(request)
            started = .now
            plan = try await inPool { () throws(APIError) -> Plan in
                try route == .chat ? planChat(bytes, exchange) : planCompletion(bytes, exchange)
            }
        } catch {
            metrics.count(route: route.rawValue, Generation.Outcome(error))
            throw error
        }
        var generation = Generation(
            requests: plan.prompts.map { self.request($0, plan.options) }, stops: plan.options.stops, route: route,
            service: self, started: started)
        return try await run(&generation, plan, route, exchange)
    }

    private func run(
        _ generation: inout Generation, _ plan: Plan, _ route: Route, _ exchange: Exchange
    ) async throws(APIError) -> Reply {
        let format = AnswerFormat(
            kind: route == .chat ? .chat : .completion, id: RequestIdentity.hexadecimal(exchange.number),
            created: unixTime(), model: model.description)
        generation.submit()
        do throws(APIError) {
            return plan.options.isStream
                ? try await stream(&generation, plan, format) : try await answer(&generation, plan, format)
        } catch {
            generation.end(Generation.Outcome(error))
            throw error
        }
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

    private func request(_ prompt: [TokenID], _ options: GenerationOptions) -> DejaVuControl.Request {
        DejaVuControl.Request(
            id: DejaVuCore.RequestID(numbers.take()), prompt: prompt, choiceCount: options.choiceCount,
            sampling: options.sampling, outputCountMax: options.outputCountMax,
            stopTokens: options.ignoresEnd ? [] : model.stopTokens,
            deadline: backend.now + configuration.requestTimeout)
    }

    // MARK: Answering

    private func answer(
        _ generation: inout Generation, _ plan: Plan, _ format: AnswerFormat
    ) async throws(APIError) -> Reply {
        while !generation.isFinished { try await generation.advance() }
        var reply = Reply.json(format.answer(generation, echoes: plan.echoes))
        reply.notes = notes(generation)
        generation.end(.completed)
        return reply
    }

    /// Waits until it is clear that there will be an answer, for until the first byte an error has its status; but not
    /// longer than the keep-alive interval, for then the client should hear something.
    private func stream(
        _ generation: inout Generation, _ plan: Plan, _ format: AnswerFormat
    ) async throws(APIError) -> Reply {
        var events = EventWriter(
            format, choiceCount: generation.choices.count, includesUsage: plan.options.includesUsage)
        for (choice, text) in plan.echoes.enumerated() { events.writeEcho(text, choice: choice) }
        while !generation.isAdmitted, !generation.hasBegun, !generation.wasTapped {
            try await generation.advance { index, choice in events.take(&choice, index) }
        }
        let (begun, first) = (generation, events)
        let body = Reply.Body.stream { writer in try await send(begun, first, &writer) }
        return Reply(
            status: 200,
            headers: [.contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache"], body: body)
    }

    /// Writes a stream to its end.
    ///
    /// - Returns: what to log; an error after the first byte has its own status here.
    @concurrent private func send(
        _ begun: Generation, _ first: EventWriter, _ writer: inout any ResponseBodyWriter
    ) async throws -> Reply.End {
        var (generation, events) = (begun, first)
        var status = 200
        do throws(APIError) {
            while true {
                if generation.isFinished { events.writeEnd(generation) }
                if events.bytes.isEmpty, generation.wasTapped { events.writeKeepAlive() }
                if !events.bytes.isEmpty { try await flush(&events, &writer) }
                if generation.isFinished { break }
                try await generation.advance { index, choice in events.take(&choice, index) }
            }
            generation.end(.completed)
        } catch {
            generation.end(Generation.Outcome(error))
            if error == Generation.clientGone { throw error }
            status = error.status
            events.writeError(error)
            try await writer.write(ByteBuffer(bytes: events.bytes))
        }
        try await writer.finish(nil)
        return Reply.End(status: status, notes: notes(generation))
    }

    @concurrent private func flush(
        _ events: inout EventWriter, _ writer: inout any ResponseBodyWriter
    ) async throws(APIError) {
        do {
            try await writer.write(ByteBuffer(bytes: events.bytes))
        } catch {
            throw Generation.clientGone
        }
        events.clear()
    }

    private func notes(_ generation: Generation) -> [(String, String)] {
        [
            ("prompt_tokens", String(generation.promptTokenCount)),
            ("output_tokens", String(generation.outputTokenCount)),
        ]
    }
}
