/// A statement of a template. Whatever has names of its own carries the number of its frame in the `ScopeTable`.
struct Statement: Sendable {
    indirect enum Node: Sendable {
        case text(TemplateString)
        case output(Expression)
        case conditional([(test: Expression, body: [Statement])], otherwise: [Statement])
        case loop(Loop)
        case assign(Target, Expression)
        case assignBlock(Target, filter: Expression?, body: [Statement], frame: Int)
        case macro(MacroDefinition, target: Target)
        case callBlock(MacroDefinition, call: Expression)
        case filterBlock(Expression, body: [Statement], frame: Int)
        case with([(target: Target, value: Expression)], body: [Statement], frame: Int)
        /// The `{% generation %}` of transformers: marks the assistant's words, prints its body.
        case generation(body: [Statement], frame: Int)
        case breakLoop
        case continueLoop
    }

    let node: Node
    let line: Int
}

/// Where an assignment goes.
indirect enum Target: Sendable {
    case name(String, use: Int)
    case tuple([Target])
    case namespace(String, use: Int, attribute: TemplateString)

    /// The plain names in it.
    var names: [(name: String, use: Int)] {
        switch self {
        case .name(let name, let use): return [(name, use)]
        case .tuple(let targets): return targets.flatMap(\.names)
        case .namespace: return []
        }
    }

    /// The namespaces that it changes; those are read, not set.
    var namespaces: [(name: String, use: Int)] {
        switch self {
        case .name: return []
        case .tuple(let targets): return targets.flatMap(\.namespaces)
        case .namespace(let name, let use, _): return [(name, use)]
        }
    }
}

/// A `for` with all its parts.
final class Loop: Sendable {
    let target: Target
    /// The same target once more for the frame in which `test` runs.
    let testTarget: Target
    let items: Expression
    let test: Expression?
    let isRecursive: Bool
    let body: [Statement]
    let otherwise: [Statement]
    let bodyFrame: Int
    let testFrame: Int
    let otherwiseFrame: Int
    /// Whether the body says `loop`.
    let usesLoop: Bool

    init(
        target: Target, testTarget: Target, items: Expression, test: Expression?, isRecursive: Bool,
        body: [Statement], otherwise: [Statement], frames: (body: Int, test: Int, otherwise: Int), usesLoop: Bool
    ) {
        self.target = target
        self.testTarget = testTarget
        self.items = items
        self.test = test
        self.isRecursive = isRecursive
        self.body = body
        self.otherwise = otherwise
        bodyFrame = frames.body
        testFrame = frames.test
        otherwiseFrame = frames.otherwise
        self.usesLoop = usesLoop
    }
}

/// A macro, or the body of a `call` block, which is one without a name.
final class MacroDefinition: Sendable {
    let name: String?
    let parameters: [(name: String, use: Int)]
    /// Of the last parameters.
    let defaults: [Expression]
    let body: [Statement]
    let frame: Int
    let usesCaller: Bool
    let usesKeywords: Bool
    let usesRest: Bool

    init(
        name: String?, parameters: [(name: String, use: Int)], defaults: [Expression], body: [Statement], frame: Int
    ) {
        self.name = name
        self.parameters = parameters
        self.defaults = defaults
        self.body = body
        self.frame = frame
        let free = FreeNames.of(body, among: ["caller", "kwargs", "varargs"])
        let own = parameters.map(\.name)
        usesCaller = free.contains("caller") && !own.contains("caller")
        usesKeywords = free.contains("kwargs") && !own.contains("kwargs")
        usesRest = free.contains("varargs") && !own.contains("varargs")
    }

    var hasExplicitCaller: Bool { parameters.contains { $0.name == "caller" } }
}
