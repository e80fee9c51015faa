import DejaVuControl
package import DejaVuMetrics

/// The instruments that requests touch, looked up once.
package struct ServingMetrics: Sendable {
    package let registry: MetricsRegistry
    let timeToFirstToken: HistogramInstrument
    let interToken: HistogramInstrument
    let endToEnd: HistogramInstrument
    let queueTime: HistogramInstrument
    let promptLength: HistogramInstrument
    let outputLength: HistogramInstrument
    let promptTokens: CounterInstrument
    let outputTokens: CounterInstrument
    let connections: GaugeInstrument
    let resumeBytes: GaugeInstrument
    let resumeLimit: GaugeInstrument

    package init(_ registry: MetricsRegistry) {
        self.registry = registry
        timeToFirstToken = registry.histogram(MetricTable.timeToFirstToken)
        interToken = registry.histogram(MetricTable.interToken)
        endToEnd = registry.histogram(MetricTable.endToEnd)
        queueTime = registry.histogram(MetricTable.queueTime)
        promptLength = registry.histogram(MetricTable.promptLength)
        outputLength = registry.histogram(MetricTable.outputLength)
        promptTokens = registry.counter(MetricTable.promptTokens)
        outputTokens = registry.counter(MetricTable.outputTokens)
        connections = registry.gauge(MetricTable.connections)
        resumeBytes = registry.gauge(MetricTable.resumeBytes)
        resumeLimit = registry.gauge(MetricTable.resumeLimit)
    }

    /// Counts a generation request that was submitted.
    func count(_ generation: Generation, _ outcome: Generation.Outcome) {
        if outcome != .busy && outcome != .unavailable && outcome != .refused {
            promptTokens.add(Double(generation.promptTokenCount))
            promptLength.observe(Double(generation.promptTokenCount))
            outputLength.observe(Double(generation.outputTokenCount))
            endToEnd.observe(seconds(from: generation.started, to: .now))
        }
        for choice in generation.choices {
            let reason = choice.finish?.rawValue ?? FinishReason.cancelled.rawValue
            registry.counter(MetricTable.choices, [reason]).add()
        }
    }

    /// Counts how a generation request ended, also one that never came as far as the controller.
    func count(route: String, _ outcome: Generation.Outcome) {
        registry.counter(MetricTable.requests, [route, outcome.rawValue]).add()
    }

    func count(route: String, code: Int) {
        registry.counter(MetricTable.responses, [route, String(code)]).add()
    }

    /// Counts a client that came back, by how it named its request.
    func countResumed(_ by: String) {
        registry.counter(MetricTable.resumed, [by]).add()
    }

    /// Counts an answer that can be had no more.
    func countDropped(_ cause: String) {
        registry.counter(MetricTable.resumeDropped, [cause]).add()
    }

    func countClosed(_ cause: String) {
        registry.counter(MetricTable.connectionsRefused, [cause]).add()
    }
}
