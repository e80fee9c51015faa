package import DejaVuCore

/// How long a stage takes for a pass of a size, in sequences or rows: a straight line through what was measured, of
/// which older values count less and less.
package struct PassTimes: Hashable, Sendable {
    private var weight = 0.0
    private var sumX = 0.0
    private var sumY = 0.0
    private var sumXX = 0.0
    private var sumXY = 0.0

    /// What a value counts after one more: about the last thousand matter.
    private static let decay = 0.999

    var isEmpty: Bool { weight == 0 }

    package init() {}

    package mutating func add(size: Int, _ time: TimeSpan) {
        let x = Double(size)
        let y = time.seconds
        weight = weight * Self.decay + 1
        sumX = sumX * Self.decay + x
        sumY = sumY * Self.decay + y
        sumXX = sumXX * Self.decay + x * x
        sumXY = sumXY * Self.decay + x * y
    }

    /// Where all were of one size, another is assumed to take as long: a pass reads all weights, whoever is in it.
    func seconds(size: Double) -> Double {
        guard weight > 0 else { return 0 }
        let (meanX, meanY) = (sumX / weight, sumY / weight)
        guard let slope else { return meanY }
        return max(meanY + slope * (size - meanX), meanY / 1000)
    }

    /// The size at which a pass takes twice as long as one of nothing; nil as long as that cannot be told.
    package var fixedSize: Double? {
        guard let slope, slope > 0 else { return nil }
        return max(0, sumY / weight / slope - sumX / weight)
    }

    /// nil if all were of about one size.
    private var slope: Double? {
        guard weight > 0 else { return nil }
        let (meanX, meanY) = (sumX / weight, sumY / weight)
        let variance = sumXX / weight - meanX * meanX
        guard variance > 0.01 * meanX * meanX else { return nil }
        return max(0, (sumXY / weight - meanX * meanY) / variance)
    }

    /// How many rows of prompts a pass should have where so many are to be run over passes that follow each other
    /// through so many stages. Small ones pay for a pass more often; large ones keep the stages behind waiting for the
    /// first, and those before with nothing to do behind the last. The sum of both is least at the root.
    ///
    /// - Returns: nil as long as that cannot be told.
    package func chunk(of rows: Int, stages: Int) -> Int? {
        guard let fixedSize, stages > 1 else { return nil }
        return Int((Double(rows) * fixedSize / Double(stages - 1)).squareRoot().rounded(.up))
    }
}
