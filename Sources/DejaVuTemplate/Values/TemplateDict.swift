/// A dict in order of insertion.
package final class TemplateDict {
    let keys: [TemplateValue]
    let values: [TemplateValue]
    let depth: Int
    private let hashed: [DictKey]
    /// Only for dicts that are too long to look through.
    private let index: [DictKey: Int]?

    fileprivate init(_ builder: DictBuilder) {
        keys = builder.keys
        values = builder.values
        hashed = builder.hashed
        index = builder.index
        depth = zip(keys, values).reduce(1) { max($0, $1.0.depth + 1, $1.1.depth + 1) }
    }

    var count: Int { keys.count }

    func value(for key: DictKey) -> TemplateValue? {
        if let index { return index[key].map { values[$0] } }
        return hashed.firstIndex(of: key).map { values[$0] }
    }

    func value(named name: [UInt8]) -> TemplateValue? { value(for: .string(name)) }
}

/// Makes a dict pair by pair.
struct DictBuilder {
    fileprivate(set) var keys: [TemplateValue] = []
    fileprivate(set) var values: [TemplateValue] = []
    fileprivate var hashed: [DictKey] = []
    fileprivate var index: [DictKey: Int]?

    mutating func set(_ key: DictKey, _ shown: TemplateValue, _ value: TemplateValue) {
        if let place = index.map({ $0[key] }) ?? hashed.firstIndex(of: key) {
            values[place] = value
            return
        }
        if hashed.count == 8 {
            index = [:]
            for (place, key) in hashed.enumerated() { index?[key] = place }
        }
        index?[key] = hashed.count
        keys.append(shown)
        values.append(value)
        hashed.append(key)
    }

    func finish() -> TemplateDict { TemplateDict(self) }
}

/// A hashable value under Python's equality: `1`, `1.0` and `True` are one key.
enum DictKey: Hashable {
    case none
    case undefined
    case int(Int)
    case double(Double)
    case string([UInt8])
    indirect case tuple([DictKey])
    case identity(ObjectIdentifier)

    /// Nil for what Python calls unhashable.
    init?(_ value: TemplateValue) {
        switch value {
        case .none: self = .none
        case .undefined: self = .undefined
        case .bool(let bool): self = .int(bool ? 1 : 0)
        case .int(let int): self = .int(int)
        case .double(let double): self = Int(exactly: double).map { .int($0) } ?? .double(double)
        case .string(let string): self = .string(string.bytes)
        case .tuple(let tuple):
            var keys: [DictKey] = []
            for item in tuple.items {
                guard let key = DictKey(item) else { return nil }
                keys.append(key)
            }
            self = .tuple(keys)
        case .list, .dict: return nil
        case .object(let object):
            guard object.isHashable else { return nil }
            self = .identity(ObjectIdentifier(object))
        }
    }
}
