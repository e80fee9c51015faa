import DejaVuCore

/// Text, tags and the statements in them.
extension Parser {
    /// Statements up to a tag with one of the names `ends`, which is then the current token.
    mutating func statements(until ends: [String]) throws(DejaVuError) -> [Statement] {
        var result: [Statement] = []
        while true {
            let line = current.line
            switch current.kind {
            case .data(let bytes):
                result.append(Statement(node: .text(TemplateString(bytes: bytes, isTemplate: true)), line: line))
                advance()
            case .variableBegin:
                advance()
                let value = try tuple()
                try expect(.variableEnd)
                result.append(Statement(node: .output(value), line: line))
            case .blockBegin:
                advance()
                if case .name(let name) = current.kind, ends.contains(name) { return result }
                result += try nested { (parser) throws(DejaVuError) in try parser.statement() }
                try expect(.blockEnd)
            case .end:
                guard ends.isEmpty else { throw failure("the template ends, but \(Self.list(ends)) is missing") }
                return result
            default:
                throw unexpected
            }
        }
    }

    private static func list(_ names: [String]) -> String { names.map { "'\($0)'" }.joined(separator: " or ") }

    /// The body of a tag up to the tag `end`, which is consumed up to its closing.
    mutating func body(until ends: [String]) throws(DejaVuError) -> [Statement] {
        _ = skip(.colon)
        try expect(.blockEnd)
        return try statements(until: ends)
    }

    /// A body in which names such as `break` stand outside all loops, as in a function.
    mutating func functionBody(until end: String) throws(DejaVuError) -> [Statement] {
        let outer = (loops, isConditional)
        (loops, isConditional) = (0, false)
        let result = try body(until: [end])
        (loops, isConditional) = outer
        advance()
        return result
    }

    private mutating func scopedBody(until end: String) throws(DejaVuError) -> [Statement] {
        let result = try unconditionally { (parser) throws(DejaVuError) in try parser.body(until: [end]) }
        advance()
        return result
    }

    /// Parses what has a frame of its own, in which an unknown filter is missed at once even inside `if`.
    private mutating func unconditionally<Result>(
        _ parse: (inout Parser) throws(DejaVuError) -> Result
    ) throws(DejaVuError) -> Result {
        let outer = isConditional
        isConditional = false
        let result = try parse(&self)
        isConditional = outer
        return result
    }

    private mutating func statement() throws(DejaVuError) -> [Statement] {
        let line = current.line
        guard case .name(let name) = current.kind else { throw failure("a tag needs a name") }
        let node: Statement.Node
        switch name {
        case "if": node = try ifStatement()
        case "for": node = try forStatement()
        case "set": node = try setStatement()
        case "macro": node = try macroStatement()
        case "call": node = try callStatement()
        case "with": node = try withStatement()
        case "print": return try printStatement()
        case "filter":
            advance()
            let frame = newFrame()
            let filter = try unconditionally { (parser) throws(DejaVuError) in
                try parser.filterChain(nil, startsInline: true)
            }
            node = .filterBlock(filter, body: try scopedBody(until: "endfilter"), frame: frame)
        case "generation":
            advance()
            let frame = newFrame()
            node = .generation(body: try functionBody(until: "endgeneration"), frame: frame)
        case "break", "continue":
            guard loops > 0 else { throw failure("'\(name)' outside a loop") }
            advance()
            node = name == "break" ? .breakLoop : .continueLoop
        case "include", "import", "from", "extends", "block", "autoescape": throw unsupported("the tag '\(name)'")
        default: throw failure("unknown tag '\(name)'")
        }
        return [Statement(node: node, line: line)]
    }

    private mutating func printStatement() throws(DejaVuError) -> [Statement] {
        let line = advance().line
        var result: [Statement] = []
        while current.kind != .blockEnd {
            if !result.isEmpty { try expect(.comma) }
            result.append(Statement(node: .output(try expression()), line: line))
        }
        return result
    }

    private mutating func ifStatement() throws(DejaVuError) -> Statement.Node {
        let outer = isConditional
        isConditional = true
        defer { isConditional = outer }
        var branches: [(test: Expression, body: [Statement])] = []
        repeat {
            advance()
            let test = try tuple(withConditional: false)
            branches.append((test, try body(until: ["elif", "else", "endif"])))
        } while isAt(name: "elif")
        var otherwise: [Statement] = []
        if skip(name: "else") { otherwise = try body(until: ["endif"]) }
        advance()
        return .conditional(branches, otherwise: otherwise)
    }

    private mutating func forStatement() throws(DejaVuError) -> Statement.Node {
        advance()
        enclosingLoops += 1
        defer { enclosingLoops -= 1 }
        let target = try assignTarget()
        try expect(.name("in"))
        let items = try tuple(withConditional: false)
        let test =
            skip(name: "if")
            ? try unconditionally { (parser) throws(DejaVuError) in try parser.expression() } : nil
        let isRecursive = skip(name: "recursive")
        let outer = (loops, isConditional)
        (loops, isConditional) = (isRecursive ? 1 : loops + 1, false)
        let content = try body(until: ["endfor", "else"])
        loops = isRecursive ? 0 : outer.0
        var otherwise: [Statement] = []
        if skip(name: "else") { otherwise = try body(until: ["endfor"]) }
        advance()
        (loops, isConditional) = outer
        let usesLoop = isRecursive || !FreeNames.of(content, among: ["loop"]).isEmpty
        return .loop(
            Loop(
                target: target, testTarget: copy(target), items: items, test: test, isRecursive: isRecursive,
                body: content, otherwise: otherwise, frames: (newFrame(), newFrame(), newFrame()), usesLoop: usesLoop))
    }

    private mutating func copy(_ target: Target) -> Target {
        switch target {
        case .name(let name, _): return .name(name, use: newUse())
        case .tuple(let targets):
            var copies: [Target] = []
            for target in targets { copies.append(copy(target)) }
            return .tuple(copies)
        case .namespace(let name, _, let attribute): return .namespace(name, use: newUse(), attribute: attribute)
        }
    }

    private mutating func setStatement() throws(DejaVuError) -> Statement.Node {
        advance()
        let target = try assignTarget(allowsNamespace: true)
        if skip(.assign) { return .assign(target, try tuple()) }
        let frame = newFrame()
        let filter =
            isAt(.pipe)
            ? try unconditionally { (parser) throws(DejaVuError) in
                try parser.filterChain(nil, startsInline: false)
            } : nil
        return .assignBlock(target, filter: filter, body: try scopedBody(until: "endset"), frame: frame)
    }

    private mutating func withStatement() throws(DejaVuError) -> Statement.Node {
        advance()
        let frame = newFrame()
        var bindings: [(target: Target, value: Expression)] = []
        while current.kind != .blockEnd {
            if !bindings.isEmpty { try expect(.comma) }
            let target = try assignTarget()
            try expect(.assign)
            bindings.append((target, try expression()))
        }
        return .with(bindings, body: try scopedBody(until: "endwith"), frame: frame)
    }

    private mutating func signature() throws(DejaVuError) -> (
        parameters: [(name: String, use: Int)], defaults: [Expression]
    ) {
        var parameters: [(name: String, use: Int)] = []
        var defaults: [Expression] = []
        try expect(.leftParenthesis)
        while !isAt(.rightParenthesis) {
            if !parameters.isEmpty { try expect(.comma) }
            let name = try expectAssignableName()
            guard !parameters.contains(where: { $0.name == name }) else { throw failure("two parameters '\(name)'") }
            if skip(.assign) {
                defaults.append(try unconditionally { (parser) throws(DejaVuError) in try parser.expression() })
            } else if !defaults.isEmpty {
                throw failure("a parameter without a default follows one with a default")
            }
            parameters.append((name, newUse()))
        }
        advance()
        return (parameters, defaults)
    }

    private mutating func macroStatement() throws(DejaVuError) -> Statement.Node {
        advance()
        let name = try expectAssignableName()
        let target = Target.name(name, use: newUse())
        return .macro(try definition(name: name, end: "endmacro", try signature()), target: target)
    }

    private mutating func callStatement() throws(DejaVuError) -> Statement.Node {
        advance()
        let head = isAt(.leftParenthesis) ? try signature() : ([], [])
        let call = try expression()
        guard case .call = call.node else { throw failure("'call' needs a call") }
        return .callBlock(try definition(name: nil, end: "endcall", head), call: call)
    }

    private mutating func definition(
        name: String?, end: String, _ head: (parameters: [(name: String, use: Int)], defaults: [Expression])
    ) throws(DejaVuError) -> MacroDefinition {
        let frame = newFrame()
        let content = try functionBody(until: end)
        let macro = MacroDefinition(
            name: name, parameters: head.parameters, defaults: head.defaults, body: content, frame: frame)
        if let caller = head.parameters.firstIndex(where: { $0.name == "caller" }),
            caller < head.parameters.count - head.defaults.count,
            FreeNames.of(content, among: ["caller"]).contains("caller")
        {
            throw failure("the parameter 'caller' needs a default")
        }
        return macro
    }
}

/// What an assignment may go to.
extension Parser {
    private static let constants = ["true", "false", "none", "True", "False", "None"]

    private mutating func expectAssignableName() throws(DejaVuError) -> String {
        let name = try expectName()
        guard !Self.constants.contains(name) else { throw failure("cannot assign to '\(name)'") }
        return name
    }

    mutating func assignTarget(allowsNamespace: Bool = false) throws(DejaVuError) -> Target {
        var targets: [Target] = []
        var isTuple = false
        repeat {
            if current.kind == .blockEnd || isAt(.rightParenthesis) { break }
            targets.append(
                try nested { (parser) throws(DejaVuError) in try parser.simpleTarget(allowsNamespace: allowsNamespace) }
            )
            if isAt(.comma) { isTuple = true }
        } while skip(.comma)
        if !isTuple, let target = targets.first { return target }
        guard isTuple else { throw unexpected }
        return .tuple(targets)
    }

    private mutating func simpleTarget(allowsNamespace: Bool) throws(DejaVuError) -> Target {
        if skip(.leftParenthesis) {
            let target = isAt(.rightParenthesis) ? .tuple([]) : try assignTarget()
            try expect(.rightParenthesis)
            return target
        }
        let name = try expectAssignableName()
        if allowsNamespace, skip(.dot) {
            let attribute = TemplateString(literal: try expectName())
            return .namespace(name, use: newUse(), attribute: attribute)
        }
        guard name != "loop" || enclosingLoops == 0 else {
            throw failure("cannot assign to the special name 'loop' in a loop")
        }
        return .name(name, use: newUse())
    }
}
