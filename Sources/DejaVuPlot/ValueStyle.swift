/// What the numbers of an axis are, and so how they are written.
package enum ValueStyle: Hashable, Sendable {
    /// A plain number; thousands become k, M, G.
    case number
    /// Seconds, written in the unit that fits: 20 ms, 1.5 s, 3 min.
    case seconds
    /// Bytes in binary units.
    case bytes
    /// A share of one, written in percent.
    case share

    /// A unit of the style: `factor` of the axis's numbers make one of it.
    struct Unit: Hashable, Sendable {
        let factor: Double
        let suffix: String
    }

    /// From small to large.
    private var units: [Unit] {
        switch self {
        case .number:
            [
                Unit(factor: 1, suffix: ""), Unit(factor: 1e3, suffix: "k"), Unit(factor: 1e6, suffix: "M"),
                Unit(factor: 1e9, suffix: "G"), Unit(factor: 1e12, suffix: "T"),
            ]
        case .seconds:
            [
                Unit(factor: 1e-9, suffix: " ns"), Unit(factor: 1e-6, suffix: " µs"), Unit(factor: 1e-3, suffix: " ms"),
                Unit(factor: 1, suffix: " s"), Unit(factor: 60, suffix: " min"), Unit(factor: 3600, suffix: " h"),
            ]
        case .bytes:
            [
                Unit(factor: 1, suffix: " B"), Unit(factor: 0x1p10, suffix: " KiB"),
                Unit(factor: 0x1p20, suffix: " MiB"),
                Unit(factor: 0x1p30, suffix: " GiB"), Unit(factor: 0x1p40, suffix: " TiB"),
            ]
        case .share:
            [Unit(factor: 0.01, suffix: "%")]
        }
    }

    /// The unit in which `value` is best written; `patience` is how many of a unit are still written in it before the
    /// next one is taken.
    func unit(for value: Double, patience: Double) -> Unit {
        let all = units
        // Plain numbers and seconds may be far below their first unit and are then written as fractions of it.
        var chosen = all[0]
        for unit in all.dropFirst() where value.magnitude >= unit.factor * patience * (1 - 1e-9) { chosen = unit }
        return chosen
    }

    /// One value by itself, with its unit, to three significant digits.
    package func text(_ value: Double) -> String {
        guard value.isFinite else { return NumberText.decimal(value, places: 0) }
        if value == 0 { return self == .share ? "0%" : "0" }
        let patience: Double = self == .seconds && value.magnitude >= 60 ? 2 : (self == .number ? 10 : 1)
        let unit = unit(for: value, patience: patience)
        return NumberText.significant(value / unit.factor) + unit.suffix
    }
}
