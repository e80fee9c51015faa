/// Groups of bars, one group for each category and in it one bar for each series. Bars start at zero.
package struct BarChart: Panel {
    /// The bars of one colour.
    package struct Bars: Hashable, Sendable {
        package var name: String
        /// One for each category; nil where there is no measurement, which is shown as such.
        package var values: [Double?]
        /// Where given, one whisker for each category.
        package var spreads: [ClosedRange<Double>?]
        package var colour: Int?

        package init(
            _ name: String, _ values: [Double?], spreads: [ClosedRange<Double>?] = [], colour: Int? = nil
        ) {
            self.name = name
            self.values = values
            self.spreads = spreads
            self.colour = colour
        }
    }

    package var title: String
    package var xLabel: String
    package var yAxis: Axis
    package var categories: [String]
    package var bars: [Bars]
    package var references: [Reference]
    /// Whether each bar carries its number.
    package var showsValues: Bool

    /// - Precondition: every series has one value for each category; the axis is linear, since a bar on a logarithmic
    ///   one has no honest length.
    package init(
        title: String = "", xLabel: String = "", y yAxis: Axis, categories: [String], bars: [Bars],
        references: [Reference] = [], showsValues: Bool = true
    ) {
        precondition(yAxis.scale == .linear, "bars need a linear axis")
        precondition(bars.allSatisfy { $0.values.count == categories.count }, "one value for each category")
        precondition(
            bars.allSatisfy { $0.spreads.isEmpty || $0.spreads.count == categories.count }, "one spread for each")
        self.title = title
        self.xLabel = xLabel
        self.yAxis = yAxis
        self.categories = categories
        self.bars = bars
        self.references = references
        self.showsValues = showsValues
    }

    package var summary: String {
        let groups = categories.enumerated().map { index, category in
            let values = bars.map { one in
                "\(one.name) \(one.values[index].map(yAxis.style.text) ?? "not measured")"
            }
            return "\(category): \(values.joined(separator: ", "))"
        }
        return "\(title.isEmpty ? "Bars" : title): \(yAxis.label). " + groups.joined(separator: "; ")
    }

    package func draw(in frame: Rectangle, on canvas: inout Canvas) {
        let legend = Legend(
            entries: bars.count < 2
                ? []
                : bars.enumerated().map { Legend.Entry(name: $1.name, colour: $1.colour ?? $0, isBox: true) })
        legend.draw(in: frame, on: &canvas)
        var plotArea = frame.inset(top: legend.height(width: frame.width))
        let bandWidth = (plotArea.width - 60) / Double(max(1, categories.count))
        let names = categories.map { TextMetrics.wrapped($0, size: 12, width: bandWidth - 8, lines: 3) }
        let nameHeight = Double(names.map(\.count).max() ?? 0) * 15
        let labelHeight = nameHeight + (xLabel.isEmpty ? 0 : 18)
        plotArea = plotArea.inset(bottom: labelHeight)

        var axis = yAxis
        axis.includesZero = true
        // The numbers at the bars' ends need room too.
        let headroom = showsValues ? 1.07 : 1
        let values = bars.flatMap { one in
            (one.values.compactMap { $0 } + one.spreads.compactMap { $0 }.flatMap { [$0.lowerBound, $0.upperBound] })
                .map { $0 * headroom }
        }
        let plot = PlotFrame(
            in: plotArea, xAxis: Axis(range: 0...Double(max(1, categories.count))), yAxis: axis, xValues: [],
            yValues: values + references.filter { $0.direction == .horizontal }.map(\.value), showsXTicks: false)
        plot.drawAxes(on: &canvas, verticalGrid: false)
        let band = plot.area.width / Double(max(1, categories.count))
        for index in categories.indices {
            let left = plot.area.x + Double(index) * band
            drawGroup(index, in: Rectangle(x: left, y: plot.area.y, width: band, height: 1), plot, on: &canvas)
            for (line, text) in names[index].enumerated() {
                canvas.text(
                    text, at: Point(x: left + band / 2, y: plot.area.bottom + 17 + Double(line) * 15), size: 12,
                    anchor: .middle)
            }
        }
        canvas.text(
            xLabel, at: Point(x: plot.area.middleX, y: plot.area.bottom + nameHeight + 20), class: "dj-soft", size: 12,
            anchor: .middle)
        plot.draw(references.filter { $0.direction == .horizontal }, on: &canvas)
    }

    private func drawGroup(_ category: Int, in band: Rectangle, _ plot: PlotFrame, on canvas: inout Canvas) {
        let slot = min(band.width * 0.76 / Double(max(1, bars.count)), 72)
        let width = max(1, slot - min(3, slot * 0.12))
        let start = band.middleX - slot * Double(bars.count) / 2
        guard let zero = plot.y.place(0) else { return }
        for (index, one) in bars.enumerated() {
            let x = start + Double(index) * slot + (slot - width) / 2
            guard let value = one.values[category], value.isFinite, let top = plot.y.place(value) else {
                canvas.text(
                    "n/a", at: Point(x: x + width / 2, y: zero - 4), class: "dj-soft", size: 10, anchor: .middle)
                continue
            }
            let colour = one.colour ?? index
            let text = yAxis.style.text(value)
            canvas.rectangle(
                Rectangle(x: x, y: min(top, zero), width: width, height: abs(zero - top)), class: Theme.fill(colour),
                corner: min(2, width / 4), tooltip: "\(categories[category]), \(one.name): \(text)")
            var textTop = min(top, zero)
            if !one.spreads.isEmpty, let spread = one.spreads[category], let low = plot.y.place(spread.lowerBound),
                let high = plot.y.place(spread.upperBound)
            {
                let middle = x + width / 2
                canvas.line(from: Point(x: middle, y: low), to: Point(x: middle, y: high), class: "dj-ref", width: 1.5)
                for y in [low, high] {
                    canvas.line(
                        from: Point(x: middle - 4, y: y), to: Point(x: middle + 4, y: y), class: "dj-ref", width: 1.5)
                }
                textTop = min(textTop, high)
            }
            if showsValues, TextMetrics.width(text, size: 10) <= slot + 6 {
                let y = value < 0 ? max(top, zero) + 12 : textTop - 4
                canvas.text(text, at: Point(x: x + width / 2, y: y), size: 10, anchor: .middle, halo: true)
            }
        }
    }
}
