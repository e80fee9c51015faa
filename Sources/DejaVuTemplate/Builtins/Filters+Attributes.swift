import DejaVuCore

/// `"name"`, `"user.name"` or `"items.0"`: a way into a value.
struct AttributePath {
    private let parts: [TemplateValue]
    private let standard: TemplateValue?

    /// None stands for the value itself.
    init(_ attribute: TemplateValue, standard: TemplateValue? = nil, _ renderer: Renderer) throws(DejaVuError) {
        self.standard = standard.flatMap { $0.isNone ? nil : $0 }
        switch attribute {
        case .none: parts = []
        case .string(let string):
            parts = string.text.split(separator: ".", omittingEmptySubsequences: false).map { part in
                let isNumber = !part.isEmpty && part.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
                return (isNumber ? Int(part).map { .int($0) } : nil)
                    ?? .string(TemplateString(String(part), isTemplate: string.isTemplate))
            }
        default: parts = [attribute]
        }
        try renderer.charge(items: parts.count)
    }

    func value(in item: TemplateValue, _ renderer: Renderer) throws(DejaVuError) -> TemplateValue {
        var value = item
        for part in parts {
            value = try renderer.item(part, of: value)
            if value.isUndefined, let standard { value = standard }
        }
        return value
    }
}

extension Builtins {
    /// Filters that look at an attribute of every item, or apply something to it.
    static let attributeFilters: [String: Filter] = [
        "map": map,
        "select": { (renderer, value, arguments) throws(DejaVuError) in
            try select(renderer, value, arguments, byAttribute: false, keeps: true)
        },
        "reject": { (renderer, value, arguments) throws(DejaVuError) in
            try select(renderer, value, arguments, byAttribute: false, keeps: false)
        },
        "selectattr": { (renderer, value, arguments) throws(DejaVuError) in
            try select(renderer, value, arguments, byAttribute: true, keeps: true)
        },
        "rejectattr": { (renderer, value, arguments) throws(DejaVuError) in
            try select(renderer, value, arguments, byAttribute: true, keeps: false)
        },
        "sort": sort,
        "groupby": groupby,
        "sum": sum,
        "min": { (renderer, value, arguments) throws(DejaVuError) in
            try extreme(renderer, value, arguments, wantsMax: false)
        },
        "max": { (renderer, value, arguments) throws(DejaVuError) in
            try extreme(renderer, value, arguments, wantsMax: true)
        },
        "attr": { (renderer, value, arguments) throws(DejaVuError) in
            let name = try renderer.text(try arguments.bind(["name"], required: 1, in: "attr", renderer)[0], "attr")
            if let found = try renderer.ownAttribute(name, of: value) { return found }
            let message = "'\(value.objectDescription)' has no attribute '\(name.text)'"
            return .undefined(TemplateUndefined(message))
        },
    ]

    private static func map(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        var source: ValueCursor?
        var apply: ((TemplateValue) throws(DejaVuError) -> TemplateValue)?
        return try renderer.iterator(over: value) { () throws(DejaVuError) in
            if source == nil {
                // Nothing is looked at before the first item is asked for, and then only if there may be one.
                guard try renderer.isTrue(value) else { return nil }
                apply = try mapping(renderer, arguments)
                source = try renderer.cursor(over: value)
            }
            guard let item = try source?.next(renderer) else { return nil }
            return try apply?(item)
        }
    }

    private static func mapping(
        _ renderer: Renderer, _ arguments: Arguments
    ) throws(DejaVuError) -> ((TemplateValue) throws(DejaVuError) -> TemplateValue) {
        if arguments.positional.isEmpty, let attribute = arguments.named.first(where: { $0.name == "attribute" }) {
            let standard = arguments.named.first { $0.name == "default" }
            if let other = arguments.named.first(where: { $0.name != "attribute" && $0.name != "default" }) {
                throw renderer.failure("FilterArgumentError", "Unexpected keyword argument '\(other.name)'")
            }
            let path = try AttributePath(attribute.value, standard: standard?.value, renderer)
            return { (item) throws(DejaVuError) in try path.value(in: item, renderer) }
        }
        guard let first = arguments.positional.first else {
            throw renderer.failure("FilterArgumentError", "map requires a filter argument")
        }
        let name = try renderer.text(first, "map").text
        let rest = Arguments(positional: Array(arguments.positional.dropFirst()), named: arguments.named)
        return { (item) throws(DejaVuError) in
            try renderer.deeper { () throws(DejaVuError) in try renderer.applyFilter(name, item, rest) }
        }
    }

    private static func select(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments, byAttribute: Bool, keeps: Bool
    ) throws(DejaVuError) -> TemplateValue {
        var source: ValueCursor?
        var path: AttributePath?
        var test: (name: String, arguments: Arguments)?
        return try renderer.iterator(over: value) { () throws(DejaVuError) in
            if source == nil {
                guard try renderer.isTrue(value) else { return nil }
                var rest = arguments.positional[...]
                if byAttribute {
                    guard let attribute = rest.popFirst() else {
                        throw renderer.failure("FilterArgumentError", "Missing parameter for attribute name")
                    }
                    path = try AttributePath(attribute, renderer)
                }
                if let name = rest.popFirst() {
                    let bound = Arguments(positional: Array(rest), named: arguments.named)
                    test = (try renderer.text(name, "select").text, bound)
                }
                source = try renderer.cursor(over: value)
            }
            while let item = try source?.next(renderer) {
                let subject = try path?.value(in: item, renderer) ?? item
                let passes: Bool
                if let test {
                    passes = try renderer.applyTest(test.name, subject, test.arguments)
                } else {
                    passes = try renderer.isTrue(subject)
                }
                if passes == keeps { return item }
            }
            return nil
        }
    }

    private static func sort(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["reverse", "case_sensitive", "attribute"], in: "sort", renderer)
        let isSensitive = try renderer.isTrue(bound[1] ?? .bool(false))
        var paths: [AttributePath] = []
        if case .string(let attributes)? = bound[2] {
            for attribute in attributes.text.split(separator: ",", omittingEmptySubsequences: false) {
                paths.append(try AttributePath(.literal(String(attribute)), renderer))
            }
        } else {
            paths = [try AttributePath(bound[2] ?? .none, renderer)]
        }
        let items = try renderer.items(of: value)
        let sorted = try renderer.sorted(items, reverse: try renderer.isTrue(bound[0] ?? .bool(false))) {
            (item) throws(DejaVuError) in
            var keys: [TemplateValue] = []
            for path in paths {
                let key = try path.value(in: item, renderer)
                keys.append(isSensitive ? key : key.ignoringCase)
            }
            return .list(TemplateList(keys))
        }
        return .list(try renderer.makeList(sorted))
    }

    private static func groupby(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let names = ["attribute", "default", "case_sensitive"]
        let bound = try arguments.bind(names, required: 1, in: "groupby", renderer)
        let isSensitive = try renderer.isTrue(bound[2] ?? .bool(false))
        let path = try AttributePath(bound[0] ?? .none, standard: bound[1], renderer)
        func key(_ item: TemplateValue) throws(DejaVuError) -> TemplateValue {
            let key = try path.value(in: item, renderer)
            return isSensitive ? key : key.ignoringCase
        }
        let items = try renderer.sorted(try renderer.items(of: value), reverse: false, by: key)
        var groups: [TemplateValue] = []
        var start = 0
        while start < items.count {
            let first = try key(items[start])
            var end = start + 1
            while end < items.count, try renderer.equal(try key(items[end]), first) { end += 1 }
            let group = try renderer.makeList(Array(items[start..<end]))
            groups.append(.tuple(TemplateList(group: try path.value(in: items[start], renderer), .list(group))))
            start = end
        }
        return .list(try renderer.makeList(groups))
    }

    private static func sum(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["attribute", "start"], in: "sum", renderer)
        let path = try AttributePath(bound[0] ?? .none, renderer)
        var total = bound[1] ?? .int(0)
        if case .string = total { throw renderer.typeError("sum() can't sum strings") }
        var cursor = try renderer.cursor(over: value)
        while let item = try cursor.next(renderer) {
            total = try renderer.arithmetic(.add, total, try path.value(in: item, renderer))
        }
        return total
    }

    private static func extreme(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments, wantsMax: Bool
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["case_sensitive", "attribute"], in: wantsMax ? "max" : "min", renderer)
        let isSensitive = try renderer.isTrue(bound[0] ?? .bool(false))
        let path = try AttributePath(bound[1] ?? .none, renderer)
        var best: (item: TemplateValue, key: TemplateValue)?
        var cursor = try renderer.cursor(over: value)
        while let item = try cursor.next(renderer) {
            let raw = try path.value(in: item, renderer)
            let key = isSensitive ? raw : raw.ignoringCase
            guard let current = best else {
                best = (item, key)
                continue
            }
            let isBetter = wantsMax ? try renderer.isLess(current.key, key) : try renderer.isLess(key, current.key)
            if isBetter { best = (item, key) }
        }
        return best?.item ?? .undefined(TemplateUndefined("No aggregated item, sequence was empty."))
    }
}
