/// Lines, staircases and clouds over two axes.
package struct LineChart: Panel {
    package enum Naming: Hashable, Sendable {
        /// Beside the lines where their ends stand apart, else in a row above; none for a single unnamed series.
        case automatic
        /// Beside each line's last point.
        case direct
        case legend
        case none
    }

    package var title: String
    package var xAxis: Axis
    package var yAxis: Axis
    package var series: [Series]
    package var references: [Reference]
    package var naming: Naming

    package init(
        title: String = "", x xAxis: Axis, y yAxis: Axis, series: [Series], references: [Reference] = [],
        naming: Naming = .automatic
    ) {
        self.title = title
        self.xAxis = xAxis
        self.yAxis = yAxis
        self.series = series
        self.references = references
        self.naming = naming
    }

    package var summary: String {
        let names = series.map(\.name).filter { !$0.isEmpty }.joined(separator: ", ")
        return "\(title.isEmpty ? "Chart" : title): \(yAxis.label) over \(xAxis.label)\(names.isEmpty ? "" : ", of ")"
            + names
    }

    package func draw(in frame: Rectangle, on canvas: inout Canvas) {
        let naming = resolvedNaming(height: frame.height)
        var plotArea = frame
        if naming == .legend {
            let legend = Legend(
                entries: series.enumerated().map { index, one in
                    Legend.Entry(
                        name: one.name, colour: colour(index), isBox: one.shape == .area, dash: dash(index),
                        hasMarker: one.shape == .points || one.shape == .lineAndPoints)
                })
            let height = legend.height(width: frame.width)
            legend.draw(in: frame, on: &canvas)
            plotArea = frame.inset(top: height)
        }
        let labelWidth =
            series.map { TextMetrics.width($0.name, size: PlotFrame.labelSize * TextMetrics.boldness) }.max() ?? 0
        let margin = naming == .direct ? min(labelWidth + 10, frame.width * 0.3) : 0
        let plot = PlotFrame(
            in: plotArea, xAxis: xAxis, yAxis: yAxis, xValues: series.flatMap { $0.data.map(\.x) }, yValues: yValues,
            rightMargin: margin)
        plot.drawAxes(on: &canvas)
        // Marks on the border are shown whole; only lines that leave the range are cut.
        canvas.clipped(to: plot.area.inset(left: -4, top: -4, right: -4, bottom: -4)) { canvas in
            for index in series.indices { draw(series: index, in: plot, on: &canvas) }
        }
        plot.draw(
            references, around: series.indices.flatMap { runs(of: series[$0], in: plot).flatMap(Thinning.filled) },
            on: &canvas)
        if naming == .direct { drawNames(in: plot, width: margin - 10, on: &canvas) }
    }

    private var yValues: [Double] {
        series.flatMap { one in
            one.data.flatMap { [$0.y] + ($0.spread.map { [$0.lowerBound, $0.upperBound] } ?? []) }
        } + references.filter { $0.direction == .horizontal }.map(\.value)
    }

    private func colour(_ index: Int) -> Int { series[index].colour ?? index }
    private func dash(_ index: Int) -> String? { series[index].isDashed ? "6 4" : Theme.dash(colour(index)) }

    private func resolvedNaming(height: Double) -> Naming {
        guard naming == .automatic else { return naming }
        if series.allSatisfy({ $0.name.isEmpty }) || series.count == 1 { return .none }
        guard series.count <= 6, series.allSatisfy({ $0.shape == .line || $0.shape == .lineAndPoints }) else {
            return .legend
        }
        let domain = yAxis.domain(of: yValues, tickCount: 4)
        let map = ScaleMap(yAxis.scale, domain: domain, start: height * 0.8, end: 0)
        let ends = series.compactMap { $0.data.last }.compactMap { map.place($0.y) }.sorted()
        let apart = zip(ends, ends.dropFirst()).allSatisfy { $1 - $0 >= 14 }
        return ends.count == series.count && apart ? .direct : .legend
    }

    private func draw(series index: Int, in plot: PlotFrame, on canvas: inout Canvas) {
        let one = series[index]
        let stroke = Theme.stroke(colour(index))
        for datum in one.data {
            guard let spread = datum.spread, let x = plot.x.place(datum.x), let low = plot.y.place(spread.lowerBound),
                let high = plot.y.place(spread.upperBound)
            else { continue }
            canvas.line(from: Point(x: x, y: low), to: Point(x: x, y: high), class: stroke, width: 1.25)
            for y in [low, high] {
                canvas.line(from: Point(x: x - 3, y: y), to: Point(x: x + 3, y: y), class: stroke, width: 1.25)
            }
        }
        for run in runs(of: one, in: plot) {
            if one.shape == .area, let first = run.first, let last = run.last {
                let ground = [Point(x: last.x, y: plot.area.bottom), Point(x: first.x, y: plot.area.bottom)]
                canvas.area(run + ground, class: Theme.fill(colour(index)), opacity: 0.18)
            }
            if one.shape != .points {
                canvas.polyline(Thinning.thinned(run), class: stroke, width: 2, dash: dash(index))
            }
            if one.shape == .points || one.shape == .lineAndPoints {
                for point in run { canvas.marker(at: point, series: colour(index)) }
            }
        }
    }

    /// The series in coordinates, cut where a datum has no place.
    private func runs(of one: Series, in plot: PlotFrame) -> [[Point]] {
        var runs: [[Point]] = [[]]
        for datum in one.data {
            guard let x = plot.x.place(datum.x), let y = plot.y.place(datum.y) else {
                runs.append([])
                continue
            }
            let last = runs.count - 1
            if one.shape == .step, let before = runs[last].last { runs[last].append(Point(x: x, y: before.y)) }
            runs[last].append(Point(x: x, y: y))
        }
        return runs.filter { !$0.isEmpty }
    }

    /// Names beside the last points, pushed apart where they would cover each other.
    private func drawNames(in plot: PlotFrame, width: Double, on canvas: inout Canvas) {
        var names: [(index: Int, y: Double)] = series.indices.compactMap { index in
            guard let last = runs(of: series[index], in: plot).last?.last else { return nil }
            return (index, min(max(last.y, plot.area.y), plot.area.bottom))
        }
        names.sort { ($0.y, $0.index) < ($1.y, $1.index) }
        let places = LineChart.spread(
            names.map(\.y), distance: 15, within: plot.area.y...max(plot.area.y + 1, plot.area.bottom))
        for (name, y) in zip(names, places) {
            canvas.text(
                TextMetrics.truncated(
                    series[name.index].name, size: PlotFrame.labelSize * TextMetrics.boldness, width: width),
                at: Point(x: plot.area.right + 8, y: y + 4), class: Theme.fill(colour(name.index)),
                size: PlotFrame.labelSize, bold: true)
        }
    }

    /// Ascending places moved as little as needed to be `distance` apart, inside the limits if they all fit.
    static func spread(_ places: [Double], distance: Double, within limits: ClosedRange<Double>) -> [Double] {
        var result = places
        for index in result.indices.dropFirst() {
            result[index] = max(result[index], result[index - 1] + distance)
        }
        var ceiling = limits.upperBound
        for index in result.indices.reversed() {
            result[index] = min(result[index], ceiling)
            ceiling = result[index] - distance
        }
        return result
    }
}
