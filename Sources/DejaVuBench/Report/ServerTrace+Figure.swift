package import DejaVuPlot

extension ServerTrace {
    /// The pipeline for a moment in the middle of the run, and the share of bubbles over all of it.
    package var panels: [any Panel] {
        let busy = lanes.filter { !$0.intervals.isEmpty }
        guard !busy.isEmpty else { return [] }
        return [timeline(busy), shares]
    }

    private func timeline(_ lanes: [Lane]) -> Timeline {
        let window = window(lanes)
        return Timeline(
            title: "Pipeline, \(NumberText.significant(window.lowerBound)) s into the run",
            lanes: lanes.map { lane in
                Timeline.Lane(
                    lane.name,
                    lane.intervals.filter { $0.end > window.lowerBound && $0.start < window.upperBound }.map {
                        Timeline.Interval(
                            max($0.start, window.lowerBound), min($0.end, window.upperBound), kind: $0.kind)
                    })
            }, kinds: Self.kinds)
    }

    /// About thirty passes, from the middle of the run on.
    private func window(_ lanes: [Lane]) -> ClosedRange<Double> {
        let busiest = lanes.max { $0.intervals.count < $1.intervals.count }?.intervals ?? []
        let sorted = busiest.sorted { $0.start < $1.start }
        let first = sorted.count / 2
        let last = min(first + 60, sorted.count - 1)
        return sorted[first].start...max(sorted[last].end, sorted[first].start + 1e-6)
    }

    private var shares: BarChart {
        let times = workerTimes.filter { $0.passSeconds > 0 }
        return BarChart(
            title: "Bubbles: waiting although there was work", y: Axis("share of time", style: .share, range: 0...1),
            categories: times.map(\.worker), bars: [BarChart.Bars("", times.map(\.bubbleShare))])
    }
}
