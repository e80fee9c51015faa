#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// How an axis spreads its numbers.
package enum Scale: Hashable, Sendable {
    case linear
    /// Logarithmic with ticks at powers of ten.
    case log
    /// Logarithmic with ticks at powers of two, for thread counts and block sizes.
    case log2

    var isLogarithmic: Bool { self != .linear }

    /// Whether a number has a place on this scale.
    func accepts(_ value: Double) -> Bool { value.isFinite && (self == .linear || value > 0) }
}

/// A scale fixed to a domain of numbers and a range of coordinates.
struct ScaleMap: Hashable, Sendable {
    let scale: Scale
    let domain: ClosedRange<Double>
    let start: Double
    let end: Double

    /// - Precondition: the domain is not empty, finite, and positive where the scale is logarithmic.
    init(_ scale: Scale, domain: ClosedRange<Double>, start: Double, end: Double) {
        precondition(domain.lowerBound < domain.upperBound, "an axis needs some extent: \(domain)")
        precondition(
            scale.accepts(domain.lowerBound) && scale.accepts(domain.upperBound), "no such axis: \(domain), \(scale)")
        self.scale = scale
        self.domain = domain
        self.start = start
        self.end = end
    }

    /// The coordinate of a number; nil where it has none.
    func place(_ value: Double) -> Double? {
        guard scale.accepts(value) else { return nil }
        let share: Double =
            if scale == .linear {
                (value - domain.lowerBound) / (domain.upperBound - domain.lowerBound)
            } else {
                logarithm(value / domain.lowerBound) / logarithm(domain.upperBound / domain.lowerBound)
            }
        return start + share * (end - start)
    }

    func contains(_ value: Double) -> Bool {
        let slack = 1e-9 * (domain.upperBound - domain.lowerBound)
        return value >= domain.lowerBound - slack && value <= domain.upperBound + slack
    }
}

func logarithm(_ value: Double) -> Double {
    #if canImport(Darwin)
        Darwin.log(value)
    #elseif canImport(Musl)
        Musl.log(value)
    #else
        Glibc.log(value)
    #endif
}
