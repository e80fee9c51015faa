package import DejaVuCore

/// A Swift type that metadata values can be read as.
package protocol MetadataReadable {
    /// What the file should have, in words for an error.
    static var wanted: String { get }
    /// Nil if the value is of another type.
    static func read(_ value: MetadataValue) throws(DejaVuError) -> Self?
}

extension GGUFFile {
    /// The raw value of a key, if it is there.
    package func value(_ key: String) -> MetadataValue? { entries[key]?.value }

    /// The value of a key, or nil if the key is missing. A value of another type is an error.
    package func get<T: MetadataReadable>(_ key: String, as type: T.Type = T.self) throws(DejaVuError) -> T? {
        guard let entry = entries[key] else { return nil }
        guard let result = try T.read(entry.value) else {
            throw .invalidField(
                "metadata \(quoted(key))", at: entry.offset, "is of type \(entry.value.typeName); wanted \(T.wanted)")
        }
        return result
    }

    /// The value of a key. A missing key is an error.
    package func require<T: MetadataReadable>(_ key: String, as type: T.Type = T.self) throws(DejaVuError) -> T {
        guard let result = try get(key, as: type) else {
            throw DejaVuError(
                .invalidFile, "metadata \(quoted(key)) is missing; wanted \(T.wanted)",
                subject: "metadata \(quoted(key))")
        }
        return result
    }
}

extension Int: MetadataReadable {
    package static var wanted: String { "an integer" }
    package static func read(_ value: MetadataValue) -> Int? { value.integer }
}

extension Double: MetadataReadable {
    package static var wanted: String { "a number" }
    package static func read(_ value: MetadataValue) -> Double? { value.number }
}

extension Float: MetadataReadable {
    package static var wanted: String { "a number" }
    package static func read(_ value: MetadataValue) -> Float? {
        // A float32 keeps its bits, which going through Double would not promise for NaN.
        if case .float32(let number) = value { return number }
        return value.number.map { Float($0) }
    }
}

extension Bool: MetadataReadable {
    package static var wanted: String { "bool" }
    package static func read(_ value: MetadataValue) -> Bool? {
        guard case .bool(let flag) = value else { return nil }
        return flag
    }
}

extension String: MetadataReadable {
    package static var wanted: String { "string" }
    package static func read(_ value: MetadataValue) -> String? {
        guard case .string(let text) = value else { return nil }
        return text
    }
}

extension MetadataArray: MetadataReadable {
    package static var wanted: String { "array" }
    package static func read(_ value: MetadataValue) -> MetadataArray? {
        guard case .array(let array) = value else { return nil }
        return array
    }
}

extension [Int]: MetadataReadable {
    package static var wanted: String { "array of integers" }
    package static func read(_ value: MetadataValue) throws(DejaVuError) -> [Int]? {
        guard case .array(let array) = value else { return nil }
        return try array.integers()
    }
}
