/// One measured place of a series; `spread` draws a whisker.
package struct Datum: Hashable, Sendable {
    package var x: Double
    package var y: Double
    package var spread: ClosedRange<Double>?

    package init(_ x: Double, _ y: Double, spread: ClosedRange<Double>? = nil) {
        self.x = x
        self.y = y
        self.spread = spread
    }
}

/// One line, staircase or cloud of a chart.
package struct Series: Hashable, Sendable {
    package enum Shape: Hashable, Sendable {
        case line
        case lineAndPoints
        case points
        /// A value holds from its x to the next one's.
        case step
        /// A line with the ground below it filled.
        case area
    }

    package var name: String
    package var data: [Datum]
    package var shape: Shape
    /// Which of the theme's colours; nil takes the series' index in its chart.
    package var colour: Int?
    package var isDashed: Bool

    /// - Parameter data: drawn in this order. What has no place on the axes (not finite, or not positive on a
    ///   logarithmic one) interrupts the line.
    package init(
        _ name: String, _ data: [Datum], shape: Shape = .line, colour: Int? = nil, isDashed: Bool = false
    ) {
        self.name = name
        self.data = data
        self.shape = shape
        self.colour = colour
        self.isDashed = isDashed
    }

    /// The empirical distribution of samples: at each value, the share of samples that are at most that.
    package static func cumulative(_ name: String, of samples: [Double], colour: Int? = nil) -> Series {
        let sorted = samples.filter(\.isFinite).sorted()
        let count = Double(sorted.count)
        var data: [Datum] = []
        if let first = sorted.first { data.append(Datum(first, 0)) }
        for (index, value) in sorted.enumerated() {
            // Equal samples make one step.
            if index + 1 < sorted.count, sorted[index + 1] == value { continue }
            data.append(Datum(value, Double(index + 1) / count))
        }
        return Series(name, data, shape: .step, colour: colour)
    }
}
