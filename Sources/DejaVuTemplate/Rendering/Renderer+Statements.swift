import DejaVuCore

/// How a piece of template ended.
enum Flow {
    case normal
    case breakLoop
    case continueLoop
}

extension Renderer {
    func run(_ statements: [Statement], _ scope: Scope) throws(DejaVuError) -> Flow {
        for statement in statements {
            line = statement.line
            let flow: Flow
            switch statement.node {
            case .text(let text):
                try emit(text)
                continue
            case .output(let expression):
                try emit(try text(of: try evaluate(expression, scope)))
                continue
            case .breakLoop: return .breakLoop
            case .continueLoop: return .continueLoop
            default: flow = try deeper { () throws(DejaVuError) in try runCompound(statement, scope) }
            }
            if flow != .normal { return flow }
        }
        return .normal
    }

    private func runCompound(_ statement: Statement, _ scope: Scope) throws(DejaVuError) -> Flow {
        switch statement.node {
        case .conditional(let branches, let otherwise):
            for branch in branches where try isTrue(try evaluate(branch.test, scope)) {
                return try run(branch.body, scope)
            }
            return try run(otherwise, scope)
        case .loop(let loop): return try run(loop, scope)
        case .assign(let target, let value): try assign(try evaluate(value, scope), to: target, scope)
        case .assignBlock(let target, let filter, let body, let frame):
            let inner = enter(frame, parent: scope)
            let (text, flow) = try capture { () throws(DejaVuError) in try run(body, inner) }
            if flow != .normal { return flow }
            let value = try filter.map { (filter) throws(DejaVuError) in try applyFilters(filter, to: text, inner) }
            try assign(value ?? .string(text), to: target, scope)
        case .macro(let definition, let target):
            try assign(.object(try track(MacroObject(definition, scope))), to: target, scope)
        case .callBlock(let definition, let call):
            let caller = try track(MacroObject(definition, scope))
            guard case .call(let callee, let arguments) = call.node else { preconditionFailure("parsed as a call") }
            var values = try evaluate(arguments, scope)
            guard !values.named.contains(where: { $0.name == "caller" }) else {
                throw typeError("the argument 'caller' is given twice")
            }
            values.named.append(("caller", .object(caller)))
            try emit(try text(of: try self.call(try evaluate(callee, scope), values)))
        case .filterBlock(let filter, let body, let frame):
            let inner = enter(frame, parent: scope)
            let (text, flow) = try capture { () throws(DejaVuError) in try run(body, inner) }
            if flow != .normal { return flow }
            try emit(try self.text(of: try applyFilters(filter, to: text, inner)))
        case .with(let bindings, let body, let frame):
            var values: [TemplateValue] = []
            for binding in bindings { values.append(try evaluate(binding.value, scope)) }
            let inner = enter(frame, parent: scope)
            for (binding, value) in zip(bindings, values) { try assign(value, to: binding.target, inner) }
            return try run(body, inner)
        case .generation(let body, let frame): return try run(body, enter(frame, parent: scope))
        case .text, .output, .breakLoop, .continueLoop: preconditionFailure("handled by the caller")
        }
        return .normal
    }

    func assign(_ value: TemplateValue, to target: Target, _ scope: Scope) throws(DejaVuError) {
        switch target {
        case .name(_, let use): scope.set(value, at: scopes.uses[use])
        case .tuple(let targets):
            var cursor = try cursor(over: value)
            var values: [TemplateValue] = []
            while values.count <= targets.count, let item = try cursor.next(self) { values.append(item) }
            guard values.count == targets.count else {
                throw valueError("cannot unpack into \(targets.count) names")
            }
            for (target, value) in zip(targets, values) { try assign(value, to: target, scope) }
        case .namespace(let name, let use, let attribute):
            guard case .object(let object) = scope.value(at: scopes.uses[use]),
                let namespace = object as? NamespaceObject
            else { throw failure("TemplateRuntimeError", "cannot assign attribute on non-namespace object '\(name)'") }
            try charge(items: namespace.attributes.count)
            guard value.depth < limits.valueDepth else { throw limit("valueDepth", limits.valueDepth) }
            namespace.set(attribute.bytes, value)
        }
    }
}

/// Loops.
extension Renderer {
    private func run(_ loop: Loop, _ scope: Scope) throws(DejaVuError) -> Flow {
        let items = try evaluate(loop.items, scope)
        guard loop.isRecursive else { return try run(loop, over: items, depth0: 0, scope) }
        try emit(try renderRecursive(loop, over: items, depth0: 0, scope))
        return .normal
    }

    private func renderRecursive(
        _ loop: Loop, over items: TemplateValue, depth0: Int, _ scope: Scope
    ) throws(DejaVuError) -> TemplateString {
        try deeper { () throws(DejaVuError) in
            try capture { () throws(DejaVuError) in try run(loop, over: items, depth0: depth0, scope) }.text
        }
    }

    private func run(
        _ loop: Loop, over items: TemplateValue, depth0: Int, _ scope: Scope
    ) throws(DejaVuError) -> Flow {
        var cursor = try cursor(over: items)
        if let test = loop.test { cursor = .iterator(filtered(cursor, loop, test, over: items.depth, scope)) }
        let inner = Scope(slots: scopes.frames[loop.bodyFrame].names.count, parent: scope)
        var object: LoopObject?
        if loop.usesLoop { object = try makeLoopObject(cursor, loop, depth0, scope) }
        // As in Jinja2, a loop counts as run once a pass reached the end of its body.
        var hasRun = false
        while let item = try object == nil ? cursor.next(self) : object?.next(self) {
            reset(inner, loop.bodyFrame)
            if let object, let slot = scopes.frames[loop.bodyFrame].special["loop"] {
                inner.slots[slot] = .object(object)
            }
            try assign(item, to: loop.target, inner)
            let flow = try run(loop.body, inner)
            if flow == .breakLoop { break }
            if flow == .normal { hasRun = true }
        }
        for slot in inner.slots.indices { inner.slots[slot] = nil }
        return !hasRun && !loop.otherwise.isEmpty
            ? try run(loop.otherwise, enter(loop.otherwiseFrame, parent: scope)) : .normal
    }

    private func makeLoopObject(
        _ cursor: ValueCursor, _ loop: Loop, _ depth0: Int, _ scope: Scope
    ) throws(DejaVuError) -> LoopObject {
        guard loop.isRecursive else { return try track(LoopObject(cursor, depth0: depth0, recurse: nil)) }
        return try track(
            LoopObject(cursor, depth0: depth0) { [unowned self] (items, depth0) throws(DejaVuError) in
                try renderRecursive(loop, over: items, depth0: depth0, scope)
            })
    }

    /// The items for which the loop's own `if` holds, tested one by one as the loop gets to them.
    private func filtered(
        _ source: ValueCursor, _ loop: Loop, _ test: Expression, over depth: Int, _ scope: Scope
    ) -> IteratorObject {
        let inner = enter(loop.testFrame, parent: scope)
        var source = source
        return IteratorObject("generator", over: depth) { [unowned self] () throws(DejaVuError) in
            while let item = try source.next(self) {
                try assign(item, to: loop.testTarget, inner)
                if try isTrue(try evaluate(test, inner)) { return item }
            }
            return nil
        }
    }
}
