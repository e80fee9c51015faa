import DejaVuCore

/// Expressions, from the loosest binding to the tightest.
extension Parser {
    mutating func expression(withConditional: Bool = true) throws(DejaVuError) -> Expression {
        try nested { (parser) throws(DejaVuError) in
            withConditional ? try parser.conditional() : try parser.or()
        }
    }

    /// An expression, or several with commas between them, which make a tuple.
    mutating func tuple(
        withConditional: Bool = true, inParentheses: Bool = false
    ) throws(DejaVuError) -> Expression {
        let line = current.line
        var items: [Expression] = []
        var isTuple = false
        repeat {
            if isTupleEnd { break }
            items.append(try expression(withConditional: withConditional))
            if isAt(.comma) { isTuple = true }
        } while skip(.comma)
        if !isTuple {
            if let item = items.first { return item }
            guard inParentheses else { throw failure("expected an expression, got '\(current.description)'") }
        }
        return try make(.tuple(items), line: line)
    }

    private var isTupleEnd: Bool {
        current.kind == .variableEnd || current.kind == .blockEnd || isAt(.rightParenthesis)
    }

    private mutating func conditional() throws(DejaVuError) -> Expression {
        let line = current.line
        let known = unknownNames.count
        var value = try or()
        while skip(name: "if") {
            let test = try or()
            let otherwise =
                skip(name: "else")
                ? try nested { (parser) throws(DejaVuError) in try parser.conditional() } : nil
            value = try make(.conditional(test: test, then: value, otherwise: otherwise), line: line)
            // In a conditional expression an unknown filter may wait until it is reached.
            unknownNames.removeSubrange(known...)
        }
        return value
    }

    private mutating func or() throws(DejaVuError) -> Expression {
        let line = current.line
        var left = try and()
        while skip(name: "or") { left = try make(.or(left, try and()), line: line) }
        return left
    }

    private mutating func and() throws(DejaVuError) -> Expression {
        let line = current.line
        var left = try not()
        while skip(name: "and") { left = try make(.and(left, try not()), line: line) }
        return left
    }

    private mutating func not() throws(DejaVuError) -> Expression {
        let line = current.line
        var count = 0
        while skip(name: "not") { count += 1 }
        var value = try comparison()
        for _ in 0..<count { value = try make(.not(value), line: line) }
        return value
    }

    private func comparisonOperator() -> ComparisonOperator? {
        switch current.kind {
        case .symbol(.equal): return .equal
        case .symbol(.notEqual): return .notEqual
        case .symbol(.less): return .less
        case .symbol(.lessOrEqual): return .lessOrEqual
        case .symbol(.greater): return .greater
        case .symbol(.greaterOrEqual): return .greaterOrEqual
        case .name("in"): return .isIn
        case .name("not"): return next.kind == .name("in") ? .isNotIn : nil
        default: return nil
        }
    }

    private mutating func comparison() throws(DejaVuError) -> Expression {
        let line = current.line
        let first = try sum()
        var rest: [(operation: ComparisonOperator, operand: Expression)] = []
        while let operation = comparisonOperator() {
            advance()
            if operation == .isNotIn { advance() }
            rest.append((operation, try sum()))
        }
        return rest.isEmpty ? first : try make(.compare(first, rest), line: line)
    }

    private mutating func sum() throws(DejaVuError) -> Expression {
        let line = current.line
        var left = try concatenation()
        while isAt(.add) || isAt(.subtract) {
            let operation: ArithmeticOperator = isAt(.add) ? .add : .subtract
            advance()
            left = try make(.arithmetic(operation, left, try concatenation()), line: line)
        }
        return left
    }

    private mutating func concatenation() throws(DejaVuError) -> Expression {
        let line = current.line
        var parts = [try product()]
        while skip(.tilde) { parts.append(try product()) }
        return parts.count == 1 ? parts[0] : try make(.concatenate(parts), line: line)
    }

    private mutating func product() throws(DejaVuError) -> Expression {
        let line = current.line
        var left = try power()
        while true {
            let operation: ArithmeticOperator
            switch current.kind {
            case .symbol(.multiply): operation = .multiply
            case .symbol(.divide): operation = .divide
            case .symbol(.floorDivide): operation = .floorDivide
            case .symbol(.modulo): operation = .modulo
            default: return left
            }
            advance()
            left = try make(.arithmetic(operation, left, try power()), line: line)
        }
    }

    private mutating func power() throws(DejaVuError) -> Expression {
        let line = current.line
        var left = try unary(withFilters: true)
        while skip(.power) { left = try make(.arithmetic(.power, left, try unary(withFilters: true)), line: line) }
        return left
    }

    private mutating func unary(withFilters: Bool) throws(DejaVuError) -> Expression {
        let line = current.line
        var value: Expression
        if isAt(.subtract) || isAt(.add) {
            let isNegative = advance().kind == .symbol(.subtract)
            let operand = try nested { (parser) throws(DejaVuError) in try parser.unary(withFilters: false) }
            value = try make(isNegative ? .negative(operand) : .positive(operand), line: line)
        } else {
            value = try primary()
        }
        value = try postfix(value)
        return withFilters ? try filtersAndTests(value) : value
    }

    private mutating func primary() throws(DejaVuError) -> Expression {
        let token = current
        let line = token.line
        switch token.kind {
        case .name(let name):
            advance()
            switch name {
            case "true", "True": return try make(.bool(true), line: line)
            case "false", "False": return try make(.bool(false), line: line)
            case "none", "None": return try make(.none, line: line)
            default: return try make(.name(name, use: newUse()), line: line)
            }
        case .string: return try make(.string(joinedStrings()), line: line)
        case .integer(let value):
            advance()
            return try make(.int(value), line: line)
        case .float(let value):
            advance()
            return try make(.double(value), line: line)
        case .symbol(.leftParenthesis):
            advance()
            let value = try tuple(inParentheses: true)
            try expect(.rightParenthesis)
            return value
        case .symbol(.leftBracket): return try list()
        case .symbol(.leftBrace): return try dict()
        default: throw unexpected
        }
    }

    /// Neighbouring string literals are one.
    private mutating func joinedStrings() -> TemplateString {
        var bytes: [UInt8] = []
        while case .string(let part) = current.kind {
            bytes += part
            advance()
        }
        return TemplateString(bytes: bytes, isTemplate: true)
    }

    private mutating func list() throws(DejaVuError) -> Expression {
        let line = advance().line
        var items: [Expression] = []
        while !isAt(.rightBracket) {
            if !items.isEmpty { try expect(.comma) }
            if isAt(.rightBracket) { break }
            items.append(try expression())
        }
        advance()
        return try make(.list(items), line: line)
    }

    private mutating func dict() throws(DejaVuError) -> Expression {
        let line = advance().line
        var pairs: [(key: Expression, value: Expression)] = []
        while !isAt(.rightBrace) {
            if !pairs.isEmpty { try expect(.comma) }
            if isAt(.rightBrace) { break }
            let key = try expression()
            try expect(.colon)
            pairs.append((key, try expression()))
        }
        advance()
        return try make(.dict(pairs), line: line)
    }
}

/// What may follow a primary expression.
extension Parser {
    private mutating func postfix(_ base: Expression) throws(DejaVuError) -> Expression {
        var value = base
        while true {
            let line = current.line
            if skip(.dot) {
                value = try attribute(of: value, line: line)
            } else if skip(.leftBracket) {
                value = try subscriptOf(value, line: line)
            } else if isAt(.leftParenthesis) {
                value = try make(.call(value, try callArguments()), line: line)
            } else {
                return value
            }
        }
    }

    private mutating func attribute(of base: Expression, line: Int) throws(DejaVuError) -> Expression {
        switch advance().kind {
        case .name(let name): return try make(.attribute(base, TemplateString(literal: name)), line: line)
        case .integer(let index): return try make(.item(base, try make(.int(index), line: line)), line: line)
        default: throw failure("expected a name or a number after '.'", line: line)
        }
    }

    private mutating func subscriptOf(_ base: Expression, line: Int) throws(DejaVuError) -> Expression {
        if isAt(.rightBracket) {
            advance()
            return try make(.item(base, try make(.tuple([]), line: line)), line: line)
        }
        var start: Expression?
        if !isAt(.colon) { start = try expression() }
        if isAt(.colon) {
            advance()
            let stop = try slicePart()
            let step = skip(.colon) ? try slicePart() : nil
            guard !isAt(.comma) else { throw unsupported("an index of several slices") }
            try expect(.rightBracket)
            return try make(.slice(base, start: start, stop: stop, step: step), line: line)
        }
        var keys = [start].compactMap { $0 }
        while skip(.comma) { keys.append(try expression()) }
        try expect(.rightBracket)
        let key = keys.count == 1 ? keys[0] : try make(.tuple(keys), line: line)
        return try make(.item(base, key), line: line)
    }

    private mutating func slicePart() throws(DejaVuError) -> Expression? {
        isAt(.colon) || isAt(.rightBracket) || isAt(.comma) ? nil : try expression()
    }

    func callFailure(unless condition: Bool) throws(DejaVuError) {
        if !condition { throw failure("the arguments of a call are in a wrong order") }
    }

    mutating func callArguments() throws(DejaVuError) -> CallArguments {
        var result = CallArguments()
        advance()
        var needsComma = false
        while !isAt(.rightParenthesis) {
            if needsComma {
                try expect(.comma)
                if isAt(.rightParenthesis) { break }
            }
            if skip(.multiply) {
                try callFailure(unless: result.rest == nil && result.namedRest == nil)
                result.rest = try expression()
            } else if skip(.power) {
                try callFailure(unless: result.namedRest == nil)
                result.namedRest = try expression()
            } else if case .name(let name) = current.kind, next.kind == .symbol(.assign) {
                try callFailure(unless: result.namedRest == nil)
                guard !result.named.contains(where: { $0.name == name }) else {
                    throw failure("the argument '\(name)' is given twice")
                }
                advance()
                advance()
                result.named.append((name, try expression()))
            } else {
                try callFailure(unless: result.rest == nil && result.namedRest == nil && result.named.isEmpty)
                result.positional.append(try expression())
            }
            needsComma = true
        }
        advance()
        return result
    }

    private mutating func filtersAndTests(_ base: Expression) throws(DejaVuError) -> Expression {
        var value = base
        while true {
            if isAt(.pipe) {
                value = try filterChain(value, startsInline: false)
            } else if isAt(name: "is") {
                value = try test(value)
            } else if isAt(.leftParenthesis) {
                let line = current.line
                value = try make(.call(value, try callArguments()), line: line)
            } else {
                return value
            }
        }
    }

    /// `| name(arguments)`, as many as there are. Without a base the first filter takes a captured text.
    mutating func filterChain(_ base: Expression?, startsInline: Bool) throws(DejaVuError) -> Expression {
        var value = base
        var isInline = startsInline
        while isAt(.pipe) || isInline {
            if !isInline { advance() }
            isInline = false
            let line = current.line
            let name = try dottedName()
            if let reason = Builtins.unsupportedFilters[name] { throw unsupported("the filter '\(name)' (\(reason))") }
            if !isConditional, Builtins.filters[name] == nil { unknownNames.append(failure("no filter '\(name)'")) }
            let arguments = isAt(.leftParenthesis) ? try callArguments() : CallArguments()
            value = try make(.filter(value, name: name, arguments), line: line)
        }
        guard let value else { throw unexpected }
        return value
    }

    private mutating func dottedName() throws(DejaVuError) -> String {
        var name = try expectName()
        while skip(.dot) { name += "." + (try expectName()) }
        return name
    }

    private mutating func test(_ operand: Expression) throws(DejaVuError) -> Expression {
        let line = advance().line
        let isNegated = skip(name: "not")
        let name = try dottedName()
        if !isConditional, Builtins.tests[name] == nil { unknownNames.append(failure("no test '\(name)'")) }
        var arguments = CallArguments()
        if isAt(.leftParenthesis) {
            arguments = try callArguments()
        } else if startsTestArgument {
            guard !isAt(name: "is") else { throw failure("tests cannot be chained with 'is'") }
            arguments.positional = [try nested { (parser) throws(DejaVuError) in try parser.postfix(parser.primary()) }]
        }
        let value = try make(.test(operand, name: name, arguments), line: line)
        return isNegated ? try make(.not(value), line: line) : value
    }

    private var startsTestArgument: Bool {
        switch current.kind {
        case .name(let name): return !["else", "or", "and"].contains(name)
        case .string, .integer, .float, .symbol(.leftBracket), .symbol(.leftBrace): return true
        default: return false
        }
    }
}
