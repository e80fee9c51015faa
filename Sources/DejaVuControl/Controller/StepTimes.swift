import DejaVuCore

/// How long a stage takes for a step of so many sequences: a straight line through what was measured, of which older
/// values count less and less.
struct StepTimes: Hashable {
    private var weight = 0.0
    private var sumX = 0.0
    private var sumY = 0.0
    private var sumXX = 0.0
    private var sumXY = 0.0

    /// What a value counts after one more: about the last thousand matter.
    private static let decay = 0.999

    var isEmpty: Bool { weight == 0 }

    mutating func add(sequences: Int, _ time: TimeSpan) {
        let x = Double(sequences)
        let y = time.seconds
        weight = weight * Self.decay + 1
        sumX = sumX * Self.decay + x
        sumY = sumY * Self.decay + y
        sumXX = sumXX * Self.decay + x * x
        sumXY = sumXY * Self.decay + x * y
    }

    /// Where all were of one size, another is assumed to take as long: a step reads all weights, whoever is in it.
    func seconds(sequences: Double) -> Double {
        guard weight > 0 else { return 0 }
        let meanX = sumX / weight
        let meanY = sumY / weight
        let variance = sumXX / weight - meanX * meanX
        guard variance > 0.01 * meanX * meanX else { return meanY }
        let slope = max(0, (sumXY / weight - meanX * meanY) / variance)
        return max(meanY + slope * (sequences - meanX), meanY / 1000)
    }
}
