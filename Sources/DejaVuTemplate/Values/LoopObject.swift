import DejaVuCore

/// The variable `loop`.
final class LoopObject: RuntimeObject {
    private var cursor: ValueCursor
    private var after: TemplateValue?
    private var before: TemplateValue?
    private(set) var current: TemplateValue?
    private(set) var index0 = -1
    private var knownLength: Int?
    private var lastChanged: [TemplateValue]?
    let depth0: Int
    /// Renders the body for inner items, if the loop is recursive.
    private var recurse: ((TemplateValue, Int) throws(DejaVuError) -> TemplateString)?

    init(
        _ cursor: ValueCursor, depth0: Int,
        recurse: ((TemplateValue, Int) throws(DejaVuError) -> TemplateString)?
    ) {
        self.cursor = cursor
        knownLength = cursor.length
        self.depth0 = depth0
        self.recurse = recurse
    }

    override var typeName: String { "LoopContext" }

    override func release() {
        cursor = .empty
        (after, before, current) = (nil, nil, nil)
        lastChanged = nil
        recurse = nil
    }

    func next(_ renderer: Renderer) throws(DejaVuError) -> TemplateValue? {
        let item: TemplateValue
        if let waiting = after {
            item = waiting
            after = nil
        } else if let found = try cursor.next(renderer) {
            item = found
        } else {
            return nil
        }
        index0 += 1
        before = current
        current = item
        return item
    }

    private func peek(_ renderer: Renderer) throws(DejaVuError) -> TemplateValue? {
        if after == nil { after = try cursor.next(renderer) }
        return after
    }

    private func length(_ renderer: Renderer) throws(DejaVuError) -> Int {
        if let knownLength { return knownLength }
        var rest: [TemplateValue] = []
        while let item = try cursor.next(renderer) { rest.append(item) }
        try renderer.charge(items: rest.count)
        let length = rest.count + index0 + 1 + (after == nil ? 0 : 1)
        cursor = .items(rest, 0)
        knownLength = length
        return length
    }

    /// The attribute `name`, or nil if there is none.
    func attribute(_ name: String, _ renderer: Renderer) throws(DejaVuError) -> TemplateValue? {
        switch name {
        case "index": return .int(index0 + 1)
        case "index0": return .int(index0)
        case "first": return .bool(index0 == 0)
        case "last": return .bool(try peek(renderer) == nil)
        case "length": return .int(try length(renderer))
        case "revindex": return .int(try length(renderer) - index0)
        case "revindex0": return .int(try length(renderer) - index0 - 1)
        case "depth": return .int(depth0 + 1)
        case "depth0": return .int(depth0)
        case "previtem":
            if index0 == 0 { return .undefined(TemplateUndefined("there is no previous item")) }
            return before ?? .undefined(TemplateUndefined("there is no previous item"))
        case "nextitem": return try peek(renderer) ?? .undefined(TemplateUndefined("there is no next item"))
        case "cycle", "changed": return .object(MethodObject(.object(self), name))
        default: return nil
        }
    }

    func hasChanged(_ values: [TemplateValue], _ renderer: Renderer) throws(DejaVuError) -> Bool {
        if let lastChanged, lastChanged.count == values.count {
            var isSame = true
            for (old, new) in zip(lastChanged, values) where isSame { isSame = try renderer.equal(old, new) }
            if isSame { return false }
        }
        lastChanged = values
        return true
    }

    func call(_ items: TemplateValue, _ renderer: Renderer) throws(DejaVuError) -> TemplateString {
        guard let recurse else { throw renderer.typeError("the loop must have the 'recursive' marker to be called") }
        return try recurse(items, depth0 + 1)
    }
}

/// A place in something that is iterated over.
enum ValueCursor {
    case empty
    case items([TemplateValue], Int)
    case range(RangeObject, Int)
    case view(DictViewObject, Int)
    case scalars(TemplateString, Int)
    case iterator(IteratorObject)

    /// How many items there are, where that is known without running through them.
    var length: Int? {
        switch self {
        case .empty: return 0
        case .items(let items, let index): return items.count - index
        case .range(let range, let index): return range.count - index
        case .view(let view, let index): return view.dict.count - index
        case .scalars(let string, let offset): return string.scalarCount - string.scalarIndex(ofByte: offset)
        case .iterator: return nil
        }
    }

    mutating func next(_ renderer: Renderer) throws(DejaVuError) -> TemplateValue? {
        try renderer.step()
        switch self {
        case .empty: return nil
        case .items(let items, let index):
            guard index < items.count else { return nil }
            self = .items(items, index + 1)
            return items[index]
        case .range(let range, let index):
            guard index < range.count else { return nil }
            self = .range(range, index + 1)
            return .int(range.item(index))
        case .view(let view, let index):
            guard index < view.dict.count else { return nil }
            self = .view(view, index + 1)
            return view.item(index)
        case .scalars(let string, let offset):
            guard offset < string.count else { return nil }
            let end = offset + string.scalar(at: offset).length
            self = .scalars(string, end)
            return .string(string.slice(offset..<end))
        case .iterator(let iterator): return try iterator.next()
        }
    }
}
