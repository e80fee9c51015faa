package import DejaVuPlot

extension LoadReport {
    /// The run as one picture: distributions of the latencies, tokens and requests over time, and what the server's
    /// workers did, if that is known.
    package func figure(trace: ServerTrace? = nil) -> Figure {
        let completed = samples.filter { $0.failure == nil }
        let host = "\(environment.processor), \(environment.coreCount) cores, \(environment.kernel)"
        let commit = environment.commit.map { ", commit \($0.prefix(10))" } ?? ""
        let panels: [any Panel] = [
            distribution("Time to first token", completed.compactMap(\.timeToFirstToken), timeToFirstToken),
            distribution(
                "Inter-token latency", completed.flatMap { $0.gapsMicroseconds.map { Double($0) / 1e6 } },
                interToken, leastShown: 50e-6),
            throughput, inFlight,
        ]
        return Figure(
            title: "\(configuration.model ?? "Model"): \(load)",
            subtitle: "\(completedCount) requests, \(failedCount) failed, "
                + "\(NumberText.significant(outputTokensPerSecond)) output tokens per second",
            note: host + commit, columnCount: 2, panelWidth: 430, panelHeight: 250,
            panels: panels + (trace?.panels ?? []))
    }

    private func distribution(_ title: String, _ samples: [Double], _ summary: Summary?, leastShown: Double = 0)
        -> LineChart
    {
        var references: [Reference] = []
        if let summary {
            references = [("p50", summary.p50), ("p99", summary.p99)].map { name, value in
                Reference(.vertical, at: value, label: "\(name) \(ValueStyle.seconds.text(value))")
            }
        }
        // Chunks that arrive in one packet have no gap, and zero has no place on a logarithmic axis.
        let shown = samples.map { max($0, leastShown) }
        return LineChart(
            title: title, x: Axis(scale: .log, style: .seconds),
            y: Axis("share at most", style: .share, range: 0...1), series: [.cumulative("", of: shown)],
            references: references)
    }

    /// Tokens of all requests by when they came, in about sixty parts of the run.
    private var throughput: LineChart {
        let (width, counts) = binned(samples.flatMap(tokenTimes))
        let data = counts.enumerated().map { Datum(Double($0) * width, Double($1) / width) }
        return LineChart(
            title: "Output over time", x: Axis("time", style: .seconds),
            y: Axis("chunks per second", includesZero: true),
            series: [Series("", data + [Datum(Double(counts.count) * width, data.last?.y ?? 0)], shape: .step)])
    }

    private func tokenTimes(_ sample: RequestSample) -> [Double] {
        guard var time = sample.firstToken else { return [] }
        return [time]
            + sample.gapsMicroseconds.map { gap in
                time += Double(gap) / 1e6
                return time
            }
    }

    private func binned(_ times: [Double]) -> (width: Double, counts: [Int]) {
        let span = max(seconds, 1e-3)
        let width = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60].first { span / $0 <= 80 } ?? span / 60
        var counts = Array(repeating: 0, count: max(1, Int((span / width).rounded(.up))))
        for time in times where time >= 0 { counts[min(Int(time / width), counts.count - 1)] += 1 }
        return (width, counts)
    }

    /// How many requests were sent and not yet ended.
    private var inFlight: LineChart {
        var changes = samples.flatMap { [($0.sent, 1), ($0.end, -1)] }
        changes.sort { ($0.0, $0.1) < ($1.0, $1.1) }
        var count = 0
        var data = [Datum(0, 0)]
        for (time, change) in changes {
            count += change
            data.append(Datum(max(0, time), Double(max(0, count))))
        }
        return LineChart(
            title: "Requests in flight", x: Axis("time", style: .seconds), y: Axis("requests", includesZero: true),
            series: [Series("", data, shape: .step)])
    }
}
