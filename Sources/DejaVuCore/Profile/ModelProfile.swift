/// A model on a machine: shapes, memories, bandwidths and times. Emulated devices take their times from it, and so do
/// the planner and the simulations.
///
/// Times are those of the whole model on one machine; a stage takes the share of its layers. They are either measured
/// (`promptTimes` and `stepTimes`) or computed from a `roofline`; with neither a pass takes `passSeconds` alone.
public struct ModelProfile: Hashable, Sendable {
    /// How long prompts of that many tokens each take that run in one pass.
    public struct PromptTime: Hashable, Sendable {
        public var sequences: Int
        public var tokens: Int
        public var seconds: Double
        public init(sequences: Int = 1, tokens: Int, seconds: Double) {
            self.sequences = sequences
            self.tokens = tokens
            self.seconds = seconds
        }
    }

    /// How long a step takes for that many sequences of that many positions each.
    public struct StepTime: Hashable, Sendable {
        public var context: Int
        public var sequences: Int
        public var seconds: Double
        public init(context: Int = 1, sequences: Int, seconds: Double) {
            self.context = context
            self.sequences = sequences
            self.seconds = seconds
        }
    }

    /// A machine that computes and reads at the same time, each at a share of its peak: a layer takes the longer of
    /// the two, plus `layerSeconds`.
    public struct Roofline: Hashable, Sendable {
        /// For one row: two for each weight.
        public var operationsPerRowAndLayer: Double
        /// For one row and one position that it attends to.
        public var attentionOperationsPerPositionAndLayer: Double
        /// Peaks of the machine.
        public var operationsPerSecond: Double
        public var bytesPerSecond: Double
        /// The shares of the peaks that are reached.
        public var operationEfficiency: Double
        public var byteEfficiency: Double
        /// What a layer takes besides, in every pass.
        public var layerSeconds: Double

        public init(
            operationsPerRowAndLayer: Double, attentionOperationsPerPositionAndLayer: Double,
            operationsPerSecond: Double, bytesPerSecond: Double, operationEfficiency: Double = 1,
            byteEfficiency: Double = 1, layerSeconds: Double = 0
        ) {
            self.operationsPerRowAndLayer = operationsPerRowAndLayer
            self.attentionOperationsPerPositionAndLayer = attentionOperationsPerPositionAndLayer
            self.operationsPerSecond = operationsPerSecond
            self.bytesPerSecond = bytesPerSecond
            self.operationEfficiency = operationEfficiency
            self.byteEfficiency = byteEfficiency
            self.layerSeconds = layerSeconds
        }
    }

    /// The model and the machine.
    public var name: String
    /// Where the figures come from and what was assumed, a line each.
    public var source: [String] = []

    public var layerCount: Int
    public var vocabularyCount: Int
    public var contextLength: Int = 32_768
    /// Bytes of a hidden row of the real model.
    public var hiddenRowBytes: Int
    /// Bytes of K and V of one position in one layer of the real model.
    public var kvBytesPerPositionAndLayer: Int
    public var weightBytesPerLayer: Int = 0

    /// For weights and KV; 0 where nobody has said.
    public var deviceMemoryBytes: Int = 0
    /// Beside the device's own; 0 where both are one memory.
    public var hostMemoryBytes: Int = 0
    /// Bandwidths; 0 where nobody has said. `copyBytesPerSecond` is between device and host, each way.
    public var copyBytesPerSecond: Double = 0
    public var diskBytesPerSecond: Double = 0
    public var linkBytesPerSecond: Double = 0
    /// One way between two machines, whatever the size.
    public var linkSeconds: Double = 0

    /// In every pass of the whole model, besides all else.
    public var passSeconds: Double = 0
    /// Ascending by sequences, then by tokens.
    public var promptTimes: [PromptTime] = []
    /// Ascending by context, then by sequences.
    public var stepTimes: [StepTime] = []
    public var roofline: Roofline?

    /// Emulation keeps rows this many times smaller in memory and on links than they are accounted for.
    public var byteScale: Int = 64
    /// Emulation multiplies every time by this: below 1 it runs faster than the machine.
    public var timeScale: Double = 1

    public init(
        name: String, layerCount: Int, vocabularyCount: Int, hiddenRowBytes: Int, kvBytesPerPositionAndLayer: Int
    ) {
        self.name = name
        self.layerCount = layerCount
        self.vocabularyCount = vocabularyCount
        self.hiddenRowBytes = hiddenRowBytes
        self.kvBytesPerPositionAndLayer = kvBytesPerPositionAndLayer
    }
}

extension ModelProfile {
    /// Names the emulated model: every value that its texts or its accounting depend on.
    public var model: ModelID {
        let parts = [
            "emulated", "\(layerCount)", "\(vocabularyCount)", "\(hiddenRowBytes)", "\(kvBytesPerPositionAndLayer)",
        ]
        return ModelID(digest: "emulated-" + NumericClass(parts: parts).description)
    }

    /// The scale is in it, since rows of another scale have other bytes.
    public var numericClass: NumericClass { NumericClass(parts: [model.digest, "scale", "\(byteScale)"]) }

    /// Bytes of a hidden row on an emulated link.
    public var scaledHiddenRowBytes: Int { Self.scaled(hiddenRowBytes, by: byteScale) }
    /// Bytes of a KV row in the memory of an emulated device.
    public var scaledKVRowBytes: Int { Self.scaled(kvBytesPerPositionAndLayer, by: byteScale) }

    /// At least one word, and whole words.
    private static func scaled(_ bytes: Int, by scale: Int) -> Int { max((bytes / scale + 7) / 8 * 8, 8) }
}
