import DejaVuCore

/// Makes statements and expressions of tokens: recursive descent with Jinja2's grammar.
///
/// What a chat template cannot use (other templates, blocks, escaping modes) is refused here by name.
struct Parser {
    private let tokens: [Token]
    private var position = 0
    private(set) var uses = 0
    private(set) var frames = 1
    /// Nested statements and expressions around the current token.
    private var depth = 0
    /// Loops around the current token inside one function-like body, which `break` may leave.
    var loops = 0
    /// All loops around the current token.
    var enclosingLoops = 0
    /// Whether an unknown filter may wait until it is reached, as it may inside `if`.
    var isConditional = false
    /// Filters and tests that do not exist and will be missed.
    var unknownNames: [DejaVuError] = []
    let limits: TemplateLimits

    static func parse(_ source: String, limits: TemplateLimits) throws(DejaVuError) -> (
        body: [Statement], scopes: ScopeTable
    ) {
        var parser = Parser(tokens: try Lexer.tokens(source, limits: limits), limits: limits)
        let body = try parser.statements(until: [])
        if let unknown = parser.unknownNames.first { throw unknown }
        return (body, ScopeTable.resolve(body, frames: parser.frames, uses: parser.uses))
    }

    private init(tokens: [Token], limits: TemplateLimits) {
        self.tokens = tokens
        self.limits = limits
    }

    var current: Token { tokens[position] }
    var next: Token { tokens[min(position + 1, tokens.count - 1)] }

    mutating func newUse() -> Int {
        uses += 1
        return uses - 1
    }

    mutating func newFrame() -> Int {
        frames += 1
        return frames - 1
    }

    func failure(_ message: String, line: Int? = nil) -> DejaVuError {
        DejaVuError(.invalidFile, "chat template, line \(line ?? current.line): \(message)", subject: "chat_template")
    }

    func unsupported(_ what: String) -> DejaVuError {
        DejaVuError(
            .unsupported, "chat template, line \(current.line): \(what) is not supported", subject: "chat_template")
    }

    var unexpected: DejaVuError { failure("unexpected '\(current.description)'") }

    @discardableResult mutating func advance() -> Token {
        let token = current
        if position + 1 < tokens.count { position += 1 }
        return token
    }

    func isAt(_ symbol: Token.Symbol) -> Bool { current.kind == .symbol(symbol) }
    func isAt(name: String) -> Bool { current.kind == .name(name) }

    mutating func skip(_ symbol: Token.Symbol) -> Bool {
        guard isAt(symbol) else { return false }
        advance()
        return true
    }

    mutating func skip(name: String) -> Bool {
        guard isAt(name: name) else { return false }
        advance()
        return true
    }

    mutating func expect(_ kind: Token.Kind) throws(DejaVuError) {
        guard current.kind == kind else {
            let wanted = Token(kind: kind, line: 0).description
            throw failure("expected '\(wanted)', got '\(current.description)'")
        }
        advance()
    }

    mutating func expect(_ symbol: Token.Symbol) throws(DejaVuError) { try expect(.symbol(symbol)) }

    mutating func expectName() throws(DejaVuError) -> String {
        guard case .name(let name) = current.kind else {
            throw failure("expected a name, got '\(current.description)'")
        }
        advance()
        return name
    }

    /// Runs `parse` one level deeper.
    mutating func nested<Result>(
        _ parse: (inout Parser) throws(DejaVuError) -> Result
    ) throws(DejaVuError) -> Result {
        depth += 1
        defer { depth -= 1 }
        guard depth <= limits.parseDepth else {
            throw .templateLimit("parseDepth", limits.parseDepth, line: current.line)
        }
        return try parse(&self)
    }

    func make(_ node: Expression.Node, line: Int) throws(DejaVuError) -> Expression {
        let expression = Expression(node, line: line)
        guard expression.depth <= limits.expressionDepth else {
            throw .templateLimit("expressionDepth", limits.expressionDepth, line: line)
        }
        return expression
    }
}
