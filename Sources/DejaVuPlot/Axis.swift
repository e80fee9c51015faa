/// What one direction of a chart shows.
package struct Axis: Hashable, Sendable {
    /// Written beside the axis; may be empty.
    package var label: String
    package var scale: Scale
    package var style: ValueStyle
    /// The numbers to show. nil takes the data's, widened to round ones.
    package var range: ClosedRange<Double>?
    /// Whether the data's range is widened to reach zero; a length or an area that does not start there lies.
    package var includesZero: Bool

    package init(
        _ label: String = "", scale: Scale = .linear, style: ValueStyle = .number, range: ClosedRange<Double>? = nil,
        includesZero: Bool = false
    ) {
        self.label = label
        self.scale = scale
        self.style = style
        self.range = range
        self.includesZero = includesZero
    }

    /// The domain that shows these values, widened to round numbers. An axis without data still has one.
    func domain(of values: some Sequence<Double>, tickCount: Int, widens: Bool = true) -> ClosedRange<Double> {
        if let range, range.lowerBound < range.upperBound, scale.accepts(range.lowerBound),
            scale.accepts(range.upperBound)
        {
            return range
        }
        var least = Double.infinity
        var greatest = -Double.infinity
        for value in values where scale.accepts(value) && value.magnitude < 1e15 {
            least = min(least, value)
            greatest = max(greatest, value)
        }
        if least > greatest { (least, greatest) = scale.isLogarithmic ? (1, 10) : (0, 1) }
        if includesZero, !scale.isLogarithmic {
            least = min(least, 0)
            greatest = max(greatest, 0)
        }
        if greatest - least <= greatest.magnitude * 1e-12 {
            // One value alone: give it room on both sides.
            if scale.isLogarithmic {
                (least, greatest) = (least / 2, greatest * 2)
            } else {
                let room = greatest == 0 ? 1 : greatest.magnitude / 2
                (least, greatest) = (least - room, greatest + room)
            }
        }
        return widens ? Ticks.widened(least...greatest, scale, style, count: tickCount) : least...greatest
    }
}

/// A line across a chart at a number that matters: a limit, a baseline, the moment of a failure.
package struct Reference: Hashable, Sendable {
    package enum Direction: Hashable, Sendable {
        /// At a number of the x axis.
        case vertical
        /// At a number of the y axis.
        case horizontal
    }
    package let direction: Direction
    package let value: Double
    package let label: String

    package init(_ direction: Direction, at value: Double, label: String = "") {
        self.direction = direction
        self.value = value
        self.label = label
    }
}
