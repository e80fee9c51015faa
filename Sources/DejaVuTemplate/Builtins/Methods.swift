import DejaVuCore

/// Which methods the values have, and which of them the sandbox refuses because they change a list or a dict.
enum Methods {
    private static func table(_ names: String) -> [[UInt8]: String] {
        var result: [[UInt8]: String] = [:]
        for name in names.split(separator: " ") { result[Array(name.utf8)] = String(name) }
        return result
    }

    private static let string = table(
        "capitalize casefold center count encode endswith expandtabs find format format_map index isalnum isalpha "
            + "isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust "
            + "lower lstrip maketrans partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit "
            + "rstrip split splitlines startswith strip swapcase title translate upper zfill")
    private static let markup = table("escape striptags unescape")
    private static let dict = table("clear copy fromkeys get items keys pop popitem setdefault update values")
    private static let list = table("append clear copy count extend index insert pop remove reverse sort")
    private static let tuple = table("count index")
    private static let integer = table("as_integer_ratio bit_count bit_length conjugate from_bytes to_bytes")
    private static let double = table("as_integer_ratio conjugate fromhex hex is_integer")
    private static let cycler = table("next reset")
    private static let loop = table("changed cycle")
    private static let none: [[UInt8]: String] = [:]

    private static let forbidden: Set<String> = [
        "append", "clear", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault", "sort", "update",
    ]

    private static func table(of value: TemplateValue) -> [[UInt8]: String] {
        switch value {
        case .string: return string
        case .dict: return dict
        case .list: return list
        case .tuple: return tuple
        case .int, .bool: return integer
        case .double: return double
        case .object(let object):
            if object is CyclerObject { return cycler }
            if object is LoopObject { return loop }
            return object is RangeObject ? tuple : none
        case .undefined, .none: return none
        }
    }

    /// The method of that name, if the value has one.
    static func name(_ name: [UInt8], of value: TemplateValue) -> String? {
        if let found = table(of: value)[name] { return found }
        if case .string(let string) = value, string.isMarkup { return markup[name] }
        return nil
    }

    /// The same without methods that the sandbox refuses.
    static func safeName(_ name: [UInt8], of value: TemplateValue) -> String? {
        guard let found = Self.name(name, of: value), !isForbidden(found, of: value) else { return nil }
        return found
    }

    static func isForbidden(_ method: String, of value: TemplateValue) -> Bool {
        switch value {
        case .list, .dict: return forbidden.contains(method)
        default: return false
        }
    }

    /// Names that every Python object has and the sandbox hides.
    static func isInternal(_ name: String) -> Bool {
        [
            "__class__", "__delattr__", "__dir__", "__doc__", "__eq__", "__format__", "__ge__", "__getattribute__",
            "__gt__", "__hash__", "__init__", "__init_subclass__", "__le__", "__lt__", "__ne__", "__new__",
            "__reduce__", "__reduce_ex__", "__repr__", "__setattr__", "__sizeof__", "__str__", "__subclasshook__",
        ].contains(name)
    }
}

extension Renderer {
    func callMethod(_ name: String, of value: TemplateValue, _ arguments: Arguments) throws(DejaVuError)
        -> TemplateValue
    {
        switch value {
        case .string(let string): return try callStringMethod(name, string, arguments)
        case .dict(let dict): return try callDictMethod(name, dict, arguments)
        case .list(let list), .tuple(let list):
            if name == "copy" { return .list(TemplateList(list.items)) }
            return try callSequenceMethod(name, list.items, arguments)
        case .object(let object):
            switch object {
            case let range as RangeObject:
                return try callSequenceMethod(name, try items(of: .object(range)), arguments)
            case let cycler as CyclerObject:
                _ = try arguments.bind([], in: name, self)
                if name == "next" { return cycler.advance() ?? .none }
                cycler.position = 0
                return .none
            case let loop as LoopObject:
                if name == "changed" { return .bool(try loop.hasChanged(arguments.positional, self)) }
                guard !arguments.positional.isEmpty else { throw typeError("no items for cycling given") }
                return arguments.positional[loop.index0 % arguments.positional.count]
            default: break
            }
        case .int(let int) where name == "bit_length": return .int(Int.bitWidth - int.magnitude.leadingZeroBitCount)
        case .double(let double) where name == "is_integer":
            return .bool(double.isFinite && double == double.rounded())
        default: break
        }
        throw notSupported("the method '\(name)' of \(value.typeName)")
    }

    private func callSequenceMethod(
        _ name: String, _ items: [TemplateValue], _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        try charge(items: items.count)
        if name == "count" {
            guard let wanted = try arguments.bind(["value"], required: 1, in: "count()", self)[0] else { return .none }
            var count = 0
            for item in items where try equal(item, wanted) { count += 1 }
            return .int(count)
        }
        let bound = try arguments.bind(["value", "start", "stop"], required: 1, in: "index()", self)
        guard let wanted = bound[0] else { return .none }
        func clamp(_ value: TemplateValue?, _ standard: Int) throws(DejaVuError) -> Int {
            guard let value else { return standard }
            guard let index = Self.integer(value) else { throw typeError("slice indices must be integers") }
            return min(max(index < 0 ? index + items.count : index, 0), items.count)
        }
        let (start, stop) = (try clamp(bound[1], 0), try clamp(bound[2], items.count))
        if start < stop {
            for index in start..<stop where try equal(items[index], wanted) { return .int(index) }
        }
        throw valueError("the value is not in the \(name == "index" ? "sequence" : "list")")
    }

    private func callDictMethod(
        _ name: String, _ dict: TemplateDict, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        switch name {
        case "get":
            guard arguments.named.isEmpty else { throw typeError("dict.get() takes no keyword arguments") }
            let bound = try arguments.bind(["key", "default"], required: 1, in: "dict.get()", self)
            guard let key = bound[0] else { preconditionFailure("required") }
            return dict.value(for: try hashed(key)) ?? bound[1] ?? .none
        case "fromkeys":
            let bound = try arguments.bind(["iterable", "value"], required: 1, in: "fromkeys()", self)
            var builder = DictBuilder()
            for key in try items(of: bound[0] ?? .none) { builder.set(try hashed(key), key, bound[1] ?? .none) }
            return .dict(try finish(builder))
        default: break
        }
        _ = try arguments.bind([], in: "dict.\(name)()", self)
        switch name {
        case "items": return .object(DictViewObject(dict, .items))
        case "keys": return .object(DictViewObject(dict, .keys))
        case "values": return .object(DictViewObject(dict, .values))
        case "copy":
            var builder = DictBuilder()
            for (key, value) in zip(dict.keys, dict.values) { builder.set(try hashed(key), key, value) }
            return .dict(try finish(builder))
        default: throw notSupported("the method '\(name)' of dict")
        }
    }
}
