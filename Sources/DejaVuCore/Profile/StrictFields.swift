/// Reads the fields of an object one by one, and refuses what it does not know. Errors name the field by its path.
struct StrictFields {
    private struct Name: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { return nil }
    }

    private let container: KeyedDecodingContainer<Name>
    private let subject: String
    private let prefix: String
    private var known: Set<String> = []

    /// - Parameter subject: what is read, for errors: `profile`.
    init(_ decoder: any Decoder, of subject: String) throws {
        self.subject = subject
        prefix = decoder.codingPath.reduce("") { path, key in
            if let index = key.intValue { return "\(path)[\(index)]" }
            return path.isEmpty ? key.stringValue : "\(path).\(key.stringValue)"
        }
        do {
            container = try decoder.container(keyedBy: Name.self)
        } catch {
            throw DejaVuError(
                .invalidFile, "the \(subject)\(prefix.isEmpty ? "" : "'s \(prefix)") must be an object",
                subject: prefix.isEmpty ? nil : prefix)
        }
    }

    mutating func required<Value: Decodable>(_ name: String, as type: Value.Type = Value.self) throws -> Value {
        guard let value: Value = try optional(name) else { throw error(name, "is missing") }
        return value
    }

    /// nil if the field is not there.
    mutating func optional<Value: Decodable>(_ name: String, as type: Value.Type = Value.self) throws -> Value? {
        known.insert(name)
        let key = Name(stringValue: name)
        guard container.contains(key) else { return nil }
        do {
            return try container.decode(Value.self, forKey: key)
        } catch let error as DejaVuError {
            throw error
        } catch {
            throw self.error(name, "must be \(Self.kind(of: Value.self))")
        }
    }

    /// - Throws: if there are fields that nobody asked for.
    func finish() throws {
        let unknown = container.allKeys.map(\.stringValue).filter { !known.contains($0) }
        if let first = unknown.min() { throw error(first, "is not known") }
    }

    func error(_ name: String, _ problem: String) -> DejaVuError {
        let path = prefix.isEmpty ? name : "\(prefix).\(name)"
        return DejaVuError(.invalidFile, "the \(subject)'s \(path) \(problem)", subject: path)
    }

    private static func kind(of type: Any.Type) -> String {
        if type == Int.self { return "a whole number" }
        if type == Double.self { return "a number" }
        if type == String.self { return "text" }
        if type == [String].self { return "a list of texts" }
        return "a list or an object of its own kind"
    }
}
