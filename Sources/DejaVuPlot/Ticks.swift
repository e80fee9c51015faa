/// A marked place of an axis; minor ones have a grid line but no text.
struct Tick: Hashable, Sendable {
    let value: Double
    let text: String
    var isMinor: Bool { text.isEmpty }
}

/// Chooses round numbers for an axis.
enum Ticks {
    /// The domain widened to whole steps, so that the outermost grid lines frame the data.
    static func widened(_ domain: ClosedRange<Double>, _ scale: Scale, _ style: ValueStyle, count: Int)
        -> ClosedRange<Double>
    {
        guard scale == .linear else { return widenedLogarithmic(domain, base: scale == .log2 ? 2 : 10) }
        var result = domain
        // A wider domain may want a larger step, which widens it again; this ends as the steps grow in leaps.
        for _ in 0..<4 {
            let step = linearStep(result, style, count: count)
            let lower = (result.lowerBound / step + 1e-9).rounded(.down) * step
            let upper = (result.upperBound / step - 1e-9).rounded(.up) * step
            result = lower...max(upper, lower + step)
        }
        return result
    }

    /// The ticks within a domain; about `count` of them have text.
    static func make(_ domain: ClosedRange<Double>, _ scale: Scale, _ style: ValueStyle, count: Int) -> [Tick] {
        switch scale {
        case .linear: linear(domain, style, count: count)
        case .log: decades(domain, style, count: count)
        case .log2: octaves(domain, style, count: count)
        }
    }

    private static func linear(_ domain: ClosedRange<Double>, _ style: ValueStyle, count: Int) -> [Tick] {
        let step = linearStep(domain, style, count: count)
        let unit = axisUnit(domain, style)
        let places = decimals(of: step / unit.factor)
        let first = Int((domain.lowerBound / step - 1e-9).rounded(.up))
        let last = Int((domain.upperBound / step + 1e-9).rounded(.down))
        guard first <= last, last - first <= 200 else { return [] }
        return (first...last).map { index in
            let value = Double(index) * step
            let number = NumberText.decimal(value / unit.factor, places: places)
            return Tick(value: value, text: index == 0 && style != .share ? "0" : number + unit.suffix)
        }
    }

    /// 1, 2 or 5 times a power of ten in the unit of the axis; in bytes a power of two.
    private static func linearStep(_ domain: ClosedRange<Double>, _ style: ValueStyle, count: Int) -> Double {
        let unit = axisUnit(domain, style)
        let extent = (domain.upperBound - domain.lowerBound) / unit.factor
        let wanted = extent / Double(max(count, 1))
        guard wanted > 0, wanted.isFinite else { return unit.factor }
        if style == .bytes, wanted >= 1 {
            var step = 1.0
            while step < wanted / 1.4 { step *= 2 }
            return step * unit.factor
        }
        let power = NumberText.powerOfTen(NumberText.decimalExponent(wanted))
        // A few ticks more than asked for are better than one or two.
        let lead = [1.0, 2, 5].first { $0 * power >= wanted / 1.4 } ?? 10
        return lead * power * unit.factor
    }

    private static func axisUnit(_ domain: ClosedRange<Double>, _ style: ValueStyle) -> ValueStyle.Unit {
        let largest = max(domain.lowerBound.magnitude, domain.upperBound.magnitude)
        let patience: Double =
            switch style {
            case .number: 10
            case .seconds: largest > 60 ? 5 : 2
            case .bytes, .share: 1
            }
        return style.unit(for: largest, patience: patience)
    }

    private static func decimals(of step: Double) -> Int {
        guard step > 0, step.isFinite else { return 0 }
        return max(0, -NumberText.decimalExponent(step))
    }

    private static func widenedLogarithmic(_ domain: ClosedRange<Double>, base: Double) -> ClosedRange<Double> {
        var lower = 1.0
        while lower > domain.lowerBound * (1 + 1e-9) { lower /= base }
        while lower * base <= domain.lowerBound * (1 + 1e-9) { lower *= base }
        var upper = lower
        while upper < domain.upperBound * (1 - 1e-9) { upper *= base }
        if base == 10 {
            // Two thirds of an empty decade would waste the picture: 2 and 5 frame it as well as 1.
            for lead in [5.0, 2] where lower * lead <= domain.lowerBound * (1 + 1e-9) {
                lower *= lead
                break
            }
            for lead in [5.0, 2] where upper / lead >= domain.upperBound * (1 - 1e-9) {
                upper = upper / lead
                break
            }
        }
        return lower...max(upper, lower * base)
    }

    private static func decades(_ domain: ClosedRange<Double>, _ style: ValueStyle, count: Int) -> [Tick] {
        let first = NumberText.decimalExponent(domain.lowerBound)
        let last = NumberText.decimalExponent(domain.upperBound)
        let decadeCount = max(1, last - first)
        let labelled: Set<Int> = count * 3 >= decadeCount * 5 ? [1, 2, 5] : [1]
        let stride = max(1, (decadeCount + count - 1) / max(count, 1))
        var ticks: [Tick] = []
        for exponent in first...last {
            for lead in 1...9 {
                let value = Double(lead) * NumberText.powerOfTen(exponent)
                guard value >= domain.lowerBound * (1 - 1e-9), value <= domain.upperBound * (1 + 1e-9) else { continue }
                let speaks = labelled.contains(lead) && (exponent - first) % stride == 0
                if !speaks, decadeCount > 6 { continue }
                ticks.append(Tick(value: value, text: speaks ? style.tickText(value) : ""))
            }
        }
        return ticks
    }

    private static func octaves(_ domain: ClosedRange<Double>, _ style: ValueStyle, count: Int) -> [Tick] {
        var value = 1.0
        while value > domain.lowerBound * (1 + 1e-9) { value /= 2 }
        while value < domain.lowerBound * (1 - 1e-9) { value *= 2 }
        var values: [Double] = []
        while value <= domain.upperBound * (1 + 1e-9) {
            values.append(value)
            value *= 2
        }
        let stride = max(1, (values.count + count - 1) / max(count, 1))
        return values.enumerated().map { index, value in
            Tick(value: value, text: index % stride == 0 ? style.tickText(value) : "")
        }
    }
}

extension ValueStyle {
    /// A round number alone on a logarithmic axis, in its own unit.
    func tickText(_ value: Double) -> String {
        let unit = unit(for: value, patience: 1)
        return NumberText.decimal(value / unit.factor, places: 6, trimmed: true) + unit.suffix
    }
}
