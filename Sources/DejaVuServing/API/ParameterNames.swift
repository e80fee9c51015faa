/// What becomes of each name that may stand in a request's body.
enum ParameterNames {
    /// Parameters of OpenAI's API (and common clients) that ask for nothing this server would have to do: they
    /// concern accounts, caching, routing and billing.
    private static let ignored: Set<String> = [
        "user", "store", "metadata", "service_tier", "parallel_tool_calls", "safety_identifier", "prompt_cache_key",
        "prompt_cache_retention", "cache_prompt",
    ]

    /// Parameters whose silent neglect would change what the client gets, with what may stand there all the same.
    private static let refused: [String: @Sendable (JSONValue) -> Bool] = [
        "tools": { $0 == .array([]) },
        "functions": { $0 == .array([]) },
        "tool_choice": { $0 == .string("none") || $0 == .string("auto") },
        "function_call": { $0 == .string("none") || $0 == .string("auto") },
        "response_format": { $0["type"] == .string("text") },
        "modalities": { $0 == .array([.string("text")]) },
        "best_of": { $0 == .integer(1) },
        "suffix": { $0 == .string("") },
        "audio": { _ in false },
        "prediction": { _ in false },
        "web_search_options": { _ in false },
        "reasoning_effort": { $0 == .string("none") },
        "reasoning": { _ in false },
        "verbosity": { $0 == .string("medium") },
        "grammar": { _ in false },
        "guided_json": { _ in false },
        "guided_regex": { _ in false },
        "guided_choice": { _ in false },
        "guided_grammar": { _ in false },
        "json_schema": { _ in false },
    ]

    /// Refuses by name what is not supported and what nobody knows.
    ///
    /// A name that is simply unknown is refused too, as OpenAI does: it is a misspelling or a wish that would
    /// otherwise be lost without a word.
    static func check(_ fields: RequestFields, known: Set<String>) throws(APIError) {
        for name in fields.names where !known.contains(name) && !ignored.contains(name) {
            guard let isHarmless = refused[name] else {
                throw .invalid(
                    shortened(name), code: "unknown_parameter", "Unknown parameter: '\(shortened(name))'.")
            }
            guard let value = fields.value(name) else { continue }
            if !isHarmless(value) { throw .unsupported(fields.path(name)) }
        }
    }

    /// A name from outside goes back in the message, but not at any length.
    private static func shortened(_ name: String) -> String {
        name.unicodeScalars.count <= 64 ? name : String(String.UnicodeScalarView(name.unicodeScalars.prefix(64))) + "…"
    }
}
