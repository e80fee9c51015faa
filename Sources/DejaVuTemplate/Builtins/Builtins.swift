import DejaVuCore

/// The filters, tests and functions that Jinja2 has of itself, with the changes that transformers makes.
enum Builtins {
    typealias Filter = @Sendable (Renderer, TemplateValue, Arguments) throws(DejaVuError) -> TemplateValue
    typealias Test = @Sendable (Renderer, TemplateValue, Arguments) throws(DejaVuError) -> Bool

    /// Filters that exist in Jinja2 but not here, with the reason.
    static let unsupportedFilters = [
        "random": "its result cannot be repeated",
        "pprint": "it is for debugging",
        "urlize": "it makes HTML",
    ]

    static let filters: [String: Filter] = textFilters.merging(sequenceFilters) { first, _ in first }
        .merging(attributeFilters) { first, _ in first }.merging(otherFilters) { first, _ in first }

    /// A function that templates find without being given it.
    static func function(named name: String) -> FunctionObject? {
        switch name {
        case "range": return FunctionObject("range", isType: true, makeRange)
        case "dict": return FunctionObject("dict", isType: true, makeDict)
        case "namespace": return FunctionObject("namespace", isType: true, makeNamespace)
        case "cycler": return FunctionObject("cycler", isType: true, makeCycler)
        case "joiner": return FunctionObject("joiner", isType: true, makeJoiner)
        case "lipsum":
            return FunctionObject("lipsum") { (renderer, _) throws(DejaVuError) in throw renderer.notSupported("lipsum")
            }
        case "raise_exception": return FunctionObject("raise_exception", raiseException)
        case "strftime_now": return FunctionObject("strftime_now", formatNow)
        default: return nil
        }
    }

    private static func makeRange(_ renderer: Renderer, _ arguments: Arguments) throws(DejaVuError) -> TemplateValue {
        guard arguments.named.isEmpty else { throw renderer.typeError("range() takes no keyword arguments") }
        var numbers: [Int] = []
        for value in arguments.positional {
            guard let number = Renderer.integer(value) else {
                throw renderer.typeError("'\(value.typeName)' object cannot be interpreted as an integer")
            }
            numbers.append(number)
        }
        guard (1...3).contains(numbers.count) else { throw renderer.typeError("range expected 1 to 3 arguments") }
        let step = numbers.count == 3 ? numbers[2] : 1
        guard step != 0 else { throw renderer.valueError("range() arg 3 must not be zero") }
        let range = numbers.count == 1 ? RangeObject(0, numbers[0], 1) : RangeObject(numbers[0], numbers[1], step)
        guard let range, range.count <= renderer.limits.rangeItems else {
            throw renderer.limit("rangeItems", renderer.limits.rangeItems)
        }
        return .object(range)
    }

    /// The pairs that `dict(...)` and `namespace(...)` are made of.
    private static func pairs(
        _ renderer: Renderer, _ arguments: Arguments, _ name: String
    ) throws(DejaVuError) -> TemplateDict {
        var builder = DictBuilder()
        guard arguments.positional.count <= 1 else { throw renderer.typeError("\(name) expected at most 1 argument") }
        if let first = arguments.positional.first {
            if case .dict(let dict) = first {
                for (key, value) in zip(dict.keys, dict.values) { builder.set(try renderer.hashed(key), key, value) }
            } else {
                for pair in try renderer.items(of: first) {
                    let pair = try renderer.items(of: pair)
                    guard pair.count == 2 else { throw renderer.valueError("\(name) needs pairs") }
                    builder.set(try renderer.hashed(pair[0]), pair[0], pair[1])
                }
            }
        }
        for (name, value) in arguments.named {
            let key = TemplateString(literal: name)
            builder.set(.string(key.bytes), .string(key), value)
        }
        return try renderer.finish(builder)
    }

    private static func makeDict(_ renderer: Renderer, _ arguments: Arguments) throws(DejaVuError) -> TemplateValue {
        .dict(try pairs(renderer, arguments, "dict"))
    }

    private static func makeNamespace(_ renderer: Renderer, _ arguments: Arguments) throws(DejaVuError) -> TemplateValue
    {
        let dict = try pairs(renderer, arguments, "namespace")
        let namespace = try renderer.track(NamespaceObject())
        for (key, value) in zip(dict.keys, dict.values) {
            guard case .string(let name) = key else { continue }
            namespace.attributes.append((name.bytes, value))
        }
        return .object(namespace)
    }

    private static func makeCycler(_ renderer: Renderer, _ arguments: Arguments) throws(DejaVuError) -> TemplateValue {
        guard arguments.named.isEmpty else { throw renderer.typeError("cycler() takes no keyword arguments") }
        guard !arguments.positional.isEmpty else {
            throw renderer.failure("RuntimeError", "at least one item has to be provided")
        }
        return .object(try renderer.track(CyclerObject(arguments.positional)))
    }

    private static func makeJoiner(_ renderer: Renderer, _ arguments: Arguments) throws(DejaVuError) -> TemplateValue {
        let separator = try arguments.bind(["sep"], in: "joiner", renderer)[0]
        return .object(try renderer.track(JoinerObject(separator ?? .literal(", "))))
    }

    /// The template refuses the conversation. The message shows the template's own words only, never a message's.
    private static func raiseException(
        _ renderer: Renderer, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        guard let value = try arguments.bind(["message"], required: 1, in: "raise_exception", renderer)[0] else {
            preconditionFailure("required")
        }
        let text = try renderer.text(of: value)
        var shown = ""
        for run in text.runs(in: 0..<text.count) {
            shown += run.isTemplate ? String(decoding: text.bytes[run.range], as: UTF8.self) : "…"
        }
        throw renderer.failure("the template refuses the conversation", shown)
    }

    private static func formatNow(_ renderer: Renderer, _ arguments: Arguments) throws(DejaVuError) -> TemplateValue {
        let format = try arguments.bind(["format"], required: 1, in: "strftime_now", renderer)[0]
        let text = try renderer.text(format, "strftime_now")
        try renderer.charge(bytes: text.count * 8)
        guard let formatted = TimeFormat.format(text.text, renderer.clock) else {
            throw renderer.notSupported("a directive of this time format")
        }
        return .string(TemplateString(formatted, isTemplate: text.isTemplate))
    }
}
