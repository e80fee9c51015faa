import DejaVuCore
import DejaVuPlot
import DejaVuSimulation
import Foundation

/// A simulated plan, for people, programs and pictures.
struct PlanReport: Encodable {
    struct Row: Encodable {
        let topology: String
        let swaps: Bool
        let isChosen: Bool
        let tokensPerSecond: Double?
        let medianNormalisedLatencySeconds: Double?
        let medianFirstTokenSeconds: Double?
        let bubbleShare: Double?
        /// Why it cannot be.
        let obstacle: String?
    }

    struct Gain: Encodable {
        let outputTokens: Int
        /// Of the best disaggregated topology over the best colocated one; above 1 it pays.
        let gain: Double
    }

    let profile: String
    let machines: Int
    let objective: String
    let requests: Int
    let meanPromptTokens: Double
    let meanOutputTokens: Double
    let topologies: [Row]
    let reasons: [String]
    let gainsOfDisaggregation: [Gain]
    /// nil if one topology alone was asked for.
    let breakEven: String?
    /// nil if nothing can run that fits.
    let serve: String?

    init(_ planner: Planner, _ plan: Plan, _ gains: [Planner.Gain]) {
        profile = planner.profile.name
        machines = planner.machineCount
        objective = planner.objective.rawValue
        requests = planner.jobs.count
        meanPromptTokens = Self.mean(planner.jobs.map(\.promptCount))
        meanOutputTokens = Self.mean(planner.jobs.map(\.outputCount))
        topologies = plan.candidates.map { candidate in
            Row(
                topology: candidate.topology.description, swaps: candidate.swaps, isChosen: candidate == plan.choice,
                tokensPerSecond: candidate.result?.throughput,
                medianNormalisedLatencySeconds: candidate.result?.medianNormalisedLatency,
                medianFirstTokenSeconds: candidate.result?.medianFirstTokenSeconds,
                bubbleShare: candidate.result?.bubbleShare, obstacle: candidate.obstacle)
        }
        reasons = plan.reasons
        gainsOfDisaggregation = gains.map { Gain(outputTokens: $0.outputCount, gain: $0.gain) }
        breakEven = planner.only == nil ? Self.breakEven(gains, margin: planner.margin) : nil
        serve = plan.serveOptions.map { (["dejavu serve MODEL"] + $0).joined(separator: " ") }
    }

    /// Lengths of answers at which disaggregation is tried.
    static func outputCounts(_ profile: ModelProfile, _ jobs: [PerformanceScenario.Job]) -> [Int] {
        let longest = profile.contextLength - (jobs.map(\.promptCount).max() ?? 0)
        return [8, 16, 32, 64, 128, 256, 512].filter { $0 <= longest }
    }

    static func mean(_ counts: [Int]) -> Double {
        counts.isEmpty ? 0 : Double(counts.reduce(0, +)) / Double(counts.count)
    }

    private static func breakEven(_ gains: [Planner.Gain], margin: Double) -> String {
        guard let first = gains.first, let last = gains.last else { return "there is nothing to compare" }
        let paying = gains.filter { $0.gain > 1 + margin }
        guard let shortest = paying.first, let longest = paying.last else {
            return "disaggregation pays at no length of answers from \(first.outputCount) to \(last.outputCount)"
        }
        if paying.count == gains.count {
            return "disaggregation pays at all lengths of answers from \(first.outputCount) to \(last.outputCount)"
        }
        if shortest == longest { return "disaggregation pays for answers of about \(longest.outputCount) tokens" }
        return "disaggregation pays for answers of \(shortest.outputCount) to \(longest.outputCount) tokens"
    }

    // MARK: Text

    var text: String {
        var lines = [
            "\(profile) on \(machines) machines, \(requests) requests of \(Int(meanPromptTokens.rounded())) + "
                + "\(Int(meanOutputTokens.rounded())) tokens on average"
                + (breakEven == nil ? "" : "; the best \(objective) is wanted"),
            "",
            "  topology               tokens/s   latency/token   first token   bubbles",
        ]
        for row in topologies {
            let name = (row.isChosen ? "> " : "  ") + row.topology + (row.swaps ? ", swapping" : "")
            guard let rate = row.tokensPerSecond, let latency = row.medianNormalisedLatencySeconds,
                let first = row.medianFirstTokenSeconds, let bubbles = row.bubbleShare
            else {
                lines.append(PlanText.left(name, 25) + (row.obstacle ?? ""))
                continue
            }
            lines.append(
                PlanText.left(name, 25) + PlanText.right(PlanText.number(rate), 8)
                    + PlanText.right(PlanText.seconds(latency), 16) + PlanText.right(PlanText.seconds(first), 14)
                    + PlanText.right("\(Int((bubbles * 100).rounded()))%", 10))
        }
        lines.append("")
        lines += reasons
        if let breakEven { lines.append("Break-even: \(breakEven).") }
        if let serve { lines += ["", serve] }
        return lines.joined(separator: "\n") + "\n"
    }

    // MARK: Picture

    var figure: Figure {
        let rows = topologies
        let isThroughput = objective == Planner.Objective.throughput.rawValue
        let bars = BarChart(
            title: isThroughput ? "Output tokens a second" : "Median normalised latency",
            y: Axis(
                isThroughput ? "tokens/s" : "per token", style: isThroughput ? .number : .seconds, includesZero: true),
            categories: rows.map { $0.topology + ($0.swaps ? ", swap" : "") },
            bars: [
                .init(
                    isThroughput ? "tokens/s" : "latency",
                    rows.map { isThroughput ? $0.tokensPerSecond : $0.medianNormalisedLatencySeconds })
            ])
        var panels: [any Panel] = [bars]
        if !gainsOfDisaggregation.isEmpty {
            panels.append(
                LineChart(
                    title: "Best disaggregated against best colocated, by length of answers",
                    x: Axis("output tokens", scale: .log2), y: Axis("times as good"),
                    series: [
                        Series(
                            "", gainsOfDisaggregation.map { Datum(Double($0.outputTokens), $0.gain) },
                            shape: .lineAndPoints)
                    ], references: [Reference(.horizontal, at: 1, label: "break-even")]))
        }
        return Figure(
            title: "\(profile) on \(machines) machines", subtitle: reasons.joined(separator: " "),
            note: serve ?? "`dejavu serve` can run nothing that fits", panelWidth: max(720, Double(rows.count) * 70),
            panelHeight: 300,
            panels: panels)
    }
}

/// How plans write numbers.
enum PlanText {
    static func left(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }
    static func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(1, width - text.count)) + text
    }

    /// Three digits that count.
    static func number(_ value: Double) -> String {
        value >= 100 ? "\(Int(value.rounded()))" : "\((value * 10).rounded() / 10)"
    }

    static func seconds(_ value: Double) -> String {
        value >= 1 ? "\((value * 100).rounded() / 100) s" : "\((value * 10_000).rounded() / 10) ms"
    }

    static func json(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
    }
}
