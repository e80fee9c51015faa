import DejaVuCore

/// The body of `POST /v1/completions`.
struct CompletionRequest: Sendable {
    private static let names = GenerationOptions.names.union(["prompt", "logprobs", "echo"])

    /// A prompt as it was given.
    enum Prompt: Sendable {
        case text(String)
        /// Never empty; each in the vocabulary.
        case tokens([TokenID])
    }

    /// Never empty. Each has `n` choices of its own.
    var prompts: [Prompt]
    var echoes: Bool
    var options: GenerationOptions

    init(_ body: JSONValue, limits: RequestLimits, vocabularyCount: Int) throws(APIError) {
        let fields = try RequestFields(body)
        try ParameterNames.check(fields, known: Self.names)
        options = try GenerationOptions(fields, limits: limits, vocabularyCount: vocabularyCount)
        // OpenAI's oldest endpoint ends after 16 tokens unless told otherwise, and clients rely on it.
        options.outputCountMax = options.outputCountMax ?? 16
        options.sampling.topLogprobs = try fields.integer("logprobs", in: 0...20)
        echoes = try fields.bool("echo") ?? false
        if echoes, options.sampling.topLogprobs != nil {
            throw .unsupported("echo", "'echo' together with 'logprobs'")
        }
        prompts = try Self.prompts(fields, limits: limits, vocabularyCount: vocabularyCount)
        guard prompts.count * options.choiceCount <= limits.choiceCountMax else {
            throw .invalid(
                "n",
                "Invalid 'n': \(prompts.count) prompts with \(options.choiceCount) choices each are more than "
                    + "\(limits.choiceCountMax).")
        }
    }

    private static func prompts(
        _ fields: RequestFields, limits: RequestLimits, vocabularyCount: Int
    ) throws(APIError) -> [Prompt] {
        switch try fields.required("prompt") {
        case .string(let string): return [.text(string)]
        case .array(let elements):
            guard let first = elements.first else {
                throw .invalid("prompt", code: "empty_array", "Invalid 'prompt': the array is empty.")
            }
            if wholeNumber(first) != nil {
                return [.tokens(try tokens(fields, elements, "prompt", vocabularyCount: vocabularyCount))]
            }
            guard elements.count <= limits.promptCountMax else {
                throw .invalid(
                    "prompt", code: "array_above_max_length",
                    "Invalid 'prompt': at most \(limits.promptCountMax) prompts, but got \(elements.count).")
            }
            var prompts: [Prompt] = []
            for (index, element) in elements.enumerated() {
                let name = "prompt[\(index)]"
                switch element {
                case .string(let string): prompts.append(.text(string))
                case .array(let inner):
                    prompts.append(.tokens(try tokens(fields, inner, name, vocabularyCount: vocabularyCount)))
                default: throw fields.wrongType(name, element, "a string or an array of tokens")
                }
            }
            return prompts
        case let other: throw fields.wrongType("prompt", other, "a string or an array")
        }
    }

    /// A list of token ids of which each is in the vocabulary.
    static func tokens(
        _ fields: RequestFields, _ elements: [JSONValue], _ name: String, vocabularyCount: Int,
        allowsEmpty: Bool = false
    ) throws(APIError) -> [TokenID] {
        guard allowsEmpty || !elements.isEmpty else {
            throw .invalid(name, code: "empty_array", "Invalid '\(name)': a prompt has at least one token.")
        }
        var tokens: [TokenID] = []
        tokens.reserveCapacity(elements.count)
        for (index, element) in elements.enumerated() {
            guard let number = wholeNumber(element) else {
                throw fields.wrongType("\(name)[\(index)]", element, "a token id")
            }
            guard (0..<Int64(vocabularyCount)).contains(number) else {
                throw .invalid(
                    "\(name)[\(index)]", "Invalid '\(name)[\(index)]': token ids are from 0 to \(vocabularyCount - 1).")
            }
            tokens.append(TokenID(number))
        }
        return tokens
    }
}
