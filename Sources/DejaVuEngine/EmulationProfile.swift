public import DejaVuCore

/// A model on a device, as far as emulation needs it: shapes and times.
///
/// Times are those of the whole model on one device; a stage takes the share of its layers. A pass takes `passSeconds`,
/// plus `promptSecondsPerToken` for each row of an entry of several tokens, plus the time of a step with as many
/// sequences as the pass has entries of one token.
public struct EmulationProfile: Hashable, Codable, Sendable {
    /// How long a step takes for that many sequences at once.
    public struct StepTime: Hashable, Codable, Sendable {
        public var sequences: Int
        public var seconds: Double
        public init(sequences: Int, seconds: Double) {
            self.sequences = sequences
            self.seconds = seconds
        }
    }

    /// The model and the device, and where the figures come from.
    public var name: String
    public var layerCount: Int
    public var vocabularyCount: Int
    /// Bytes of a hidden row of the real model.
    public var hiddenRowBytes: Int
    /// Bytes of K and V of one position in one layer of the real model.
    public var kvBytesPerPositionAndLayer: Int
    /// Rows are this many times smaller in memory and on links than they are accounted for.
    public var byteScale: Int = 64
    /// Every time is multiplied by this: below 1 the emulation runs faster than the device.
    public var timeScale: Double = 1
    public var passSeconds: Double = 0
    public var promptSecondsPerToken: Double
    /// Ascending by sequences; linear between the entries and beyond the last, proportional below the first.
    public var stepTimes: [StepTime]

    public init(
        name: String, layerCount: Int, vocabularyCount: Int, hiddenRowBytes: Int, kvBytesPerPositionAndLayer: Int,
        promptSecondsPerToken: Double, stepTimes: [StepTime]
    ) {
        self.name = name
        self.layerCount = layerCount
        self.vocabularyCount = vocabularyCount
        self.hiddenRowBytes = hiddenRowBytes
        self.kvBytesPerPositionAndLayer = kvBytesPerPositionAndLayer
        self.promptSecondsPerToken = promptSecondsPerToken
        self.stepTimes = stepTimes
    }

    /// - Throws: `.invalidArgument` with the name of the first value that makes no sense.
    public func validate() throws(DejaVuError) {
        func require(_ condition: Bool, _ subject: String) throws(DejaVuError) {
            guard condition else {
                throw DejaVuError(.invalidArgument, "the profile '\(name)' has no usable \(subject)", subject: subject)
            }
        }
        func time(_ seconds: Double) -> Bool { seconds.isFinite && (0...3600).contains(seconds) }
        try require((1...10_000).contains(layerCount), "layerCount")
        try require((1...(1 << 24)).contains(vocabularyCount), "vocabularyCount")
        try require((1...(1 << 24)).contains(hiddenRowBytes), "hiddenRowBytes")
        try require((1...(1 << 24)).contains(kvBytesPerPositionAndLayer), "kvBytesPerPositionAndLayer")
        try require((1...(1 << 24)).contains(byteScale), "byteScale")
        try require(timeScale.isFinite && (0...1000).contains(timeScale), "timeScale")
        try require(time(passSeconds), "passSeconds")
        try require(time(promptSecondsPerToken), "promptSecondsPerToken")
        try require(stepTimes.count <= 1024, "stepTimes")
        for (index, step) in stepTimes.enumerated() {
            let before = index > 0 ? stepTimes[index - 1].sequences : 0
            try require(step.sequences > before && time(step.seconds), "stepTimes")
        }
    }

    /// How long a step of the whole model takes.
    public func stepSeconds(sequences: Int) -> Double {
        guard sequences > 0, let first = stepTimes.first, let last = stepTimes.last else { return 0 }
        let wanted = Double(sequences)
        if sequences <= first.sequences { return first.seconds * wanted / Double(first.sequences) }
        if let upper = stepTimes.firstIndex(where: { $0.sequences >= sequences }) {
            return Self.line(stepTimes[upper - 1], stepTimes[upper], at: wanted)
        }
        guard stepTimes.count >= 2 else { return last.seconds * wanted / Double(last.sequences) }
        return max(Self.line(stepTimes[stepTimes.count - 2], last, at: wanted), 0)
    }

    /// How long a stage computes for a pass.
    public func passTime(of pass: Pass, layers: LayerRange) -> TimeSpan {
        var promptRows = 0
        var steps = 0
        for entry in pass.entries {
            if entry.tokens.count == 1 { steps += 1 } else { promptRows += entry.tokens.count }
        }
        let whole = passSeconds + Double(promptRows) * promptSecondsPerToken + stepSeconds(sequences: steps)
        return .seconds(min(whole * Double(layers.count) / Double(layerCount) * timeScale, 1e6))
    }

    private static func line(_ left: StepTime, _ right: StepTime, at sequences: Double) -> Double {
        let share = (sequences - Double(left.sequences)) / Double(right.sequences - left.sequences)
        return left.seconds + (right.seconds - left.seconds) * share
    }

    /// Names the emulated model: every value that its texts or its accounting depend on.
    public var model: ModelID {
        let parts = [
            "emulated", "\(layerCount)", "\(vocabularyCount)", "\(hiddenRowBytes)", "\(kvBytesPerPositionAndLayer)",
        ]
        return ModelID(digest: "emulated-" + NumericClass(parts: parts).description)
    }

    /// The scale is in it, since rows of another scale have other bytes.
    public var numericClass: NumericClass { NumericClass(parts: [model.digest, "scale", "\(byteScale)"]) }

    /// Bytes of a hidden row on a link.
    public var scaledHiddenRowBytes: Int { Self.scaled(hiddenRowBytes, by: byteScale) }
    /// Bytes of a KV row in memory.
    public var scaledKVRowBytes: Int { Self.scaled(kvBytesPerPositionAndLayer, by: byteScale) }

    /// At least one word, and whole words.
    private static func scaled(_ bytes: Int, by scale: Int) -> Int { max((bytes / scale + 7) / 8 * 8, 8) }
}

extension EmulationProfile {
    /// A small model that takes no time at all: for tests of everything but time.
    public static let instant = EmulationProfile(
        name: "instant", layerCount: 12, vocabularyCount: 1000, hiddenRowBytes: 4096, kvBytesPerPositionAndLayer: 4096,
        promptSecondsPerToken: 0, stepTimes: [])
}
