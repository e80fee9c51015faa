/// A value of the template language, with the meaning that Python gives it.
///
/// Not Sendable: values live for one rendering. Lists and dicts never change once made (the sandbox forbids it), so
/// their nesting is known when they are made and they cannot contain themselves.
package enum TemplateValue {
    /// Something that is not there: prints as nothing, is false, and raises when used otherwise.
    case undefined(TemplateUndefined)
    case none
    case bool(Bool)
    case int(Int)
    case double(Double)
    case string(TemplateString)
    case list(TemplateList)
    case tuple(TemplateList)
    case dict(TemplateDict)
    /// What only a running template can make: macros, namespaces, iterators, methods and so on.
    case object(RuntimeObject)

    /// Text that came from outside: special tokens are not recognised in it.
    package static func data(_ text: String) -> TemplateValue { .string(TemplateString(text, isTemplate: false)) }

    /// Text as trusted as the template's own.
    package static func trusted(_ text: String) -> TemplateValue { .string(TemplateString(text, isTemplate: true)) }

    package static func list(of items: [TemplateValue]) -> TemplateValue { .list(TemplateList(items)) }

    /// A dict with these keys in this order; a key that occurs twice keeps its first place and its last value.
    package static func dict(of pairs: [(String, TemplateValue)], trustedKeys: Bool = true) -> TemplateValue {
        var builder = DictBuilder()
        for (key, value) in pairs {
            builder.set(.string(key.utf8.map { $0 }), .string(TemplateString(key, isTemplate: trustedKeys)), value)
        }
        return .dict(builder.finish())
    }

    /// The value of a dict under a key that is text.
    package subscript(_ key: String) -> TemplateValue? {
        guard case .dict(let dict) = self else { return nil }
        return dict.value(named: Array(key.utf8))
    }

    /// A dict's values under those keys that are text; empty for anything else.
    package var dictionary: [String: TemplateValue] {
        guard case .dict(let dict) = self else { return [:] }
        var result: [String: TemplateValue] = [:]
        for (key, value) in zip(dict.keys, dict.values) {
            if let name = key.string { result[name] = value }
        }
        return result
    }

    /// The text, if this is text.
    package var string: String? {
        guard case .string(let string) = self else { return nil }
        return string.text
    }

    static func literal(_ text: String) -> TemplateValue { .string(TemplateString(literal: text)) }

    /// How many containers lie inside one another here.
    var depth: Int {
        switch self {
        case .list(let list), .tuple(let list): return list.depth
        case .dict(let dict): return dict.depth
        case .object(let object): return object.depth
        default: return 0
        }
    }

    /// Python's name of the type, for messages.
    var typeName: String {
        switch self {
        case .undefined: return "Undefined"
        case .none: return "NoneType"
        case .bool: return "bool"
        case .int: return "int"
        case .double: return "float"
        case .string(let string): return string.isMarkup ? "Markup" : "str"
        case .list: return "list"
        case .tuple: return "tuple"
        case .dict: return "dict"
        case .object(let object): return object.typeName
        }
    }

    /// What Jinja2 calls a value in the message of an undefined attribute.
    var objectDescription: String {
        if case .none = self { return "None" }
        return typeName + " object"
    }

    var isUndefined: Bool {
        if case .undefined = self { return true }
        return false
    }

    var isNone: Bool {
        if case .none = self { return true }
        return false
    }
}

/// Why a value is undefined. The message is made only when somebody asks.
package final class TemplateUndefined {
    private let makeMessage: () -> String

    init(_ message: @escaping @autoclosure () -> String) { makeMessage = message }

    var message: String { makeMessage() }
}

/// The items of a list or a tuple.
package final class TemplateList {
    let items: [TemplateValue]
    let depth: Int
    /// A pair made by `groupby`, whose items are also called `grouper` and `list`.
    let isGroup: Bool

    package init(_ items: [TemplateValue]) {
        self.items = items
        isGroup = false
        depth = items.reduce(1) { max($0, $1.depth + 1) }
    }

    init(group grouper: TemplateValue, _ list: TemplateValue) {
        items = [grouper, list]
        isGroup = true
        depth = max(grouper.depth, list.depth) + 1
    }
}
