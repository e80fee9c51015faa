package import DejaVuCore

/// How many tokens a request's prompt or answer has.
package enum LengthDistribution: Hashable, Sendable, Codable, CustomStringConvertible {
    case fixed(Int)
    /// Every length of the range alike.
    case uniform(Int, Int)
    /// Mean and standard deviation; cut at 1.
    case normal(Double, Double)
    /// Median, and standard deviation of the natural logarithm: the shape of chat traffic.
    case logNormal(Double, Double)

    /// The largest length that may be named.
    static let lengthMax = 10_000_000

    /// Reads `128`, `64-512`, `normal:MEAN,DEVIATION` or `lognormal:MEDIAN,SIGMA`.
    ///
    /// - Throws: `DejaVuError.invalidArgument` that says what is understood.
    package init(parsing text: String) throws {
        func bad() -> DejaVuError {
            DejaVuError(
                .invalidArgument,
                "'\(text)' is no length: write 128, 64-512, normal:MEAN,DEVIATION or lognormal:MEDIAN,SIGMA")
        }
        if let colon = text.firstIndex(of: ":") {
            let numbers = text[text.index(after: colon)...].split(separator: ",", omittingEmptySubsequences: false)
                .map { Double($0) }
            guard numbers.count == 2, let first = numbers[0], let second = numbers[1], first.isFinite, second.isFinite,
                first >= 1, first <= Double(Self.lengthMax), second >= 0, second <= Double(Self.lengthMax)
            else { throw bad() }
            switch text[..<colon] {
            case "normal": self = .normal(first, second)
            case "lognormal": self = .logNormal(first, second)
            default: throw bad()
            }
            return
        }
        let parts = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
        switch parts.count {
        case 1:
            guard let length = parts[0], (1...Self.lengthMax).contains(length) else { throw bad() }
            self = .fixed(length)
        case 2:
            guard let low = parts[0], let high = parts[1], 1 <= low, low <= high, high <= Self.lengthMax else {
                throw bad()
            }
            self = .uniform(low, high)
        default: throw bad()
        }
    }

    package var description: String {
        switch self {
        case .fixed(let length): String(length)
        case .uniform(let low, let high): "\(low)-\(high)"
        case .normal(let mean, let deviation): "normal:\(mean),\(deviation)"
        case .logNormal(let median, let sigma): "lognormal:\(median),\(sigma)"
        }
    }

    /// The next length, at least 1. Draws the same numbers from the generator whatever the kind, so that changing one
    /// distribution does not change what another draws.
    package func draw(from generator: inout SeededGenerator) -> Int {
        let first = generator.nextUnit()
        let second = generator.nextUnit()
        let length: Double =
            switch self {
            case .fixed(let length): Double(length)
            case .uniform(let low, let high): Double(low) + (first * Double(high - low + 1)).rounded(.down)
            case .normal(let mean, let deviation): mean + deviation * standardNormal(first, second)
            case .logNormal(let median, let sigma):
                median * CMath.exp(min(sigma * standardNormal(first, second), 20))
            }
        return max(1, Int(min(length.rounded(), Double(Self.lengthMax))))
    }
}

/// Box and Muller's transform of two uniform numbers.
private func standardNormal(_ first: Double, _ second: Double) -> Double {
    (-2 * CMath.log(1 - first)).squareRoot() * CMath.cos(2 * .pi * second)
}
