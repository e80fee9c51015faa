/// What each of several lanes (stages, workers) was doing when: one box for each interval. Empty lane is idle time.
package struct Timeline: Panel {
    package struct Interval: Hashable, Sendable {
        package var start: Double
        package var end: Double
        /// Index into the timeline's kinds; gives the colour.
        package var kind: Int
        /// Written into the box if it fits.
        package var text: String

        /// - Precondition: the interval is finite and does not end before it starts.
        package init(_ start: Double, _ end: Double, kind: Int, text: String = "") {
            precondition(start.isFinite && end.isFinite && start <= end, "no interval: \(start) to \(end)")
            self.start = start
            self.end = end
            self.kind = kind
            self.text = text
        }
    }

    package struct Lane: Hashable, Sendable {
        package var name: String
        package var intervals: [Interval]
        package init(_ name: String, _ intervals: [Interval]) {
            self.name = name
            self.intervals = intervals
        }
    }

    private static let laneHeightMax = 44.0

    package var title: String
    package var xAxis: Axis
    package var lanes: [Lane]
    /// Names of the colours. Intervals may use kinds beyond them, which then have no entry in the legend.
    package var kinds: [String]
    /// Moments that matter to all lanes; horizontal references are ignored.
    package var references: [Reference]

    package init(
        title: String = "", x xAxis: Axis = Axis("time", style: .seconds), lanes: [Lane], kinds: [String] = [],
        references: [Reference] = []
    ) {
        self.title = title
        self.xAxis = xAxis
        self.lanes = lanes
        self.kinds = kinds
        self.references = references
    }

    package var summary: String {
        "\(title.isEmpty ? "Timeline" : title): "
            + lanes.map { "\($0.name) (\($0.intervals.count))" }.joined(separator: ", ")
    }

    package func draw(in frame: Rectangle, on canvas: inout Canvas) {
        let legend = Legend(
            entries: kinds.enumerated().map { Legend.Entry(name: $1, colour: $0, isBox: true) })
        legend.draw(in: frame, on: &canvas)
        let nameWidth = min(lanes.map { TextMetrics.width($0.name, size: 12) }.max() ?? 0, frame.width * 0.3)
        let hasLabels = references.contains { !$0.label.isEmpty }
        var body = frame.inset(
            left: nameWidth + 4, top: legend.height(width: frame.width) + (hasLabels ? 12 : 0))
        // Few lanes in a high frame do not become walls.
        body.height = min(body.height, Double(max(1, lanes.count)) * Timeline.laneHeightMax + 44)
        let times = lanes.flatMap { $0.intervals.flatMap { [$0.start, $0.end] } } + references.map(\.value)
        // The y axis only counts lanes; it has neither ticks nor label.
        let plot = PlotFrame(
            in: body, xAxis: xAxis, yAxis: Axis(scale: .linear, range: 0...1), xValues: times, yValues: [],
            showsYTicks: false)
        plot.drawAxes(on: &canvas)
        let laneHeight = plot.area.height / Double(max(1, lanes.count))
        for (index, lane) in lanes.enumerated() {
            let row = Rectangle(
                x: plot.area.x, y: plot.area.y + Double(index) * laneHeight, width: plot.area.width, height: laneHeight)
            let box = row.inset(top: min(4, laneHeight * 0.12), bottom: min(4, laneHeight * 0.12))
            canvas.rectangle(box, class: "dj-lane", corner: 2)
            canvas.text(
                TextMetrics.truncated(lane.name, size: 12, width: nameWidth),
                at: Point(x: plot.area.x - 8, y: row.middleY + 4), size: 12, anchor: .end)
            canvas.clipped(to: box) { canvas in
                for interval in merged(lane.intervals, plot.x) { draw(interval, in: box, plot.x, on: &canvas) }
            }
        }
        plot.draw(references.filter { $0.direction == .vertical }, labelsAbove: true, on: &canvas)
    }

    private func draw(_ interval: Interval, in box: Rectangle, _ map: ScaleMap, on canvas: inout Canvas) {
        guard let start = map.place(interval.start), let end = map.place(interval.end) else { return }
        // A hair of the lane shows between neighbours of one kind.
        let seam = end - start > 4 ? 0.75 : 0
        let width = max(0.5, end - start - seam)
        let length = xAxis.style.text(interval.end - interval.start)
        let kind = kinds.indices.contains(interval.kind) ? kinds[interval.kind] : ""
        let tip = [interval.text, kind, length].filter { !$0.isEmpty }.joined(separator: ", ")
        canvas.rectangle(
            Rectangle(x: start, y: box.y, width: width, height: box.height), class: Theme.fill(interval.kind),
            corner: width > 8 ? 2 : 0, tooltip: width > 2 ? tip : nil)
        let size = min(11, box.height * 0.7)
        if size >= 7, TextMetrics.width(interval.text, size: size) + 4 <= width {
            canvas.text(
                interval.text, at: Point(x: start + width / 2, y: box.middleY + size * 0.36), class: "dj-on",
                size: size, anchor: .middle)
        }
    }

    /// Intervals in order of start; those of one kind that together are below half a unit become one, so that a long
    /// run stays a small picture.
    private func merged(_ intervals: [Interval], _ map: ScaleMap) -> [Interval] {
        var result: [Interval] = []
        for interval in intervals.sorted(by: { ($0.start, $0.end) < ($1.start, $1.end) }) {
            if let last = result.last, last.kind == interval.kind, let start = map.place(last.start),
                let end = map.place(max(last.end, interval.end)), end - start < 0.5
            {
                result[result.count - 1].end = max(last.end, interval.end)
            } else {
                result.append(interval)
            }
        }
        return result
    }
}
