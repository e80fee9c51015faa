import Synchronization

/// Holds the series of the metrics in a table and writes them as Prometheus text.
///
/// Label values come partly from outside, so each metric keeps at most `seriesCountMax` series; values beyond that
/// share one series whose labels all read `other`.
package final class MetricsRegistry: Sendable {
    /// How many combinations of label values one metric may have.
    package static let seriesCountMax = 200

    enum Instrument: Sendable {
        case counter(CounterInstrument)
        case gauge(GaugeInstrument)
        case histogram(HistogramInstrument)
    }

    private struct Family {
        let definition: MetricDefinition
        var series: [[String]: Instrument] = [:]
    }

    package let definitions: [MetricDefinition]
    private let families: Mutex<[String: Family]>
    private let dropped = CounterInstrument()

    /// - Precondition: no two definitions share a name.
    package init(_ definitions: [MetricDefinition] = MetricTable.all) {
        self.definitions = definitions
        let pairs = definitions.map { ($0.name, Family(definition: $0)) }
        let families = [String: Family](pairs) { _, second in
            preconditionFailure("\(second.definition.name) is defined twice")
        }
        self.families = Mutex(families)
    }

    /// The counter with these label values; the same one for the same values.
    package func counter(_ definition: MetricDefinition, _ values: [String] = []) -> CounterInstrument {
        guard case .counter(let counter)? = instrument(definition.name, values) else {
            preconditionFailure("\(definition.name) is no counter with \(values.count) labels")
        }
        return counter
    }

    package func gauge(_ definition: MetricDefinition, _ values: [String] = []) -> GaugeInstrument {
        guard case .gauge(let gauge)? = instrument(definition.name, values) else {
            preconditionFailure("\(definition.name) is no gauge with \(values.count) labels")
        }
        return gauge
    }

    package func histogram(_ definition: MetricDefinition, _ values: [String] = []) -> HistogramInstrument {
        guard case .histogram(let histogram)? = instrument(definition.name, values) else {
            preconditionFailure("\(definition.name) is no histogram with \(values.count) labels")
        }
        return histogram
    }

    /// The series of a metric, made if there is room; nil if the table has no such metric or labels.
    func instrument(_ name: String, _ values: [String]) -> Instrument? {
        families.withLock { families -> Instrument? in
            guard let definition = families[name]?.definition, definition.labels.count == values.count else {
                return nil
            }
            if let known = families[name]?.series[values] { return known }
            let isFull = (families[name]?.series.count ?? 0) >= Self.seriesCountMax - 1
            let key = isFull ? values.map { _ in "other" } : values
            if isFull, let other = families[name]?.series[key] { return other }
            let made = Self.make(definition.kind)
            families[name]?.series[key] = made
            return made
        }
    }

    func definition(named name: String) -> MetricDefinition? {
        families.withLock { $0[name]?.definition }
    }

    /// Notes that someone asked for what the table does not have.
    func drop() { dropped.add() }

    private static func make(_ kind: MetricDefinition.Kind) -> Instrument {
        switch kind {
        case .counter: .counter(CounterInstrument())
        case .gauge: .gauge(GaugeInstrument())
        case .histogram(let bounds): .histogram(HistogramInstrument(bounds: bounds))
        }
    }

    /// All series in Prometheus' text format, version 0.0.4.
    ///
    /// - Parameter samples: values that are known only at this moment, such as those of the workers that there are now.
    ///   A metric that has any here shows these alone.
    package func prometheusText(samples: [MetricSample] = []) -> [UInt8] {
        let series = families.withLock { families in families.mapValues { $0.series } }
        let fresh = [String: [MetricSample]](grouping: samples, by: \.definition.name)
        var text = PrometheusText()
        for definition in definitions {
            if definition.name == MetricTable.seriesDropped.name {
                text.head(definition)
                text.sample(definition, [], dropped.value)
            } else if let samples = fresh[definition.name] {
                text.head(definition)
                for sample in samples { text.sample(definition, sample.labels, sample.value) }
            } else if let all = series[definition.name], !all.isEmpty {
                text.head(definition)
                for (labels, instrument) in all.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
                    text.series(definition, labels, instrument)
                }
            }
        }
        return text.bytes
    }
}

/// A value that is read at the moment of a scrape.
package struct MetricSample: Sendable {
    package let definition: MetricDefinition
    package let labels: [String]
    package let value: Double

    /// - Precondition: as many labels as the definition has, and no histogram.
    package init(_ definition: MetricDefinition, _ labels: [String] = [], _ value: Double) {
        precondition(definition.labels.count == labels.count, "\(definition.name) has other labels")
        if case .histogram = definition.kind { preconditionFailure("\(definition.name) has no single value") }
        self.definition = definition
        self.labels = labels
        self.value = value
    }
}
