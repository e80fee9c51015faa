import DejaVuCore

extension Builtins {
    /// What may follow `is`.
    static let tests: [String: Test] = typeTests.merging(valueTests) { first, _ in first }
        .merging(comparisonTests) { first, _ in first }

    /// A test that takes no argument.
    private static func plain(
        _ name: String, _ test: @escaping @Sendable (Renderer, TemplateValue) throws(DejaVuError) -> Bool
    ) -> Test {
        { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: name, renderer)
            return try test(renderer, value)
        }
    }

    private static let typeTests: [String: Test] = [
        "defined": plain("defined") { (_, value) throws(DejaVuError) in !value.isUndefined },
        "undefined": plain("undefined") { (_, value) throws(DejaVuError) in value.isUndefined },
        "none": plain("none") { (_, value) throws(DejaVuError) in value.isNone },
        "boolean": plain("boolean") { (_, value) throws(DejaVuError) in boolean(value) != nil },
        "true": plain("true") { (_, value) throws(DejaVuError) in boolean(value) == true },
        "false": plain("false") { (_, value) throws(DejaVuError) in boolean(value) == false },
        "integer": plain("integer") { (_, value) throws(DejaVuError) in
            if case .int = value { return true }
            return false
        },
        "float": plain("float") { (_, value) throws(DejaVuError) in
            if case .double = value { return true }
            return false
        },
        "number": plain("number") { (_, value) throws(DejaVuError) in Renderer.number(value) != nil },
        "string": plain("string") { (_, value) throws(DejaVuError) in
            if case .string = value { return true }
            return false
        },
        "mapping": plain("mapping") { (_, value) throws(DejaVuError) in
            if case .dict = value { return true }
            return false
        },
        "sequence": plain("sequence") { (_, value) throws(DejaVuError) in
            switch value {
            case .string, .list, .tuple, .dict, .undefined: return true
            case .object(let object): return object is RangeObject
            default: return false
            }
        },
        "iterable": plain("iterable") { (renderer, value) throws(DejaVuError) in
            switch value {
            case .string, .list, .tuple, .dict, .undefined: return true
            case .object(let object):
                return object is RangeObject || object is DictViewObject || object is IteratorObject
                    || object is LoopObject
            default: return false
            }
        },
        "callable": plain("callable") { (_, value) throws(DejaVuError) in
            switch value {
            case .undefined: return true
            case .object(let object):
                return object is MethodObject || object is FunctionObject || object is MacroObject
                    || object is LoopObject || object is JoinerObject
            default: return false
            }
        },
        "escaped": plain("escaped") { (_, value) throws(DejaVuError) in
            if case .string(let string) = value { return string.isMarkup }
            return false
        },
    ]

    private static func boolean(_ value: TemplateValue) -> Bool? {
        if case .bool(let bool) = value { return bool }
        return nil
    }

    private static let valueTests: [String: Test] = [
        "odd": plain("odd") { (renderer, value) throws(DejaVuError) in
            try isMultiple(renderer, value, .int(2), rest: .int(1))
        },
        "even": plain("even") { (renderer, value) throws(DejaVuError) in
            try isMultiple(renderer, value, .int(2), rest: .int(0))
        },
        "divisibleby": { (renderer, value, arguments) throws(DejaVuError) in
            let bound = try arguments.bind(["num"], required: 1, in: "divisibleby", renderer)
            return try isMultiple(renderer, value, bound[0] ?? .none, rest: .int(0))
        },
        "lower": plain("lower") { (renderer, value) throws(DejaVuError) in
            TextTools.isCased(try renderer.text(of: value), upper: false)
        },
        "upper": plain("upper") { (renderer, value) throws(DejaVuError) in
            TextTools.isCased(try renderer.text(of: value), upper: true)
        },
        "filter": plain("filter") { (renderer, value) throws(DejaVuError) in
            guard case .string(let name) = value else {
                _ = try renderer.hashed(value)
                return false
            }
            return filters[name.text] != nil
        },
        "test": plain("test") { (renderer, value) throws(DejaVuError) in
            guard case .string(let name) = value else {
                _ = try renderer.hashed(value)
                return false
            }
            return tests[name.text] != nil
        },
        "sameas": { (renderer, value, arguments) throws(DejaVuError) in
            let other = try arguments.bind(["other"], required: 1, in: "sameas", renderer)[0] ?? .none
            return try isSame(renderer, value, other)
        },
        "in": { (renderer, value, arguments) throws(DejaVuError) in
            let bound = try arguments.bind(["seq"], required: 1, in: "in", renderer)
            return try renderer.contains(bound[0] ?? .none, value)
        },
    ]

    private static func isMultiple(
        _ renderer: Renderer, _ value: TemplateValue, _ number: TemplateValue, rest: TemplateValue
    ) throws(DejaVuError) -> Bool {
        try renderer.equal(try renderer.arithmetic(.modulo, value, number), rest)
    }

    /// Identity. Python does not say when two equal numbers or texts are one object; here they are.
    private static func isSame(
        _ renderer: Renderer, _ value: TemplateValue, _ other: TemplateValue
    ) throws(DejaVuError) -> Bool {
        switch (value, other) {
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)): return left === right
        case (.dict(let left), .dict(let right)): return left === right
        case (.object(let left), .object(let right)): return left === right
        case (.undefined(let left), .undefined(let right)): return left === right
        case (.bool, .bool), (.int, .int), (.double, .double), (.string, .string), (.none, .none):
            return try renderer.equal(value, other)
        default: return false
        }
    }

    private static func comparison(_ operation: ComparisonOperator) -> Test {
        { (renderer, value, arguments) throws(DejaVuError) in
            let bound = try arguments.bind(["other"], required: 1, in: operation.rawValue, renderer)
            return try renderer.compare(operation, value, bound[0] ?? .none)
        }
    }

    private static let comparisonTests: [String: Test] = [
        "==": comparison(.equal), "eq": comparison(.equal), "equalto": comparison(.equal),
        "!=": comparison(.notEqual), "ne": comparison(.notEqual),
        ">": comparison(.greater), "gt": comparison(.greater), "greaterthan": comparison(.greater),
        ">=": comparison(.greaterOrEqual), "ge": comparison(.greaterOrEqual),
        "<": comparison(.less), "lt": comparison(.less), "lessthan": comparison(.less),
        "<=": comparison(.lessOrEqual), "le": comparison(.lessOrEqual),
    ]
}
