import DejaVuCore

/// Truth, equality and order, as Python has them.
extension Renderer {
    func isTrue(_ value: TemplateValue) throws(DejaVuError) -> Bool {
        switch value {
        case .undefined, .none: return false
        case .bool(let bool): return bool
        case .int(let int): return int != 0
        case .double(let double): return double != 0
        case .string(let string): return !string.isEmpty
        case .list(let list), .tuple(let list): return !list.items.isEmpty
        case .dict(let dict): return dict.count > 0
        case .object(let object):
            switch object {
            case let range as RangeObject: return range.count > 0
            case let view as DictViewObject: return view.dict.count > 0
            default: return true
            }
        }
    }

    /// A number as Python compares it: bool is an int.
    static func integer(_ value: TemplateValue) -> Int? {
        switch value {
        case .bool(let bool): return bool ? 1 : 0
        case .int(let int): return int
        default: return nil
        }
    }

    static func number(_ value: TemplateValue) -> Double? {
        if case .double(let double) = value { return double }
        return integer(value).map { Double($0) }
    }

    func equal(_ left: TemplateValue, _ right: TemplateValue) throws(DejaVuError) -> Bool {
        switch (left, right) {
        case (.string(let left), .string(let right)): return left == right
        case (.undefined, .undefined), (.none, .none): return true
        case (.bool, _), (.int, _), (.double, _): return Self.areEqualNumbers(left, right)
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            guard left.items.count == right.items.count else { return false }
            return try deeper { () throws(DejaVuError) in
                for (left, right) in zip(left.items, right.items) where !(try equal(left, right)) { return false }
                return true
            }
        case (.dict(let left), .dict(let right)):
            guard left.count == right.count else { return false }
            return try deeper { () throws(DejaVuError) in
                for (key, value) in zip(left.keys, left.values) {
                    guard let other = right.value(for: try hashed(key)), try equal(value, other) else { return false }
                }
                return true
            }
        case (.object(let left), .object(let right)):
            if let left = left as? RangeObject, let right = right as? RangeObject {
                return left.count == right.count
                    && (left.count == 0
                        || left.start == right.start && (left.count == 1 || left.step == right.step))
            }
            return left === right
        default: return false
        }
    }

    private static func areEqualNumbers(_ left: TemplateValue, _ right: TemplateValue) -> Bool {
        if let left = integer(left), let right = integer(right) { return left == right }
        if let left = integer(left), case .double(let right) = right { return Double(exactly: left) == right }
        if let right = integer(right), case .double(let left) = left { return Double(exactly: right) == left }
        if case .double(let left) = left, case .double(let right) = right { return left == right }
        return false
    }

    func compare(
        _ operation: ComparisonOperator, _ left: TemplateValue, _ right: TemplateValue
    ) throws(DejaVuError) -> Bool {
        switch operation {
        case .equal: return try equal(left, right)
        case .notEqual: return !(try equal(left, right))
        case .isIn: return try contains(right, left)
        case .isNotIn: return !(try contains(right, left))
        case .less: return try isLess(left, right, orEqual: false, "<")
        case .lessOrEqual: return try isLess(left, right, orEqual: true, "<=")
        case .greater: return try isLess(right, left, orEqual: false, ">")
        case .greaterOrEqual: return try isLess(right, left, orEqual: true, ">=")
        }
    }

    func isLess(
        _ left: TemplateValue, _ right: TemplateValue, orEqual: Bool = false, _ sign: String = "<"
    ) throws(DejaVuError) -> Bool {
        try requireDefined(left)
        try requireDefined(right)
        if let left = Self.integer(left), let right = Self.integer(right) {
            return orEqual ? left <= right : left < right
        }
        if Self.number(left) != nil, Self.number(right) != nil {
            return Self.isLessNumber(left, right, orEqual: orEqual)
        }
        switch (left, right) {
        case (.string(let left), .string(let right)): return orEqual ? !(right < left) : left < right
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            return try deeper { () throws(DejaVuError) in
                for (left, right) in zip(left.items, right.items) where !(try equal(left, right)) {
                    return try isLess(left, right, orEqual: orEqual, sign)
                }
                let (left, right) = (left.items.count, right.items.count)
                return orEqual ? left <= right : left < right
            }
        default:
            throw typeError("'\(sign)' not supported between '\(left.typeName)' and '\(right.typeName)'")
        }
    }

    /// A comparison in which at least one side is a float; exact even where an int has no float of its own.
    private static func isLessNumber(_ left: TemplateValue, _ right: TemplateValue, orEqual: Bool) -> Bool {
        if let int = integer(left), case .double(let double) = right {
            let order = ordered(int, double)
            return order.map { orEqual ? $0 <= 0 : $0 < 0 } ?? false
        }
        if let int = integer(right), case .double(let double) = left {
            let order = ordered(int, double)
            return order.map { orEqual ? $0 >= 0 : $0 > 0 } ?? false
        }
        guard let left = number(left), let right = number(right) else { return false }
        return orEqual ? left <= right : left < right
    }

    /// Negative if `int` is the smaller one, nil beside not-a-number.
    private static func ordered(_ int: Int, _ double: Double) -> Int? {
        if double.isNaN { return nil }
        if double >= 0x1p63 { return -1 }
        if double < -0x1p63 { return 1 }
        let whole = Int(double.rounded(.towardZero))
        if int != whole { return int < whole ? -1 : 1 }
        let rest = double - Double(whole)
        return rest > 0 ? -1 : rest < 0 ? 1 : 0
    }

    /// `item in container`
    func contains(_ container: TemplateValue, _ item: TemplateValue) throws(DejaVuError) -> Bool {
        switch container {
        case .string(let string):
            guard case .string(let part) = item else {
                throw typeError("'in <string>' requires string as left operand, not \(item.typeName)")
            }
            try charge(items: string.count / 64)
            return UTF8Text.find(part.bytes, in: string.bytes, 0..<string.count) != nil
        case .dict(let dict): return dict.value(for: try hashed(item)) != nil
        case .list(let list), .tuple(let list):
            try charge(items: list.items.count)
            for other in list.items where try equal(item, other) { return true }
            return false
        case .undefined: return false
        case .object(let view as DictViewObject) where view.part == .keys:
            return view.dict.value(for: try hashed(item)) != nil
        case .object(let view as DictViewObject) where view.part == .items:
            guard case .tuple(let pair) = item, pair.items.count == 2,
                let value = view.dict.value(for: try hashed(pair.items[0]))
            else { return false }
            return try equal(value, pair.items[1])
        case .object:
            var cursor = try cursor(over: container)
            while let other = try cursor.next(self) { if try equal(item, other) { return true } }
            return false
        default: throw typeError("argument of type '\(container.typeName)' is not iterable")
        }
    }
}
