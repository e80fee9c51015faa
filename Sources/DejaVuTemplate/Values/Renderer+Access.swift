import DejaVuCore

/// Iterating, indexing, slicing, attributes.
extension Renderer {
    func cursor(over value: TemplateValue) throws(DejaVuError) -> ValueCursor {
        switch value {
        case .list(let list), .tuple(let list): return .items(list.items, 0)
        case .dict(let dict): return .items(dict.keys, 0)
        case .string(let string): return .scalars(string.plain, 0)
        case .undefined: return .empty
        case .object(let object):
            switch object {
            case let range as RangeObject: return .range(range, 0)
            case let view as DictViewObject: return .view(view, 0)
            case let iterator as IteratorObject: return .iterator(iterator)
            case let loop as LoopObject:
                return .iterator(
                    IteratorObject("LoopContext", over: 0) { [unowned self] () throws(DejaVuError) in
                        guard let item = try loop.next(self) else { return nil }
                        return .tuple(try makeList([item, value]))
                    })
            default: break
            }
        default: break
        }
        throw typeError("'\(value.typeName)' object is not iterable")
    }

    /// All items at once.
    func items(of value: TemplateValue) throws(DejaVuError) -> [TemplateValue] {
        switch value {
        case .list(let list), .tuple(let list): return list.items
        case .dict(let dict): return dict.keys
        default:
            var cursor = try cursor(over: value)
            var items: [TemplateValue] = []
            while let item = try cursor.next(self) { items.append(item) }
            return items
        }
    }

    /// Python's `len`, or nil for what has none.
    func length(of value: TemplateValue) throws(DejaVuError) -> Int? {
        switch value {
        case .string(let string):
            try charge(items: string.count / 64)
            return string.scalarCount
        case .list(let list), .tuple(let list): return list.items.count
        case .dict(let dict): return dict.count
        case .undefined: return 0
        case .object(let object):
            switch object {
            case let range as RangeObject: return range.count
            case let view as DictViewObject: return view.dict.count
            case let loop as LoopObject:
                if case .int(let length)? = try loop.attribute("length", self) { return length }
                return nil
            default: return nil
            }
        default: return nil
        }
    }

    /// `value[key]`: an item first, then an attribute of that name, else undefined.
    func item(_ key: TemplateValue, of value: TemplateValue) throws(DejaVuError) -> TemplateValue {
        switch value {
        case .undefined(let undefined): throw undefinedError(undefined)
        case .dict(let dict):
            if let key = DictKey(key), let found = dict.value(for: key) { return found }
        case .list(let list), .tuple(let list):
            if let index = Self.integer(key), let place = Self.place(index, list.items.count) {
                return list.items[place]
            }
        case .string(let string):
            if let index = Self.integer(key) {
                try charge(items: string.count / 64)
                if let place = Self.place(index, string.scalarCount) {
                    let start = string.offset(ofScalar: place)
                    return .string(string.slice(start..<start + string.scalar(at: start).length))
                }
            }
        case .object(let range as RangeObject):
            if let index = Self.integer(key), let place = Self.place(index, range.count) {
                return .int(range.item(place))
            }
        default: break
        }
        if case .string(let name) = key {
            if let found = try ownAttribute(name, of: value) { return found }
            return .undefined(TemplateUndefined("'\(value.objectDescription)' has no attribute '\(name.text)'"))
        }
        return .undefined(TemplateUndefined("\(value.objectDescription) has no element"))
    }

    private static func place(_ index: Int, _ count: Int) -> Int? {
        let place = index < 0 ? index + count : index
        return place >= 0 && place < count ? place : nil
    }

    /// `value.name`: an attribute first, then an item, else undefined.
    func attribute(_ name: TemplateString, of value: TemplateValue) throws(DejaVuError) -> TemplateValue {
        if case .undefined(let undefined) = value { throw undefinedError(undefined) }
        if let found = try ownAttribute(name, of: value) { return found }
        if case .dict(let dict) = value, let found = dict.value(named: name.bytes) { return found }
        return .undefined(TemplateUndefined("'\(value.objectDescription)' has no attribute '\(name.text)'"))
    }

    /// What Python's `getattr` gives, with the sandbox's refusals as undefined values. Nil if there is no such one.
    func ownAttribute(_ name: TemplateString, of value: TemplateValue) throws(DejaVuError) -> TemplateValue? {
        if let method = Methods.name(name.bytes, of: value) {
            if Methods.isForbidden(method, of: value) { return unsafeAttribute(name, of: value) }
            return .object(MethodObject(value, method))
        }
        if name.bytes.starts(with: Array("__".utf8)), Methods.isInternal(name.text) {
            return unsafeAttribute(name, of: value)
        }
        switch value {
        case .undefined(let undefined): throw undefinedError(undefined)
        case .bool, .int, .double: return Self.numberAttribute(name.text, of: value)
        case .tuple(let tuple) where tuple.isGroup:
            return name.text == "grouper" ? tuple.items[0] : name.text == "list" ? tuple.items[1] : nil
        case .object(let object): return try objectAttribute(name, of: object)
        default: return nil
        }
    }

    private func unsafeAttribute(_ name: TemplateString, of value: TemplateValue) -> TemplateValue {
        let type = value.typeName
        return .undefined(TemplateUndefined("access to attribute '\(name.text)' of '\(type)' object is unsafe."))
    }

    private static func numberAttribute(_ name: String, of value: TemplateValue) -> TemplateValue? {
        switch (name, value) {
        case ("real", .double): return value
        case ("imag", .double): return .double(0)
        case ("real", _), ("numerator", _): return integer(value).map { .int($0) }
        case ("imag", _): return .int(0)
        case ("denominator", .int), ("denominator", .bool): return .int(1)
        default: return nil
        }
    }

    private func objectAttribute(
        _ name: TemplateString, of object: RuntimeObject
    ) throws(DejaVuError) -> TemplateValue? {
        switch object {
        case let namespace as NamespaceObject:
            guard let value = namespace.value(of: name.bytes) else { return nil }
            return name.bytes.first == UInt8(ascii: "_") ? unsafeAttribute(name, of: .object(object)) : value
        case let loop as LoopObject: return try loop.attribute(name.text, self)
        case let cycler as CyclerObject:
            switch name.text {
            case "current": return cycler.current
            case "pos": return .int(cycler.position)
            case "items": return .tuple(try makeList(cycler.items))
            default: return nil
            }
        case let range as RangeObject:
            return ["start": range.start, "stop": range.stop, "step": range.step][name.text].map { .int($0) }
        case let macro as MacroObject:
            switch name.text {
            case "name": return macro.definition.name.map { .literal($0) } ?? TemplateValue.none
            case "arguments":
                return .tuple(try makeList(macro.definition.parameters.map { .literal($0.name) }))
            case "caller": return .bool(macro.definition.usesCaller)
            case "catch_kwargs": return .bool(macro.definition.usesKeywords)
            case "catch_varargs": return .bool(macro.definition.usesRest)
            default: return nil
            }
        default: return nil
        }
    }

    /// `value[start:stop:step]`; unlike an index, a slice that cannot be taken is an error.
    func slice(
        _ value: TemplateValue, _ start: TemplateValue, _ stop: TemplateValue, _ step: TemplateValue
    ) throws(DejaVuError) -> TemplateValue {
        switch value {
        case .undefined(let undefined): throw undefinedError(undefined)
        case .list(let list):
            let places = try places(list.items.count, start, stop, step)
            return .list(try makeList(places.map { list.items[$0] }))
        case .tuple(let list):
            let places = try places(list.items.count, start, stop, step)
            return .tuple(try makeList(places.map { list.items[$0] }))
        case .string(let string):
            let offsets = string.scalarOffsets
            try charge(items: string.count / 16)
            let places = try places(offsets.count - 1, start, stop, step)
            if places.stride == 1, let first = places.first, let last = places.last {
                return try self.string(string.slice(offsets[first]..<offsets[last + 1]))
            }
            var result = TemplateString()
            for place in places { result.append(string, offsets[place]..<offsets[place + 1]) }
            result.isMarkup = string.isMarkup
            return try self.string(result)
        case .object(let range as RangeObject):
            let places = try places(range.count, start, stop, step)
            guard let start = range.bound(places.from), let stop = range.bound(places.to),
                case let (step, overflowed) = range.step.multipliedReportingOverflow(by: places.stride), !overflowed,
                let sliced = RangeObject(start, stop, step)
            else { throw overflow() }
            return .object(sliced)
        default: throw typeError("'\(value.typeName)' object cannot be sliced")
        }
    }

    /// The indices that a slice takes.
    private func places(
        _ count: Int, _ start: TemplateValue, _ stop: TemplateValue, _ step: TemplateValue
    ) throws(DejaVuError) -> Places {
        var bounds: [Int?] = []
        for bound in [start, stop, step] {
            guard bound.isNone || Self.integer(bound) != nil else {
                throw typeError("slice indices must be integers or None")
            }
            bounds.append(Self.integer(bound))
        }
        let stride = bounds[2] ?? 1
        guard stride != 0 else { throw valueError("slice step cannot be zero") }
        let (low, high) = stride > 0 ? (0, count) : (-1, count - 1)
        func clamp(_ bound: Int) -> Int { min(max(bound < 0 ? bound + count : bound, low), high) }
        let from = bounds[0].map(clamp) ?? (stride > 0 ? low : high)
        let to = bounds[1].map(clamp) ?? (stride > 0 ? high : low)
        // More than one item needs a stride below the count, so clamping it changes nothing and cannot overflow.
        return Places(from: from, to: to, stride: min(max(stride, -count - 1), count + 1))
    }

    /// Indices from `from` up or down to before `to`.
    private struct Places: Sequence {
        let from: Int
        let to: Int
        let stride: Int

        var first: Int? { (stride > 0 ? from < to : from > to) ? from : nil }
        var last: Int? { first == nil ? nil : from + (abs(to - from) - 1) / abs(stride) * stride }

        func makeIterator() -> StrideTo<Int>.Iterator { Swift.stride(from: from, to: to, by: stride).makeIterator() }
    }
}
