import DejaVuCore

/// A value with an identity, made while a template runs.
///
/// Some of these can hold one another in a ring or a very long chain. The renderer keeps a list of them and calls
/// `release` on each at the end, so that nothing leaks and nothing is freed recursively.
package class RuntimeObject {
    var typeName: String { "object" }
    var depth: Int { 0 }
    var isHashable: Bool { true }
    /// Python's `repr`, where it says something that can be known.
    var shown: String { "<\(typeName)>" }

    init() {}

    func release() {}
}

/// `namespace(...)`: the one value whose attributes a template may set.
final class NamespaceObject: RuntimeObject {
    var attributes: [(name: [UInt8], value: TemplateValue)] = []

    override var typeName: String { "Namespace" }

    override func release() { attributes = [] }

    func value(of name: [UInt8]) -> TemplateValue? { attributes.first { $0.name == name }?.value }

    func set(_ name: [UInt8], _ value: TemplateValue) {
        if let index = attributes.firstIndex(where: { $0.name == name }) {
            attributes[index].value = value
        } else {
            attributes.append((name, value))
        }
    }
}

/// `range(start, stop, step)`, not spelled out.
final class RangeObject: RuntimeObject {
    let start: Int
    let stop: Int
    let step: Int
    let count: Int

    /// `step` is not 0. Nil if the count does not fit.
    init?(_ start: Int, _ stop: Int, _ step: Int) {
        precondition(step != 0, "checked by the caller")
        self.start = start
        self.stop = stop
        self.step = step
        if step > 0 ? stop <= start : stop >= start {
            count = 0
        } else {
            let (width, overflow) =
                step > 0
                ? stop.subtractingReportingOverflow(start)
                : start.subtractingReportingOverflow(stop)
            guard !overflow, step != .min else { return nil }
            count = (width - 1) / abs(step) + 1
        }
    }

    override var typeName: String { "range" }
    override var shown: String { step == 1 ? "range(\(start), \(stop))" : "range(\(start), \(stop), \(step))" }

    /// `index` lies below `count`.
    func item(_ index: Int) -> Int { start + index * step }

    /// The number at `index`, which may be just outside. Nil if it needs more than 64 bits.
    func bound(_ index: Int) -> Int? {
        let (distance, overflow) = index.multipliedReportingOverflow(by: step)
        let (value, overflowAgain) = start.addingReportingOverflow(distance)
        return overflow || overflowAgain ? nil : value
    }
}

/// An iterator that can be run through once: what filters such as `map` and `select` return.
final class IteratorObject: RuntimeObject {
    private let name: String
    private let nesting: Int
    private var step: (() throws(DejaVuError) -> TemplateValue?)?
    private var isRunning = false

    init(_ name: String, over depth: Int, _ step: @escaping () throws(DejaVuError) -> TemplateValue?) {
        self.name = name
        nesting = depth + 1
        self.step = step
    }

    override var typeName: String { name }
    override var depth: Int { nesting }
    override func release() { step = nil }

    func next() throws(DejaVuError) -> TemplateValue? {
        guard let step else { return nil }
        guard !isRunning else { throw DejaVuError(.invalidArgument, "chat template: an iterator runs itself") }
        isRunning = true
        defer { isRunning = false }
        if let value = try step() { return value }
        self.step = nil
        return nil
    }
}

/// `dict.keys()`, `.values()` and `.items()`.
final class DictViewObject: RuntimeObject {
    enum Part: String { case keys = "dict_keys", values = "dict_values", items = "dict_items" }

    let dict: TemplateDict
    let part: Part

    init(_ dict: TemplateDict, _ part: Part) {
        self.dict = dict
        self.part = part
    }

    override var typeName: String { part.rawValue }
    override var depth: Int { dict.depth + 1 }
    override var isHashable: Bool { part == .values }

    func item(_ index: Int) -> TemplateValue {
        switch part {
        case .keys: return dict.keys[index]
        case .values: return dict.values[index]
        case .items: return .tuple(TemplateList([dict.keys[index], dict.values[index]]))
        }
    }
}

/// A method taken from a value, not called yet.
final class MethodObject: RuntimeObject {
    let base: TemplateValue
    let name: String

    init(_ base: TemplateValue, _ name: String) {
        self.base = base
        self.name = name
    }

    override var typeName: String { "builtin_function_or_method" }
    override var depth: Int { base.depth + 1 }
    override var shown: String { "<built-in method \(name) of \(base.typeName) object>" }
}

/// A function of the interpreter: `range`, `namespace`, `raise_exception` and so on.
final class FunctionObject: RuntimeObject {
    typealias Body = (Renderer, Arguments) throws(DejaVuError) -> TemplateValue

    let name: String
    let isType: Bool
    let body: Body

    init(_ name: String, isType: Bool = false, _ body: @escaping Body) {
        self.name = name
        self.isType = isType
        self.body = body
    }

    override var typeName: String { isType ? "type" : "function" }
    override var shown: String { isType ? "<class '\(name)'>" : "<function \(name)>" }
}

/// A macro or a `call` block's body together with the frame that it was defined in.
final class MacroObject: RuntimeObject {
    let definition: MacroDefinition
    var scope: Scope?

    init(_ definition: MacroDefinition, _ scope: Scope) {
        self.definition = definition
        self.scope = scope
    }

    override var typeName: String { "Macro" }
    override var shown: String { "<Macro \(definition.name.map { "'\($0)'" } ?? "anonymous")>" }
    override func release() { scope = nil }
}

/// `cycler(...)`
final class CyclerObject: RuntimeObject {
    private(set) var items: [TemplateValue]
    var position = 0

    init(_ items: [TemplateValue]) { self.items = items }

    override var typeName: String { "Cycler" }
    override func release() { items = [] }

    /// Nil only after the rendering.
    var current: TemplateValue? { items.isEmpty ? nil : items[position] }

    func advance() -> TemplateValue? {
        defer { position = items.isEmpty ? 0 : (position + 1) % items.count }
        return current
    }
}

/// `joiner(...)`: nothing at the first call, the separator afterwards.
final class JoinerObject: RuntimeObject {
    private var separator: TemplateValue
    private var isUsed = false

    init(_ separator: TemplateValue) { self.separator = separator }

    override var typeName: String { "Joiner" }
    override func release() { separator = .none }

    func call() -> TemplateValue {
        defer { isUsed = true }
        return isUsed ? separator : .literal("")
    }
}
