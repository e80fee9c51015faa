import DejaVuCore

/// One rendering of a template: walks the syntax tree, counts what is used up, collects the text.
///
/// Lives on one thread for one call of `Template.render`.
final class Renderer {
    let scopes: ScopeTable
    let limits: TemplateLimits
    let clock: CivilTime
    private let context: [String: TemplateValue]
    private(set) var output = TemplateString()
    /// The line that is being evaluated, for messages.
    var line = 1
    private var steps = 0
    private var depth = 0
    private var copiedBytes = 0
    private var objects: [RuntimeObject] = []

    init(_ scopes: ScopeTable, context: [String: TemplateValue], limits: TemplateLimits, clock: CivilTime) {
        self.scopes = scopes
        self.context = context
        self.limits = limits
        self.clock = clock
    }

    func render(_ body: [Statement]) throws(DejaVuError) -> TemplateString {
        defer { releaseObjects() }
        for name in context.keys.sorted() {
            if let value = context[name], value.depth > limits.valueDepth {
                throw limit("valueDepth", limits.valueDepth)
            }
        }
        let root = enter(0, parent: nil)
        _ = try run(body, root)
        return output
    }

    /// Objects may hold one another in rings and chains; letting go of their contents one by one frees both.
    private func releaseObjects() {
        for object in objects { object.release() }
        objects = []
    }
}

/// Counting.
extension Renderer {
    func limit(_ name: String, _ limit: Int) -> DejaVuError { .templateLimit(name, limit, line: line) }

    func step() throws(DejaVuError) {
        steps += 1
        if steps > limits.steps { throw limit("steps", limits.steps) }
    }

    /// Before `count` items of a list are made or looked at.
    func charge(items count: Int) throws(DejaVuError) {
        guard count <= limits.steps - steps else { throw limit("steps", limits.steps) }
        steps += count
    }

    /// Before a string of `count` bytes is made.
    func charge(bytes count: Int) throws(DejaVuError) {
        guard count <= limits.stringBytes else { throw limit("stringBytes", limits.stringBytes) }
        copiedBytes += count
        if copiedBytes > limits.copiedBytes { throw limit("copiedBytes", limits.copiedBytes) }
    }

    /// Runs `body` one evaluation deeper. Everything that recurses goes through here.
    func deeper<Result>(_ body: () throws(DejaVuError) -> Result) throws(DejaVuError) -> Result {
        try step()
        depth += 1
        defer { depth -= 1 }
        if depth > limits.evaluationDepth { throw limit("evaluationDepth", limits.evaluationDepth) }
        return try body()
    }

    /// Remembers an object that could be part of a ring.
    func track<Object: RuntimeObject>(_ object: Object) throws(DejaVuError) -> Object {
        objects.append(object)
        if objects.count > limits.objects { throw limit("objects", limits.objects) }
        return object
    }

    func emit(_ text: TemplateString) throws(DejaVuError) {
        try charge(bytes: text.count)
        output.append(text)
        if output.count > limits.outputBytes { throw limit("outputBytes", limits.outputBytes) }
    }

    /// What `body` prints, kept apart from the output. Nil if `body` left by `break` or `continue`.
    func capture(_ body: () throws(DejaVuError) -> Flow) throws(DejaVuError) -> (text: TemplateString, flow: Flow) {
        let outer = output
        output = TemplateString()
        defer { output = outer }
        let flow = try body()
        return (output, flow)
    }
}

/// Errors, in the words of the Python exception that they stand for.
extension Renderer {
    func failure(_ kind: String, _ message: String) -> DejaVuError {
        DejaVuError(.invalidArgument, "chat template, line \(line): \(kind): \(message)", subject: "messages")
    }

    func typeError(_ message: String) -> DejaVuError { failure("TypeError", message) }
    func valueError(_ message: String) -> DejaVuError { failure("ValueError", message) }
    func overflow() -> DejaVuError { failure("OverflowError", "an integer needs more than 64 bits") }
    func undefinedError(_ undefined: TemplateUndefined) -> DejaVuError { failure("UndefinedError", undefined.message) }

    func notSupported(_ what: String) -> DejaVuError {
        DejaVuError(.unsupported, "chat template, line \(line): \(what) is not supported", subject: "chat_template")
    }

    /// Throws what using an undefined value throws.
    func requireDefined(_ value: TemplateValue) throws(DejaVuError) {
        if case .undefined(let undefined) = value { throw undefinedError(undefined) }
    }
}

/// Frames.
extension Renderer {
    func enter(_ frame: Int, parent: Scope?) -> Scope {
        let scope = Scope(slots: scopes.frames[frame].names.count, parent: parent)
        reset(scope, frame)
        return scope
    }

    /// Gives every name of the frame its first value; parameters have none.
    func reset(_ scope: Scope, _ frame: Int) {
        let layout = scopes.frames[frame]
        for (slot, first) in layout.firstValues.enumerated() {
            switch first {
            case .parameter, .nothing: scope.slots[slot] = nil
            case .context: scope.slots[slot] = resolve(layout.names[slot])
            case .outer(let place): scope.slots[slot] = scope.value(at: place)
            }
        }
    }

    private func resolve(_ name: String) -> TemplateValue? {
        if let value = context[name] { return value }
        return Builtins.function(named: name).map { .object($0) }
    }
}
