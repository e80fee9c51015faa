/// The axes of a chart: where its data goes and what is written around it.
struct PlotFrame {
    static let tickSize = 11.0
    static let labelSize = 12.0

    let area: Rectangle
    let x: ScaleMap
    let y: ScaleMap
    private let xTicks: [Tick]
    private let yTicks: [Tick]
    private let xLabel: String
    private let yLabel: String

    /// - Parameters:
    ///   - rightMargin: kept free for labels beside the lines.
    ///   - showsXTicks: false where the axis counts categories and has no numbers; likewise for y.
    init(
        in frame: Rectangle, xAxis: Axis, yAxis: Axis, xValues: [Double], yValues: [Double], rightMargin: Double = 0,
        showsXTicks: Bool = true, showsYTicks: Bool = true
    ) {
        let yLabelHeight = yAxis.label.isEmpty ? 8.0 : 22
        let xLabelHeight = (showsXTicks ? 18.0 : 4) + (xAxis.label.isEmpty ? 2 : 18)
        let yCount = max(2, Int((frame.height - yLabelHeight - xLabelHeight) / 44))
        let yDomain = yAxis.domain(of: yValues, tickCount: yCount)
        let yTicks = showsYTicks ? Ticks.make(yDomain, yAxis.scale, yAxis.style, count: yCount) : []
        let tickWidth = yTicks.map { TextMetrics.width($0.text, size: PlotFrame.tickSize) }.max() ?? 0
        let area = frame.inset(left: tickWidth + 8, top: yLabelHeight, right: rightMargin + 8, bottom: xLabelHeight)

        var xCount = max(2, Int(area.width / 72))
        let xDomain = xAxis.domain(of: xValues, tickCount: xCount, widens: xAxis.scale.isLogarithmic)
        var xTicks = showsXTicks ? Ticks.make(xDomain, xAxis.scale, xAxis.style, count: xCount) : []
        let x = ScaleMap(xAxis.scale, domain: xDomain, start: area.x, end: area.right)
        // Fewer ticks until their texts stand apart.
        while xCount > 1, PlotFrame.overlap(xTicks, on: x) {
            xCount -= 1
            xTicks = Ticks.make(xDomain, xAxis.scale, xAxis.style, count: xCount)
        }
        self.area = area
        self.x = x
        self.y = ScaleMap(yAxis.scale, domain: yDomain, start: area.bottom, end: area.y)
        self.xTicks = xTicks
        self.yTicks = yTicks
        self.xLabel = xAxis.label
        self.yLabel = yAxis.label
    }

    private static func overlap(_ ticks: [Tick], on map: ScaleMap) -> Bool {
        var lastEnd = -Double.infinity
        for tick in ticks where !tick.isMinor {
            guard let place = map.place(tick.value) else { continue }
            let half = TextMetrics.width(tick.text, size: tickSize) / 2
            if place - half < lastEnd + 6 { return true }
            lastEnd = place + half
        }
        return false
    }

    func drawAxes(on canvas: inout Canvas, verticalGrid: Bool = true) {
        for tick in yTicks {
            guard let place = y.place(tick.value) else { continue }
            canvas.line(
                from: Point(x: area.x, y: place), to: Point(x: area.right, y: place), class: "dj-grid",
                width: tick.isMinor ? 0.5 : 1)
            canvas.text(
                tick.text, at: Point(x: area.x - 8, y: place + 4), class: "dj-soft", size: PlotFrame.tickSize,
                anchor: .end)
        }
        for tick in xTicks {
            guard let place = x.place(tick.value) else { continue }
            if verticalGrid {
                canvas.line(
                    from: Point(x: place, y: area.y), to: Point(x: place, y: area.bottom), class: "dj-grid",
                    width: tick.isMinor ? 0.5 : 1)
            }
            canvas.text(
                tick.text, at: Point(x: place, y: area.bottom + 16), class: "dj-soft", size: PlotFrame.tickSize,
                anchor: .middle)
        }
        canvas.line(
            from: Point(x: area.x, y: area.bottom), to: Point(x: area.right, y: area.bottom), class: "dj-axis")
        canvas.text(
            yLabel, at: Point(x: area.x, y: area.y - 9), class: "dj-soft", size: PlotFrame.labelSize)
        canvas.text(
            xLabel, at: Point(x: area.middleX, y: area.bottom + (xTicks.isEmpty ? 18 : 35)), class: "dj-soft",
            size: PlotFrame.labelSize, anchor: .middle)
    }

    /// - Parameters:
    ///   - data: where the data is; labels take places with less of it.
    ///   - labelsAbove: write at vertical lines above the area, not into it.
    func draw(
        _ references: [Reference], around data: [Point] = [], labelsAbove: Bool = false, on canvas: inout Canvas
    ) {
        var taken: [Rectangle] = []
        for reference in references {
            switch reference.direction {
            case .horizontal:
                guard y.contains(reference.value), let place = y.place(reference.value) else { continue }
                canvas.line(
                    from: Point(x: area.x, y: place), to: Point(x: area.right, y: place), class: "dj-ref",
                    width: 1.25, dash: "5 4")
                let label = label(reference, places: [(area.right, place - 17), (area.x, place - 17)], data, taken)
                draw(label, on: &canvas, taking: &taken)
            case .vertical:
                guard x.contains(reference.value), let place = x.place(reference.value) else { continue }
                let top = area.y - (labelsAbove ? 6 : 0)
                canvas.line(
                    from: Point(x: place, y: top), to: Point(x: place, y: area.bottom), class: "dj-ref", width: 1.25,
                    dash: "5 4")
                let places =
                    labelsAbove
                    ? [(place - TextMetrics.width(reference.label, size: PlotFrame.tickSize) / 2, top - 17)]
                    : (0..<4).flatMap { row in
                        [1.0, -1].map { side in (place + side * 6, area.y + Double(row) * 15) }
                    }
                let label = label(reference, places: places, data, taken, leftOf: labelsAbove ? nil : place)
                draw(label, on: &canvas, taking: &taken)
            }
        }
    }

    private struct Label {
        let text: String
        let frame: Rectangle
    }

    /// The first of the places where the label covers neither another one nor, as far as possible, the data.
    ///
    /// - Parameters:
    ///   - places: (x, top) of the label's near edge; it is shifted into the area.
    ///   - line: a vertical line; places left of it are where the label ends.
    private func label(
        _ reference: Reference, places: [(x: Double, top: Double)], _ data: [Point], _ taken: [Rectangle],
        leftOf line: Double? = nil
    ) -> Label {
        let width = TextMetrics.width(reference.label, size: PlotFrame.tickSize)
        var best = Rectangle(x: area.x, y: area.y, width: width, height: 15)
        var bestCost = Double.infinity
        for (index, place) in places.enumerated() {
            let endsHere = line.map { place.x < $0 } ?? false
            let wanted = endsHere ? place.x - width : place.x
            let x = min(max(wanted, area.x + 4), max(area.x + 4, area.right - width - 4))
            let frame = Rectangle(x: x, y: place.top, width: width, height: 15)
            let hidden = data.count { frame.contains($0, margin: 3) }
            let covers = taken.contains { frame.overlaps($0) }
            let crossesLine = line.map { frame.x < $0 && frame.right > $0 } ?? false
            let cost = (covers ? 1e6 : 0) + (crossesLine ? 1e5 : 0) + Double(hidden) * 10 + Double(index)
            if cost < bestCost { (best, bestCost) = (frame, cost) }
        }
        return Label(text: reference.label, frame: best)
    }

    private func draw(_ label: Label, on canvas: inout Canvas, taking taken: inout [Rectangle]) {
        canvas.text(
            label.text, at: Point(x: label.frame.middleX, y: label.frame.y + 12), class: "dj-soft",
            size: PlotFrame.tickSize, anchor: .middle, halo: true)
        taken.append(label.frame)
    }
}
