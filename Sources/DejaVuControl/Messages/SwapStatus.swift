package import DejaVuCore

/// What a pipeline does with the memory below its devices.
package struct SwapStatus: Hashable, Codable, Sendable {
    /// Per layer, of `cellsTotal`: what each device holds at one time.
    package var cellsResident: Int
    /// Whether sequences take turns on the devices when these cannot hold all.
    package var isOn: Bool
    /// Whether they cannot now.
    package var isNeeded: Bool
    /// Whether nobody asks if it pays.
    package var wasAskedFor: Bool
    /// What was last compared; nil as long as nothing was.
    package var estimate: SwapEstimate?
    /// Over the workers of all stages, since their start.
    package var usage: SwapUsage
    /// Sequences that keep what they have below the devices until others have ended, since swapping is off.
    package var sequencesWaiting: Int

    /// Why it is on or off.
    package var reason: String {
        if wasAskedFor { return "it was asked for" }
        return estimate?.reason(isOn: isOn) ?? "it has not been needed"
    }
}

/// What a stage's passes would take with and without swapping, as measured: see the paper's condition, section 4.2.2.
package struct SwapEstimate: Hashable, Codable, Sendable {
    /// Sequences of one pass.
    package let sequencesWith: Double
    package let sequencesWithout: Double
    /// How long a stage computes for it.
    package let stepWith: TimeSpan
    package let stepWithout: TimeSpan
    /// How long it takes to bring the rows of one pass in.
    package let fetch: TimeSpan

    /// Of one stage, per second.
    package var tokensWith: Double { sequencesWith / max(stepWith, fetch, Self.least).seconds }
    package var tokensWithout: Double { sequencesWithout / max(stepWithout, Self.least).seconds }

    private static let least = TimeSpan.microseconds(1)

    package func reason(isOn: Bool) -> String {
        func number(_ value: Double) -> String { "\((min(value, 1e12) * 10).rounded() / 10)" }
        return "\(number(sequencesWith)) sequences a pass compute for \(number(stepWith.seconds * 1000)) ms and are"
            + " brought in in \(number(fetch.seconds * 1000)) ms, the \(number(sequencesWithout)) that fit compute for"
            + " \(number(stepWithout.seconds * 1000)) ms: \(isOn ? "swapping" : "not swapping") gives more tokens"
    }
}
