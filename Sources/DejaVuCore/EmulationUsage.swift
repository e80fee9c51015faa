/// Whether an emulation could keep its times: totals over the passes of one or several engines.
public struct EmulationUsage: Hashable, Codable, Sendable {
    public var passes: Int = 0
    /// Passes that ended later than 2% of their time after it.
    public var latePasses: Int = 0
    /// How long the emulated devices computed.
    public var emulated: TimeSpan = .zero
    /// The processor time that emulating it took.
    public var processor: TimeSpan = .zero
    /// Committed rows that a pass computed again and got other bits for. Must stay 0.
    public var rewriteMismatches: Int = 0
    public init() {}
    /// Sums stay here, so that no number of workers makes them overflow.
    private static let timeMax = TimeSpan(nanoseconds: 1 << 61)

    public var lateShare: Double { passes == 0 ? 0 : Double(latePasses) / Double(passes) }
    /// Processor time of an engine's thread per emulated time.
    public var processorShare: Double { emulated > .zero ? processor.seconds / emulated.seconds : 0 }
    /// Above this the figures of a run mean nothing.
    public var isValid: Bool { lateShare <= 0.01 && processorShare <= 0.8 && rewriteMismatches == 0 }

    public static func + (left: EmulationUsage, right: EmulationUsage) -> EmulationUsage {
        var sum = left
        sum.passes += right.passes
        sum.latePasses += right.latePasses
        sum.emulated = min(sum.emulated + right.emulated, Self.timeMax)
        sum.processor = min(sum.processor + right.processor, Self.timeMax)
        sum.rewriteMismatches += right.rewriteMismatches
        return sum
    }
}
