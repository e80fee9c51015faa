/// The profile's file: JSON, in a fixed order, a row of a table on each line. Names are those of the properties.
extension ModelProfile: Decodable {
    /// The first field of every file.
    public static let format = "dejavu-profile-1"

    /// Strict: unknown fields are errors, and so are values that `validate()` refuses.
    ///
    /// - Throws: `DejaVuError` that names the field, or what the decoder throws for what is no JSON.
    public init(from decoder: any Decoder) throws {
        var fields = try StrictFields(decoder, of: "profile")
        let format: String = try fields.required("format")
        guard format == Self.format else { throw fields.error("format", "is '\(format)', not '\(Self.format)'") }
        self.init(
            name: try fields.required("name"), layerCount: try fields.required("layerCount"),
            vocabularyCount: try fields.required("vocabularyCount"),
            hiddenRowBytes: try fields.required("hiddenRowBytes"),
            kvBytesPerPositionAndLayer: try fields.required("kvBytesPerPositionAndLayer"))
        func set<Value: Decodable>(_ path: WritableKeyPath<ModelProfile, Value>, _ name: String) throws {
            if let value: Value = try fields.optional(name) { self[keyPath: path] = value }
        }
        try set(\.source, "source")
        try set(\.contextLength, "contextLength")
        try set(\.weightBytesPerLayer, "weightBytesPerLayer")
        try set(\.deviceMemoryBytes, "deviceMemoryBytes")
        try set(\.hostMemoryBytes, "hostMemoryBytes")
        try set(\.copyBytesPerSecond, "copyBytesPerSecond")
        try set(\.diskBytesPerSecond, "diskBytesPerSecond")
        try set(\.linkBytesPerSecond, "linkBytesPerSecond")
        try set(\.linkSeconds, "linkSeconds")
        try set(\.passSeconds, "passSeconds")
        try set(\.promptTimes, "promptTimes")
        try set(\.stepTimes, "stepTimes")
        roofline = try fields.optional("roofline")
        try set(\.byteScale, "byteScale")
        try set(\.timeScale, "timeScale")
        try fields.finish()
        try validate()
    }

    /// The file's text.
    public var text: String {
        var fields = [
            field("format", quoted(Self.format)), field("name", quoted(name)),
            field("source", list(source.map(quoted))), field("layerCount", layerCount),
            field("vocabularyCount", vocabularyCount), field("contextLength", contextLength),
            field("hiddenRowBytes", hiddenRowBytes), field("kvBytesPerPositionAndLayer", kvBytesPerPositionAndLayer),
            field("weightBytesPerLayer", weightBytesPerLayer), field("deviceMemoryBytes", deviceMemoryBytes),
            field("hostMemoryBytes", hostMemoryBytes), field("copyBytesPerSecond", copyBytesPerSecond),
            field("diskBytesPerSecond", diskBytesPerSecond), field("linkBytesPerSecond", linkBytesPerSecond),
            field("linkSeconds", linkSeconds), field("passSeconds", passSeconds),
            field(
                "promptTimes",
                list(
                    promptTimes.map {
                        #"{ "sequences": \#($0.sequences), "tokens": \#($0.tokens), "seconds": \#($0.seconds) }"#
                    })),
            field(
                "stepTimes",
                list(
                    stepTimes.map {
                        #"{ "context": \#($0.context), "sequences": \#($0.sequences), "seconds": \#($0.seconds) }"#
                    })),
        ]
        if let roofline { fields.append(field("roofline", roofline.text)) }
        fields += [field("byteScale", byteScale), field("timeScale", timeScale)]
        return "{\n" + fields.map { "  " + $0 }.joined(separator: ",\n") + "\n}\n"
    }
}

extension ModelProfile.PromptTime: Decodable {
    public init(from decoder: any Decoder) throws {
        var fields = try StrictFields(decoder, of: "profile")
        self.init(
            sequences: try fields.optional("sequences") ?? 1, tokens: try fields.required("tokens"),
            seconds: try fields.required("seconds"))
        try fields.finish()
    }
}

extension ModelProfile.StepTime: Decodable {
    public init(from decoder: any Decoder) throws {
        var fields = try StrictFields(decoder, of: "profile")
        self.init(
            context: try fields.optional("context") ?? 1, sequences: try fields.required("sequences"),
            seconds: try fields.required("seconds"))
        try fields.finish()
    }
}

extension ModelProfile.Roofline: Decodable {
    public init(from decoder: any Decoder) throws {
        var fields = try StrictFields(decoder, of: "profile")
        self.init(
            operationsPerRowAndLayer: try fields.required("operationsPerRowAndLayer"),
            attentionOperationsPerPositionAndLayer: try fields.required("attentionOperationsPerPositionAndLayer"),
            operationsPerSecond: try fields.required("operationsPerSecond"),
            bytesPerSecond: try fields.required("bytesPerSecond"),
            operationEfficiency: try fields.optional("operationEfficiency") ?? 1,
            byteEfficiency: try fields.optional("byteEfficiency") ?? 1,
            layerSeconds: try fields.optional("layerSeconds") ?? 0)
        try fields.finish()
    }

    fileprivate var text: String {
        let fields = [
            field("operationsPerRowAndLayer", operationsPerRowAndLayer),
            field("attentionOperationsPerPositionAndLayer", attentionOperationsPerPositionAndLayer),
            field("operationsPerSecond", operationsPerSecond), field("bytesPerSecond", bytesPerSecond),
            field("operationEfficiency", operationEfficiency), field("byteEfficiency", byteEfficiency),
            field("layerSeconds", layerSeconds),
        ]
        return "{\n" + fields.map { "    " + $0 }.joined(separator: ",\n") + "\n  }"
    }
}

// MARK: JSON

private func field(_ name: String, _ value: some CustomStringConvertible) -> String { "\"\(name)\": \(value)" }

private func list(_ items: [String]) -> String {
    items.isEmpty ? "[]" : "[\n" + items.map { "    " + $0 }.joined(separator: ",\n") + "\n  ]"
}

private func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": quoted += "\\\""
        case "\\": quoted += "\\\\"
        case "\n": quoted += "\\n"
        case "\u{00}"..<"\u{20}":
            let digits = String(scalar.value, radix: 16)
            quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: quoted.unicodeScalars.append(scalar)
        }
    }
    return quoted + "\""
}
