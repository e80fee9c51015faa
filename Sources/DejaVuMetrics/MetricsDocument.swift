/// The text of docs/METRICS.md, from the table of metrics. A test keeps the file in step with it.
package func metricsDocument(_ definitions: [MetricDefinition] = MetricTable.all) -> String {
    var text = """
        # Metrics

        `GET /metrics` answers in Prometheus' text format. This page is written from the table in
        `Sources/DejaVuMetrics/MetricTable.swift`; after a change there, run
        `UPDATE_DOCS=1 swift test --filter metricsDocument`.

        Every metric keeps at most \(MetricsRegistry.seriesCountMax) combinations of label values; what is beyond that
        is counted under `other`.

        | name | type | unit | labels | meaning |
        |---|---|---|---|---|

        """
    for definition in definitions {
        let labels = definition.labels.map { "`\($0)`" }.joined(separator: ", ")
        text +=
            "| `\(definition.name)` | \(definition.typeName) | \(definition.unit) | \(labels) | \(definition.help) |\n"
    }
    text += "\n## Buckets\n\n| histogram | upper bounds |\n|---|---|\n"
    for definition in definitions {
        guard case .histogram(let bounds) = definition.kind else { continue }
        let list = bounds.map { Int64(exactly: $0).map { String($0) } ?? String($0) }.joined(separator: ", ")
        text += "| `\(definition.name)` | \(list) |\n"
    }
    return text
}
