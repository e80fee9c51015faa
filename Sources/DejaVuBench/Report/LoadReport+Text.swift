import DejaVuPlot

extension LoadReport {
    /// The summary as a table for the terminal.
    package func text() -> String {
        var lines = [
            "\(configuration.url)  \(configuration.endpoint.rawValue)  \(configuration.model ?? "default model")",
            "\(load), \(lengths), seed \(configuration.seed)", "",
            row("requests", "\(completedCount) done, \(failedCount) failed, in \(number(seconds)) s"),
        ]
        for failure in failures {
            let detail = failure.detail.map { ": \($0)" } ?? ""
            lines.append(row("", "\(failure.count) × \(failure.kind)\(detail)"))
        }
        if let stoppedEarly { lines.append(row("stopped", stoppedEarly)) }
        lines.append(
            row(
                "throughput",
                "\(number(outputTokensPerSecond)) output tok/s, \(number(promptTokensPerSecond)) prompt tok/s, "
                    + "\(number(requestsPerSecond)) requests/s"))
        if let goodput { lines.append(row("goodput", "\(number(goodput)) requests/s within the objectives")) }
        lines += ["", cells("", ["p50", "p95", "p99", "mean", "max"])]
        for (name, summary) in summaries {
            lines.append(cells(name, summary.map(columns) ?? Array(repeating: "–", count: 5)))
        }
        lines.append("")
        if let lateness {
            lines.append(row("lateness", "p99 \(milliseconds(lateness.p99)) ms after a request was due"))
        }
        lines.append(
            row(
                "generator",
                "\(number(generatorCPUSeconds)) s CPU, \(number(generatorCPUShare * 100))% of one core"))
        for worker in workers ?? [] {
            lines.append(
                row(
                    worker.worker,
                    "computed \(number(worker.passSeconds)) s, bubbles \(number(worker.bubbleSeconds)) s "
                        + "(\(number(worker.bubbleShare * 100))%), \(worker.framesReceived) frames of "
                        + "\(number(Double(worker.frameBytesReceived) / 1e6)) MB in all received"
                        + (worker.fedBytesReceived > 0
                            ? ", \(number(Double(worker.fedBytesReceived) / 1e6)) MB of them from prompt stages" : "")))
        }
        lines += notes.map { row("note", $0) }
        return lines.joined(separator: "\n") + "\n"
    }

    /// What a reader must know before believing the numbers.
    private var notes: [String] {
        var notes: [String] = []
        if !promptsAreExact { notes.append("the server has no usable /tokenize; prompt lengths are estimated") }
        if lengthMismatchCount > 0 {
            notes.append("\(lengthMismatchCount) answers did not have the wanted number of tokens")
        }
        if lengthScale != 1 { notes.append("the trace's lengths were multiplied by \(number(lengthScale))") }
        if let lateness, let timeToFirstToken, lateness.p99 > 0.1 * timeToFirstToken.p50 {
            notes.append("requests were sent late: the generator was short of CPU")
        }
        return notes
    }

    private var summaries: [(String, Summary?)] {
        [
            ("first token, ms", timeToFirstToken), ("inter-token, ms", interToken),
            ("per output token, ms", timePerOutputToken), ("end to end, ms", endToEnd),
            ("normalised, ms/token", normalisedLatency),
        ]
    }

    /// The load in words.
    var load: String {
        switch configuration.arrivals {
        case .concurrency(let count): "closed loop, \(count) at once"
        case .poisson(let rate): "Poisson, \(number(rate)) requests/s"
        case .trace(_, let speed): speed == 1 ? "trace" : "trace, \(number(speed)) times as fast"
        }
    }

    private var lengths: String {
        if case .trace = configuration.arrivals { return "lengths of the trace" }
        return "prompt \(configuration.promptTokens), output \(configuration.outputTokens) tokens"
    }

    private func columns(_ summary: Summary) -> [String] {
        [summary.p50, summary.p95, summary.p99, summary.mean, summary.greatest].map(milliseconds)
    }

    private func number(_ value: Double) -> String { NumberText.significant(value) }
    private func milliseconds(_ value: Double) -> String { NumberText.significant(value * 1000) }
    private func row(_ name: String, _ text: String) -> String { padded(name, 22) + text }

    private func cells(_ name: String, _ texts: [String]) -> String {
        padded(name, 22) + texts.map { String(repeating: " ", count: max(0, 10 - $0.count)) + $0 }.joined()
    }

    private func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
