/// Which of some names a piece of template reads without setting them first, nested blocks and macros included.
struct FreeNames {
    private var sought: [String]
    private var found: [String] = []

    static func of(_ statements: [Statement], among names: [String]) -> [String] {
        var visitor = FreeNames(sought: names)
        visitor.visit(statements)
        return visitor.found
    }

    private init(sought: [String]) { self.sought = sought }

    private mutating func load(_ name: String) {
        if sought.contains(name), !found.contains(name) { found.append(name) }
    }

    private mutating func store(_ target: Target) {
        for namespace in target.namespaces { load(namespace.name) }
        for (name, _) in target.names { sought.removeAll { $0 == name } }
    }

    private mutating func visit(_ expression: Expression?) {
        guard let expression else { return }
        if case .name(let name, _) = expression.node { load(name) }
        for child in expression.children { visit(child) }
    }

    private mutating func visit(_ macro: MacroDefinition) {
        for parameter in macro.parameters { sought.removeAll { $0 == parameter.name } }
        for value in macro.defaults { visit(value) }
        visit(macro.body)
    }

    private mutating func visit(_ statements: [Statement]) {
        for statement in statements {
            switch statement.node {
            case .text, .breakLoop, .continueLoop: break
            case .output(let expression): visit(expression)
            case .conditional(let branches, let otherwise):
                for branch in branches {
                    visit(branch.test)
                    visit(branch.body)
                }
                visit(otherwise)
            case .loop(let loop):
                store(loop.target)
                visit(loop.items)
                visit(loop.body)
                visit(loop.otherwise)
                visit(loop.test)
            case .assign(let target, let value):
                store(target)
                visit(value)
            case .assignBlock(let target, let filter, let body, _):
                store(target)
                visit(filter)
                visit(body)
            case .macro(let macro, _): visit(macro)
            case .callBlock(let macro, let call):
                visit(call)
                visit(macro)
            case .filterBlock(let filter, let body, _):
                visit(body)
                visit(filter)
            case .with(let bindings, let body, _):
                for binding in bindings { store(binding.target) }
                for binding in bindings { visit(binding.value) }
                visit(body)
            case .generation(let body, _): visit(body)
            }
        }
    }
}
