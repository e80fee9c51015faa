/// What one metric is: the only place that names it, explains it and bounds its labels.
///
/// Names follow Prometheus' conventions: `dejavu_` first, base units (seconds, bytes) and `_total` last.
package struct MetricDefinition: Hashable, Sendable {
    /// How a metric's values are to be read.
    package enum Kind: Hashable, Sendable {
        /// Only ever grows; starts at 0 with the process.
        case counter
        case gauge
        /// Counts observations in buckets; the bounds are inclusive, ascending and finite.
        case histogram(bounds: [Double])
    }

    package let name: String
    package let kind: Kind
    package let help: String
    /// `seconds`, `bytes`, `tokens`, or what it counts; for the documentation.
    package let unit: String
    /// Label names, in the order in which values are given.
    package let labels: [String]

    /// - Precondition: the name and the labels are what Prometheus allows, and the bounds ascend.
    package init(_ name: String, _ kind: Kind, unit: String, labels: [String] = [], help: String) {
        precondition(isName(name) && labels.allSatisfy(isName), "\(name) or a label of it is no metric name")
        if case .histogram(let bounds) = kind {
            precondition(!bounds.isEmpty && zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 }, "\(name)'s bounds")
        }
        self.name = name
        self.kind = kind
        self.help = help
        self.unit = unit
        self.labels = labels
    }

    /// The type as Prometheus writes it.
    package var typeName: String {
        switch kind {
        case .counter: "counter"
        case .gauge: "gauge"
        case .histogram: "histogram"
        }
    }
}

private func isName(_ text: String) -> Bool {
    guard let first = text.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return false }
    return text.utf8.allSatisfy {
        switch $0 {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"): true
        default: false
        }
    }
}
