/// Where every use of a name in a template finds its value, worked out before anything runs.
///
/// Jinja2 compiles names to Python variables, which gives its scopes a static nature that a chain of dictionaries
/// would not have: a frame (the template, a loop's body, a macro, a captured block, a `with`) owns every name that is
/// set anywhere in it. When the frame is entered each of its names takes a first value: what an outer frame has
/// now, else what the context has, else nothing.
struct ScopeTable: Sendable {
    /// What a frame's name holds on entry.
    enum FirstValue: Sendable {
        /// Filled by whoever enters the frame.
        case parameter
        /// From the rendering's context or the globals.
        case context
        /// A copy of an outer frame's.
        case outer(Place)
        case nothing
    }

    /// A name's slot, so many frames further out.
    struct Place: Sendable {
        var frames: Int
        var slot: Int
    }

    struct Frame: Sendable {
        var names: [String] = []
        var firstValues: [FirstValue] = []
        /// The slot of the `loop`, `caller`, `kwargs` and `varargs` that the frame was given.
        var special: [String: Int] = [:]
    }

    fileprivate(set) var frames: [Frame]
    /// By number of use.
    fileprivate(set) var uses: [Place]

    static func resolve(_ body: [Statement], frames: Int, uses: Int) -> ScopeTable {
        var table = ScopeTable(
            frames: Array(repeating: Frame(), count: frames),
            uses: Array(repeating: Place(frames: 0, slot: 0), count: uses))
        let root = ScopeBuilder(frame: 0, parent: nil)
        root.visit(body, inBranch: false)
        root.finish(into: &table)
        return table
    }
}

/// Collects the names of one frame and then of the frames in it.
private final class ScopeBuilder {
    let frame: Int
    let parent: ScopeBuilder?
    var slots: [String: Int] = [:]
    var layout = ScopeTable.Frame()
    private var used: [(name: String, use: Int)] = []
    private var inner: [(ScopeBuilder) -> ScopeBuilder] = []

    init(frame: Int, parent: ScopeBuilder?) {
        self.frame = frame
        self.parent = parent
    }

    private func place(of name: String) -> ScopeTable.Place? {
        var builder: ScopeBuilder? = self
        var frames = 0
        while let current = builder {
            if let slot = current.slots[name] { return ScopeTable.Place(frames: frames, slot: slot) }
            builder = current.parent
            frames += 1
        }
        return nil
    }

    private func define(_ name: String, _ first: ScopeTable.FirstValue) {
        if let slot = slots[name] {
            layout.firstValues[slot] = first
        } else {
            slots[name] = layout.names.count
            layout.names.append(name)
            layout.firstValues.append(first)
        }
    }

    private func load(_ name: String, use: Int) {
        used.append((name, use))
        if place(of: name) == nil { define(name, .context) }
    }

    private func store(_ name: String, use: Int, inBranch: Bool) {
        used.append((name, use))
        guard slots[name] == nil else { return }
        if let outer = parent?.place(of: name) {
            define(name, .outer(ScopeTable.Place(frames: outer.frames + 1, slot: outer.slot)))
        } else {
            // A name that only some branches set keeps the context's value in the others.
            define(name, inBranch ? .context : .nothing)
        }
    }

    private func parameter(_ name: String, use: Int) {
        define(name, .parameter)
        used.append((name, use))
    }

    private func special(_ name: String) {
        define(name, .parameter)
        layout.special[name] = slots[name]
    }

    private func store(_ target: Target, inBranch: Bool) {
        for (name, use) in target.namespaces { load(name, use: use) }
        for (name, use) in target.names { store(name, use: use, inBranch: inBranch) }
    }

    private func visit(_ expression: Expression?) {
        guard let expression else { return }
        if case .name(let name, let use) = expression.node { load(name, use: use) }
        for child in expression.children { visit(child) }
    }

    private func nest(_ frame: Int, _ fill: @escaping (ScopeBuilder) -> Void) {
        inner.append { parent in
            let builder = ScopeBuilder(frame: frame, parent: parent)
            fill(builder)
            return builder
        }
    }

    private func nest(_ macro: MacroDefinition) {
        nest(macro.frame) { builder in
            for (name, use) in macro.parameters { builder.parameter(name, use: use) }
            if macro.usesCaller { builder.special("caller") }
            if macro.usesKeywords { builder.special("kwargs") }
            if macro.usesRest { builder.special("varargs") }
            for value in macro.defaults { builder.visit(value) }
            builder.visit(macro.body, inBranch: false)
        }
    }

    private func nest(_ loop: Loop) {
        nest(loop.bodyFrame) { builder in
            if loop.usesLoop { builder.special("loop") }
            for (name, use) in loop.target.names { builder.parameter(name, use: use) }
            builder.visit(loop.body, inBranch: false)
        }
        nest(loop.testFrame) { builder in
            for (name, use) in loop.testTarget.names { builder.parameter(name, use: use) }
            builder.visit(loop.test)
        }
        nest(loop.otherwiseFrame) { $0.visit(loop.otherwise, inBranch: false) }
    }

    func visit(_ statements: [Statement], inBranch: Bool) {
        for statement in statements { visit(statement, inBranch: inBranch) }
    }

    private func visit(_ statement: Statement, inBranch: Bool) {
        switch statement.node {
        case .text, .breakLoop, .continueLoop: break
        case .output(let expression): visit(expression)
        case .conditional(let branches, let otherwise):
            for branch in branches {
                visit(branch.test)
                visit(branch.body, inBranch: true)
            }
            visit(otherwise, inBranch: true)
        case .loop(let loop):
            visit(loop.items)
            nest(loop)
        case .assign(let target, let value):
            visit(value)
            store(target, inBranch: inBranch)
        case .assignBlock(let target, let filter, let body, let frame):
            store(target, inBranch: inBranch)
            nest(frame) { builder in
                builder.visit(body, inBranch: false)
                builder.visit(filter)
            }
        case .macro(let macro, let target):
            store(target, inBranch: inBranch)
            nest(macro)
        case .callBlock(let macro, let call):
            visit(call)
            nest(macro)
        case .filterBlock(let filter, let body, let frame):
            nest(frame) { builder in
                builder.visit(body, inBranch: false)
                builder.visit(filter)
            }
        case .with(let bindings, let body, let frame):
            for binding in bindings { visit(binding.value) }
            nest(frame) { builder in
                for binding in bindings {
                    for (name, use) in binding.target.names { builder.parameter(name, use: use) }
                }
                builder.visit(body, inBranch: false)
            }
        case .generation(let body, let frame): nest(frame) { $0.visit(body, inBranch: false) }
        }
    }

    func finish(into table: inout ScopeTable) {
        for (name, use) in used {
            guard let place = place(of: name) else { preconditionFailure("every used name has a place") }
            table.uses[use] = place
        }
        // Inner frames see this one as it is at the end: it owns every name that is set anywhere in it.
        for make in inner { make(self).finish(into: &table) }
        table.frames[frame] = layout
    }
}
