import DejaVuCore

extension Renderer {
    func evaluate(_ expression: Expression, _ scope: Scope) throws(DejaVuError) -> TemplateValue {
        switch expression.node {
        case .none: return .none
        case .bool(let value): return .bool(value)
        case .int(let value): return .int(value)
        case .double(let value): return .double(value)
        case .string(let value): return .string(value)
        case .name(let name, let use):
            try step()
            return scope.value(at: scopes.uses[use]) ?? .undefined(TemplateUndefined("'\(name)' is undefined"))
        default:
            line = expression.line
            return try deeper { () throws(DejaVuError) in try evaluateCompound(expression, scope) }
        }
    }

    private func evaluateCompound(_ expression: Expression, _ scope: Scope) throws(DejaVuError) -> TemplateValue {
        switch expression.node {
        case .attribute(let base, let name): return try attribute(name, of: try evaluate(base, scope))
        case .item(let base, let key):
            let base = try evaluate(base, scope)
            return try item(try evaluate(key, scope), of: base)
        case .call(let callee, let arguments): return try evaluateCall(callee, arguments, scope)
        case .filter(let operand, let name, let arguments):
            guard let operand else { preconditionFailure("a filter without operand is applied to captured text") }
            let value = try evaluate(operand, scope)
            return try applyFilter(name, value, try evaluate(arguments, scope))
        case .test(let operand, let name, let arguments):
            let value = try evaluate(operand, scope)
            return .bool(try applyTest(name, value, try evaluate(arguments, scope)))
        case .not(let operand): return .bool(!(try isTrue(try evaluate(operand, scope))))
        case .and(let left, let right):
            let value = try evaluate(left, scope)
            return try isTrue(value) ? try evaluate(right, scope) : value
        case .or(let left, let right):
            let value = try evaluate(left, scope)
            return try isTrue(value) ? value : try evaluate(right, scope)
        case .arithmetic(let operation, let left, let right):
            let left = try evaluate(left, scope)
            return try arithmetic(operation, left, try evaluate(right, scope))
        case .compare(let first, let rest): return .bool(try evaluateComparison(first, rest, scope))
        case .concatenate(let parts): return .string(try concatenate(parts, scope))
        case .conditional(let test, let then, let otherwise):
            if try isTrue(try evaluate(test, scope)) { return try evaluate(then, scope) }
            if let otherwise { return try evaluate(otherwise, scope) }
            return .undefined(
                TemplateUndefined("the inline if-expression evaluated to false and no else section was defined."))
        default: return try evaluateMaker(expression, scope)
        }
    }

    /// The rarer nodes, apart so that the frames of the frequent ones stay small.
    private func evaluateMaker(_ expression: Expression, _ scope: Scope) throws(DejaVuError) -> TemplateValue {
        switch expression.node {
        case .list(let items): return .list(try makeList(try evaluate(items, scope)))
        case .tuple(let items): return .tuple(try makeList(try evaluate(items, scope)))
        case .dict(let pairs):
            var builder = DictBuilder()
            for pair in pairs {
                let key = try evaluate(pair.key, scope)
                builder.set(try hashed(key), key, try evaluate(pair.value, scope))
            }
            return .dict(try finish(builder))
        case .slice(let base, let start, let stop, let step):
            let base = try evaluate(base, scope)
            var bounds: [TemplateValue] = []
            for bound in [start, stop, step] {
                bounds.append(try bound.map { (bound) throws(DejaVuError) in try evaluate(bound, scope) } ?? .none)
            }
            return try slice(base, bounds[0], bounds[1], bounds[2])
        case .negative(let operand): return try negative(try evaluate(operand, scope))
        case .positive(let operand): return try positive(try evaluate(operand, scope))
        default: preconditionFailure("handled by the caller")
        }
    }

    func evaluate(_ expressions: [Expression], _ scope: Scope) throws(DejaVuError) -> [TemplateValue] {
        var values: [TemplateValue] = []
        values.reserveCapacity(expressions.count)
        for expression in expressions { values.append(try evaluate(expression, scope)) }
        return values
    }

    func evaluate(_ arguments: CallArguments, _ scope: Scope) throws(DejaVuError) -> Arguments {
        if arguments.isEmpty { return Arguments() }
        var result = Arguments(positional: try evaluate(arguments.positional, scope))
        for (name, value) in arguments.named { result.named.append((name, try evaluate(value, scope))) }
        if let rest = arguments.rest { result.positional += try items(of: try evaluate(rest, scope)) }
        if let rest = arguments.namedRest {
            guard case .dict(let dict) = try evaluate(rest, scope) else { throw typeError("** needs a dict") }
            for (key, value) in zip(dict.keys, dict.values) {
                guard case .string(let name) = key else { throw typeError("keywords must be strings") }
                guard !result.named.contains(where: { $0.name == name.text }) else {
                    throw typeError("got multiple values for a keyword argument")
                }
                result.named.append((name.text, value))
            }
        }
        return result
    }

    private func evaluateCall(
        _ callee: Expression, _ arguments: CallArguments, _ scope: Scope
    ) throws(DejaVuError) -> TemplateValue {
        if case .attribute(let base, let name) = callee.node {
            let base = try evaluate(base, scope)
            if let method = Methods.safeName(name.bytes, of: base) {
                return try callMethod(method, of: base, try evaluate(arguments, scope))
            }
            return try call(try attribute(name, of: base), try evaluate(arguments, scope))
        }
        let function = try evaluate(callee, scope)
        return try call(function, try evaluate(arguments, scope))
    }

    private func evaluateComparison(
        _ first: Expression, _ rest: [(operation: ComparisonOperator, operand: Expression)], _ scope: Scope
    ) throws(DejaVuError) -> Bool {
        var left = try evaluate(first, scope)
        for (operation, operand) in rest {
            let right = try evaluate(operand, scope)
            if !(try compare(operation, left, right)) { return false }
            left = right
        }
        return true
    }

    private func concatenate(_ parts: [Expression], _ scope: Scope) throws(DejaVuError) -> TemplateString {
        var result = TemplateString()
        for part in parts {
            let text = try text(of: try evaluate(part, scope))
            try charge(bytes: result.count + text.count)
            result.append(text)
        }
        return result
    }

    /// Applies a chain of filters whose innermost operand is missing.
    func applyFilters(_ chain: Expression, to text: TemplateString, _ scope: Scope) throws(DejaVuError) -> TemplateValue
    {
        guard case .filter(let operand, let name, let arguments) = chain.node else {
            preconditionFailure("parsed as a chain of filters")
        }
        let value: TemplateValue
        if let operand { value = try applyFilters(operand, to: text, scope) } else { value = .string(text) }
        return try applyFilter(name, value, try evaluate(arguments, scope))
    }
}

/// Making containers.
extension Renderer {
    func makeList(_ items: [TemplateValue]) throws(DejaVuError) -> TemplateList {
        try charge(items: items.count)
        let list = TemplateList(items)
        if list.depth > limits.valueDepth { throw limit("valueDepth", limits.valueDepth) }
        return list
    }

    func finish(_ builder: DictBuilder) throws(DejaVuError) -> TemplateDict {
        let dict = builder.finish()
        try charge(items: dict.count)
        if dict.depth > limits.valueDepth { throw limit("valueDepth", limits.valueDepth) }
        return dict
    }

    func hashed(_ key: TemplateValue) throws(DejaVuError) -> DictKey {
        guard let hashed = DictKey(key) else { throw typeError("unhashable type: '\(key.typeName)'") }
        return hashed
    }

    func iterator(
        _ name: String = "generator", over source: TemplateValue,
        _ step: @escaping () throws(DejaVuError) -> TemplateValue?
    ) throws(DejaVuError) -> TemplateValue {
        let iterator = IteratorObject(name, over: source.depth, step)
        if iterator.depth > limits.valueDepth { throw limit("valueDepth", limits.valueDepth) }
        return .object(iterator)
    }

    func string(_ text: TemplateString) throws(DejaVuError) -> TemplateValue {
        try charge(bytes: text.count)
        return .string(text)
    }
}
