import DejaVuCore

/// What both kinds of generation request have in common.
struct GenerationOptions: Sendable {
    static let names: Set<String> = [
        "model", "stream", "stream_options", "n", "stop", "max_tokens", "temperature", "top_p", "top_k", "min_p",
        "typical_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed", "logit_bias", "ignore_eos",
        "user",
    ]

    var model: String?
    var isStream: Bool
    var includesUsage: Bool
    var choiceCount: Int
    /// UTF-8, none empty.
    var stops: [[UInt8]]
    var outputCountMax: Int?
    var sampling: SamplingParameters
    var ignoresEnd: Bool

    init(_ fields: RequestFields, limits: RequestLimits, vocabularyCount: Int) throws(APIError) {
        model = try fields.string("model")
        isStream = try fields.bool("stream") ?? false
        includesUsage = try Self.usage(fields, isStream: isStream)
        choiceCount = try fields.integer("n", in: 1...limits.choiceCountMax) ?? 1
        stops = try Self.stops(fields, limits: limits)
        outputCountMax = try fields.integer("max_tokens", in: 1...Int(Int32.max))
        ignoresEnd = try fields.bool("ignore_eos") ?? false
        sampling = try Self.sampling(fields)
        sampling.logitBias = try Self.logitBias(fields, vocabularyCount: vocabularyCount)
    }

    private static func usage(_ fields: RequestFields, isStream: Bool) throws(APIError) -> Bool {
        guard let options = try fields.fields("stream_options") else { return false }
        guard isStream else {
            throw .invalid(
                "stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
        }
        for name in options.names where name != "include_usage" && name != "include_obfuscation" {
            throw .invalid(
                options.path(name), code: "unknown_parameter", "Unknown parameter: '\(options.path(name))'.")
        }
        // Obfuscation pads events against eavesdroppers; without it the answer is still whole.
        _ = try options.bool("include_obfuscation")
        return try options.bool("include_usage") ?? false
    }

    private static func stops(_ fields: RequestFields, limits: RequestLimits) throws(APIError) -> [[UInt8]] {
        guard let value = fields.value("stop") else { return [] }
        var strings: [String] = []
        switch value {
        case .string(let string): strings = [string]
        case .array(let elements):
            guard elements.count <= limits.stopCountMax else {
                throw .invalid(
                    "stop", code: "array_above_max_length",
                    "Invalid 'stop': array too long. Expected at most \(limits.stopCountMax) stop sequences, but got "
                        + "\(elements.count).")
            }
            for (index, element) in elements.enumerated() {
                guard case .string(let string) = element else {
                    throw fields.wrongType("stop[\(index)]", element, "a string")
                }
                strings.append(string)
            }
        default: throw fields.wrongType("stop", value, "a string or an array of strings")
        }
        for string in strings {
            guard !string.isEmpty else { throw .invalid("stop", "Invalid 'stop': a stop sequence must not be empty.") }
            guard string.utf8.count <= limits.stopBytesMax else {
                throw .invalid(
                    "stop", code: "string_above_max_length",
                    "Invalid 'stop': a stop sequence has at most \(limits.stopBytesMax) bytes.")
            }
        }
        return strings.map { Array($0.utf8) }
    }

    private static func sampling(_ fields: RequestFields) throws(APIError) -> SamplingParameters {
        var sampling = SamplingParameters()
        sampling.temperature = try fields.number("temperature", in: 0...2) ?? 1
        sampling.topP = try fields.number("top_p", in: 0...1) ?? 1
        sampling.topK = try fields.integer("top_k", in: -1...Int(Int32.max)).map { max(0, $0) } ?? 0
        sampling.minP = try fields.number("min_p", in: 0...1) ?? 0
        sampling.typicalP = try fields.number("typical_p", in: 0...1) ?? 1
        sampling.repetitionPenalty = try fields.number("repetition_penalty", in: 0.01...10) ?? 1
        sampling.presencePenalty = try fields.number("presence_penalty", in: -2...2) ?? 0
        sampling.frequencyPenalty = try fields.number("frequency_penalty", in: -2...2) ?? 0
        sampling.seed = try seed(fields)
        return sampling
    }

    /// Every 64-bit integer is a seed; a request without one gets one that nobody knows.
    private static func seed(_ fields: RequestFields) throws(APIError) -> UInt64 {
        guard let value = fields.value("seed") else { return UInt64.random(in: .min ... .max) }
        guard let integer = wholeNumber(value) else { throw fields.wrongType("seed", value, "a 64-bit integer") }
        return UInt64(bitPattern: integer)
    }

    private static func logitBias(_ fields: RequestFields, vocabularyCount: Int) throws(APIError) -> [TokenWeight] {
        guard let value = fields.value("logit_bias") else { return [] }
        guard case .object(let members) = value else { throw fields.wrongType("logit_bias", value, "an object") }
        guard members.count <= 300 else {
            throw .invalid(
                "logit_bias", code: "object_above_max_properties",
                "Invalid 'logit_bias': at most 300 tokens can be biased, but got \(members.count).")
        }
        var weights: [TokenID: Float] = [:]
        for member in members {
            guard let token = TokenID(member.key), token >= 0, Int(token) < vocabularyCount,
                weights[token] == nil
            else {
                throw .invalid(
                    "logit_bias",
                    "Invalid key in 'logit_bias': every key is a different token id below \(vocabularyCount).")
            }
            switch member.value {
            case .integer(let bias): weights[token] = Float(min(max(bias, -100), 100))
            case .number(let bias): weights[token] = Float(min(max(bias, -100), 100))
            default: throw fields.wrongType("logit_bias", member.value, "a number for each token")
            }
        }
        return weights.keys.sorted().map { TokenWeight(token: $0, weight: weights[$0] ?? 0) }
    }
}
