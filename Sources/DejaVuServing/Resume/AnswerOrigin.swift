import DejaVuCore

/// What a request's record carries for the server, so that another one can make the same answer out of the same tokens:
/// whose it is, by which name it can be asked for, and how it is written.
struct AnswerOrigin: Sendable {
    let format: AnswerFormat
    let route: Route
    let isStream: Bool
    let includesUsage: Bool
    let owner: String
    let key: IdempotencyKey?
    let stops: [[UInt8]]
    /// Which of the answer's requests it is, and how many there are: one for each prompt.
    let index: Int
    let count: Int
    /// The text that stands before a completion's own.
    let echo: String?

    private static let version = 1

    /// Empty for what does not fit into a record: such a request ends with its server.
    var bytes: [UInt8] {
        var json = JSONWriter(capacity: 512)
        json.object { json in
            json.key("version", Self.version)
            json.key("id", format.id)
            json.key("created", format.created)
            json.key("model", format.model)
            json.key("fingerprint", format.fingerprint)
            json.key("route", route.rawValue)
            json.key("stream", isStream)
            json.key("usage", includesUsage)
            json.key("owner", owner)
            json.key("key", key?.name)
            json.key("digest", key.map { Self.hexadecimal($0.digest) })
            json.key("stops")
            json.array(stops) { $0.string(utf8: $1) }
            json.key("index", index)
            json.key("count", count)
            json.key("echo", echo)
        }
        return json.bytes.count <= SequenceRecord.originBytesMax ? json.bytes : []
    }

    /// - Returns: nil for what no server of this version has written.
    init?(_ bytes: [UInt8]) {
        guard let json = try? JSONParser.parse(bytes), json["version"] == .integer(Int64(Self.version)),
            case .string(let id)? = json["id"], case .integer(let created)? = json["created"],
            case .string(let model)? = json["model"], case .string(let fingerprint)? = json["fingerprint"],
            case .string(let path)? = json["route"], let route = Route(rawValue: path),
            route == .chat || route == .completions, case .bool(let isStream)? = json["stream"],
            case .bool(let includesUsage)? = json["usage"], case .string(let owner)? = json["owner"],
            case .array(let stops)? = json["stops"], case .integer(let index)? = json["index"],
            case .integer(let count)? = json["count"], count > 0, (0..<count).contains(index)
        else { return nil }
        format = AnswerFormat(
            kind: route == .chat ? .chat : .completion, fullID: id, created: Int(created), model: model,
            fingerprint: fingerprint)
        self.route = route
        self.isStream = isStream
        self.includesUsage = includesUsage
        self.owner = owner
        self.stops = stops.compactMap { if case .string(let stop) = $0 { Array(stop.utf8) } else { nil } }
        self.index = Int(index)
        self.count = Int(count)
        if case .string(let echo)? = json["echo"] { self.echo = echo } else { echo = nil }
        if case .string(let name)? = json["key"], case .string(let text)? = json["digest"] {
            guard let digest = Self.bytes(fromHexadecimal: text) else { return nil }
            key = IdempotencyKey(name: name, digest: digest)
        } else {
            key = nil
        }
    }

    init(
        format: AnswerFormat, route: Route, options: GenerationOptions, owner: String, key: IdempotencyKey?,
        index: Int, count: Int, echo: String?
    ) {
        self.format = format
        self.route = route
        isStream = options.isStream
        includesUsage = options.includesUsage
        self.owner = owner
        self.key = key
        stops = options.stops
        self.index = index
        self.count = count
        self.echo = echo
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }

    private static func bytes(fromHexadecimal text: String) -> [UInt8]? {
        let digits = text.compactMap(\.hexDigitValue)
        guard digits.count == text.count, digits.count % 2 == 0 else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}
