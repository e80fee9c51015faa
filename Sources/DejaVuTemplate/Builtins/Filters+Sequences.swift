import DejaVuCore

extension Builtins {
    /// Filters that take or give sequences.
    static let sequenceFilters: [String: Filter] = [
        "length": length,
        "count": length,
        "list": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "list", renderer)
            return .list(try renderer.makeList(try renderer.items(of: value)))
        },
        "first": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "first", renderer)
            var cursor = try renderer.cursor(over: value)
            return try cursor.next(renderer)
                ?? .undefined(TemplateUndefined("No first item, sequence was empty."))
        },
        "last": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "last", renderer)
            try requireReversible(renderer, value)
            return try renderer.items(of: value).last
                ?? .undefined(TemplateUndefined("No last item, sequence was empty."))
        },
        "reverse": reverse,
        "join": join,
        "items": { (renderer, value, arguments) throws(DejaVuError) in
            _ = try arguments.bind([], in: "items", renderer)
            var view: DictViewObject?
            var index = 0
            return try renderer.iterator(over: value) { () throws(DejaVuError) in
                if value.isUndefined { return nil }
                guard case .dict(let dict) = value else {
                    throw renderer.typeError("Can only get item pairs from a mapping.")
                }
                let pairs = view ?? DictViewObject(dict, .items)
                view = pairs
                guard index < dict.count else { return nil }
                index += 1
                return pairs.item(index - 1)
            }
        },
        "dictsort": dictsort,
        "batch": batch,
        "slice": slice,
        "unique": unique,
    ]

    private static func length(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        _ = try arguments.bind([], in: "length", renderer)
        guard let length = try renderer.length(of: value) else {
            throw renderer.typeError("object of type '\(value.typeName)' has no len()")
        }
        return .int(length)
    }

    private static func requireReversible(_ renderer: Renderer, _ value: TemplateValue) throws(DejaVuError) {
        switch value {
        case .string, .list, .tuple, .dict: return
        case .object(let object) where object is RangeObject || object is DictViewObject: return
        default: throw renderer.typeError("'\(value.typeName)' object is not reversible")
        }
    }

    private static func reverse(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        _ = try arguments.bind([], in: "reverse", renderer)
        if case .string(let string) = value {
            try renderer.charge(items: string.count)
            var result = TemplateString()
            let offsets = string.scalarOffsets
            for index in stride(from: offsets.count - 1, to: 0, by: -1) {
                result.append(string, offsets[index - 1]..<offsets[index])
            }
            return try renderer.string(renderer.marked(result, like: string))
        }
        let items = try renderer.items(of: value)
        try renderer.charge(items: items.count)
        switch value {
        case .undefined: return .list(TemplateList([]))
        case .object(let object) where object is IteratorObject || object is LoopObject:
            return .list(try renderer.makeList(items.reversed()))
        default: break
        }
        var index = items.count
        return try renderer.iterator("list_reverseiterator", over: value) { () throws(DejaVuError) in
            guard index > 0 else { return nil }
            index -= 1
            return items[index]
        }
    }

    private static func join(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["d", "attribute"], in: "join", renderer)
        let separator = try renderer.text(of: bound[0] ?? .literal(""))
        let path = try bound[1].flatMap { $0.isNone ? nil : $0 }
            .map { (attribute) throws(DejaVuError) in try AttributePath(attribute, renderer) }
        var parts: [TemplateString] = []
        var cursor = try renderer.cursor(over: value)
        while let item = try cursor.next(renderer) {
            parts.append(try renderer.text(of: try path?.value(in: item, renderer) ?? item))
        }
        return .string(try renderer.join(parts, separator))
    }

    private static func dictsort(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["case_sensitive", "by", "reverse"], in: "dictsort", renderer)
        let isSensitive = try renderer.isTrue(bound[0] ?? .bool(false))
        let by = try renderer.text(of: bound[1] ?? .literal("key")).text
        guard by == "key" || by == "value" else {
            throw renderer.failure("FilterArgumentError", "You can only sort by either \"key\" or \"value\"")
        }
        try renderer.requireDefined(value)
        guard case .dict(let dict) = value else { throw renderer.typeError("dictsort needs a dict") }
        let view = DictViewObject(dict, .items)
        let order = try renderer.sorted(Array(0..<dict.count), reverse: try renderer.isTrue(bound[2] ?? .bool(false))) {
            let part = by == "key" ? dict.keys[$0] : dict.values[$0]
            return isSensitive ? part : part.ignoringCase
        }
        return .list(try renderer.makeList(order.map { view.item($0) }))
    }

    private static func batch(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["linecount", "fill_with"], required: 1, in: "batch", renderer)
        let size = try renderer.integer(bound[0], standard: 1, "batch")
        let fill = bound[1].flatMap { $0.isNone ? nil : $0 }
        var source = try renderer.cursor(over: value)
        var waiting: TemplateValue?
        return try renderer.iterator(over: value) { () throws(DejaVuError) in
            var row = [waiting].compactMap { $0 }
            waiting = nil
            while let item = try source.next(renderer) {
                // As in Jinja2, a row is full when its length equals the size, so none is for a size below one.
                if row.count == size, !row.isEmpty {
                    waiting = item
                    return .list(try renderer.makeList(row))
                }
                row.append(item)
            }
            guard !row.isEmpty else { return nil }
            if let fill, row.count < size {
                try renderer.charge(items: size - row.count)
                row += Array(repeating: fill, count: size - row.count)
            }
            return .list(try renderer.makeList(row))
        }
    }

    private static func slice(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["slices", "fill_with"], required: 1, in: "slice", renderer)
        let slices = try renderer.integer(bound[0], standard: 1, "slice")
        let fill = bound[1].flatMap { $0.isNone ? nil : $0 }
        let items = try renderer.items(of: value)
        guard slices != 0 else { throw renderer.failure("ZeroDivisionError", "integer division or modulo by zero") }
        var number = 0
        var start = 0
        return try renderer.iterator(over: value) { () throws(DejaVuError) in
            guard number < slices else { return nil }
            let isLonger = number < items.count % slices
            let end = start + items.count / slices + (isLonger ? 1 : 0)
            var row = Array(items[start..<end])
            if let fill, !isLonger { row.append(fill) }
            start = end
            number += 1
            return .list(try renderer.makeList(row))
        }
    }

    private static func unique(
        _ renderer: Renderer, _ value: TemplateValue, _ arguments: Arguments
    ) throws(DejaVuError) -> TemplateValue {
        let bound = try arguments.bind(["case_sensitive", "attribute"], in: "unique", renderer)
        let isSensitive = try renderer.isTrue(bound[0] ?? .bool(false))
        let path = try AttributePath(bound[1] ?? .none, renderer)
        var source = try renderer.cursor(over: value)
        var seen: Set<DictKey> = []
        return try renderer.iterator(over: value) { () throws(DejaVuError) in
            while let item = try source.next(renderer) {
                let key = try path.value(in: item, renderer)
                if seen.insert(try renderer.hashed(isSensitive ? key : key.ignoringCase)).inserted { return item }
            }
            return nil
        }
    }
}

extension TemplateValue {
    /// Text in lower case; anything else as it is.
    var ignoringCase: TemplateValue {
        if case .string(let string) = self { return .string(TextTools.lowercased(string)) }
        return self
    }
}

extension Renderer {
    /// A stable sort by `key`, in Python's order of values.
    func sorted<Item>(
        _ items: [Item], reverse: Bool, by key: (Item) throws(DejaVuError) -> TemplateValue
    ) throws(DejaVuError) -> [Item] {
        var keyed: [(key: TemplateValue, item: Item)] = []
        keyed.reserveCapacity(items.count)
        for item in items { keyed.append((try key(item), item)) }
        // Merge sort, bottom up, because the standard library's sort does not take typed errors. Python keeps the
        // order of equal items in a reversed sort as well.
        var width = 1
        while width < keyed.count {
            var merged: [(key: TemplateValue, item: Item)] = []
            merged.reserveCapacity(keyed.count)
            var start = 0
            while start < keyed.count {
                let middle = min(start + width, keyed.count)
                let end = min(middle + width, keyed.count)
                var (left, right) = (start, middle)
                while left < middle, right < end {
                    try step()
                    let takesRight =
                        reverse
                        ? try isLess(keyed[left].key, keyed[right].key)
                        : try isLess(keyed[right].key, keyed[left].key)
                    merged.append(keyed[takesRight ? right : left])
                    if takesRight { right += 1 } else { left += 1 }
                }
                merged += keyed[left..<middle] + keyed[right..<end]
                start = end
            }
            keyed = merged
            width *= 2
        }
        return keyed.map(\.item)
    }
}
