import DejaVuCore

extension Renderer {
    func call(_ callee: TemplateValue, _ arguments: Arguments) throws(DejaVuError) -> TemplateValue {
        guard case .object(let object) = callee else {
            try requireDefined(callee)
            throw typeError("'\(callee.typeName)' object is not callable")
        }
        switch object {
        case let method as MethodObject: return try callMethod(method.name, of: method.base, arguments)
        case let function as FunctionObject: return try function.body(self, arguments)
        case let macro as MacroObject: return .string(try call(macro, arguments))
        case let loop as LoopObject:
            guard let items = try arguments.bind(["iterable"], required: 1, in: "loop()", self)[0] else {
                preconditionFailure("required")
            }
            return .string(try loop.call(items, self))
        case let joiner as JoinerObject:
            _ = try arguments.bind([], in: "joiner", self)
            return joiner.call()
        default: throw typeError("'\(callee.typeName)' object is not callable")
        }
    }

    private func call(_ macro: MacroObject, _ arguments: Arguments) throws(DejaVuError) -> TemplateString {
        guard let outer = macro.scope else { preconditionFailure("macros are released after the rendering") }
        let definition = macro.definition
        let scope = Scope(slots: scopes.frames[definition.frame].names.count, parent: outer)
        reset(scope, definition.frame)
        return try deeper { () throws(DejaVuError) in
            try bind(arguments, definition, scope)
            return try capture { () throws(DejaVuError) in try run(definition.body, scope) }.text
        }
    }

    /// Fills the parameters of a macro: positions, names, defaults, and the special ones that its body mentions.
    private func bind(
        _ arguments: Arguments, _ definition: MacroDefinition, _ scope: Scope
    ) throws(DejaVuError) {
        let parameters = definition.parameters
        var named = arguments.named
        var values: [TemplateValue?] = Array(arguments.positional.prefix(parameters.count))
        for parameter in parameters.dropFirst(values.count) {
            if let index = named.firstIndex(where: { $0.name == parameter.name }) {
                values.append(named.remove(at: index).value)
            } else {
                values.append(nil)
            }
        }
        let special = scopes.frames[definition.frame].special
        if let slot = special["caller"] {
            let index = named.firstIndex { $0.name == "caller" }
            let caller = index.map { named.remove(at: $0).value } ?? .none
            scope.slots[slot] = caller.isNone ? .undefined(TemplateUndefined("No caller defined")) : caller
        }
        if let slot = special["kwargs"] {
            var builder = DictBuilder()
            for (name, value) in named {
                let key = TemplateString(literal: name)
                builder.set(.string(key.bytes), .string(key), value)
            }
            scope.slots[slot] = .dict(try finish(builder))
        } else if let unknown = named.first {
            throw typeError("macro '\(definition.name ?? "None")' takes no keyword argument '\(unknown.name)'")
        }
        if let slot = special["varargs"] {
            scope.slots[slot] = .tuple(try makeList(Array(arguments.positional.dropFirst(parameters.count))))
        } else if arguments.positional.count > parameters.count {
            throw typeError(
                "macro '\(definition.name ?? "None")' takes not more than \(parameters.count) argument(s)")
        }
        let firstDefault = parameters.count - definition.defaults.count
        for (index, parameter) in parameters.enumerated() {
            let place = scopes.uses[parameter.use]
            if let value = values[index] {
                scope.set(value, at: place)
            } else if index >= firstDefault {
                scope.set(try evaluate(definition.defaults[index - firstDefault], scope), at: place)
            } else {
                let message = "parameter '\(parameter.name)' was not provided"
                scope.set(.undefined(TemplateUndefined(message)), at: place)
            }
        }
    }

    func applyFilter(_ name: String, _ value: TemplateValue, _ arguments: Arguments) throws(DejaVuError)
        -> TemplateValue
    {
        try step()
        guard let filter = Builtins.filters[name] else {
            throw failure("TemplateRuntimeError", "No filter named '\(name)' found.")
        }
        return try filter(self, value, arguments)
    }

    func applyTest(_ name: String, _ value: TemplateValue, _ arguments: Arguments) throws(DejaVuError) -> Bool {
        try step()
        guard let test = Builtins.tests[name] else {
            throw failure("TemplateRuntimeError", "No test named '\(name)' found.")
        }
        return try test(self, value, arguments)
    }
}
