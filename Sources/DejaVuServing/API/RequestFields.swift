import DejaVuCore

/// Reads the members of a request's object, naming the parameter in every complaint.
///
/// A member that is null counts as absent, as OpenAI's clients expect.
struct RequestFields {
    /// What stands before a name in messages: empty at the root, `stream_options.` below.
    let prefix: String
    private let members: [String: JSONValue]

    init(_ value: JSONValue, prefix: String = "") throws(APIError) {
        guard case .object(let members) = value else {
            let what = prefix.isEmpty ? "the request body" : "'\(prefix)'"
            throw .invalid(
                prefix.isEmpty ? nil : prefix, code: "invalid_type",
                "Invalid type for \(what): expected an object, but got \(withArticle(value.typeName)) instead.")
        }
        self.prefix = prefix.isEmpty ? "" : prefix + "."
        self.members = Dictionary(members.map { ($0.key, $0.value) }) { first, _ in first }
    }

    var names: some Sequence<String> { members.keys.sorted() }

    func path(_ name: String) -> String { prefix + name }

    /// The value; nil if absent or null.
    func value(_ name: String) -> JSONValue? {
        guard let value = members[name], value != .null else { return nil }
        return value
    }

    func required(_ name: String) throws(APIError) -> JSONValue {
        guard let value = value(name) else {
            throw .invalid(
                path(name), code: "missing_required_parameter", "Missing required parameter: '\(path(name))'.")
        }
        return value
    }

    func bool(_ name: String) throws(APIError) -> Bool? {
        guard let value = value(name) else { return nil }
        guard case .bool(let bool) = value else { throw wrongType(name, value, "a boolean") }
        return bool
    }

    func string(_ name: String) throws(APIError) -> String? {
        guard let value = value(name) else { return nil }
        guard case .string(let string) = value else { throw wrongType(name, value, "a string") }
        return string
    }

    func integer(_ name: String, in range: ClosedRange<Int>) throws(APIError) -> Int? {
        guard let value = value(name) else { return nil }
        guard let integer = wholeNumber(value) else { throw wrongType(name, value, "an integer") }
        guard integer >= range.lowerBound else { throw below(name, "integer", "\(range.lowerBound)", "\(integer)") }
        guard integer <= range.upperBound else { throw above(name, "integer", "\(range.upperBound)", "\(integer)") }
        return Int(integer)
    }

    func number(_ name: String, in range: ClosedRange<Double>) throws(APIError) -> Float? {
        guard let value = value(name) else { return nil }
        let number: Double
        switch value {
        case .integer(let integer): number = Double(integer)
        case .number(let double): number = double
        default: throw wrongType(name, value, "a decimal number")
        }
        guard number >= range.lowerBound else { throw below(name, "decimal", "\(range.lowerBound)", "\(number)") }
        guard number <= range.upperBound else { throw above(name, "decimal", "\(range.upperBound)", "\(number)") }
        return Float(number)
    }

    func array(_ name: String) throws(APIError) -> [JSONValue]? {
        guard let value = value(name) else { return nil }
        guard case .array(let array) = value else { throw wrongType(name, value, "an array") }
        return array
    }

    func fields(_ name: String) throws(APIError) -> RequestFields? {
        guard let value = value(name) else { return nil }
        return try RequestFields(value, prefix: path(name))
    }

    func wrongType(_ name: String, _ value: JSONValue, _ expected: String) -> APIError {
        .invalid(
            path(name), code: "invalid_type",
            "Invalid type for '\(path(name))': expected \(expected), but got \(withArticle(value.typeName)) instead.")
    }

    private func below(_ name: String, _ kind: String, _ bound: String, _ value: String) -> APIError {
        .invalid(
            path(name), code: "\(kind)_below_min_value",
            "Invalid '\(path(name))': \(kind) below minimum value. Expected a value >= \(bound), but got \(value).")
    }

    private func above(_ name: String, _ kind: String, _ bound: String, _ value: String) -> APIError {
        .invalid(
            path(name), code: "\(kind)_above_max_value",
            "Invalid '\(path(name))': \(kind) above maximum value. Expected a value <= \(bound), but got \(value).")
    }
}

/// An integer, also one that was written with a fraction of zero.
func wholeNumber(_ value: JSONValue) -> Int64? {
    switch value {
    case .integer(let integer): integer
    case .number(let double): Int64(exactly: double)
    default: nil
    }
}

private func withArticle(_ noun: String) -> String {
    guard noun != "null", let first = noun.first else { return noun }
    return ("aeiou".contains(first) ? "an " : "a ") + noun
}
