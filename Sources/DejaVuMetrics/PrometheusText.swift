/// Writes metrics in Prometheus' text exposition format, version 0.0.4.
struct PrometheusText {
    /// The content type that belongs to the format.
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    private(set) var bytes: [UInt8] = []

    mutating func head(_ definition: MetricDefinition) {
        append("# HELP \(definition.name) ")
        appendEscaped(definition.help, quoted: false)
        append("\n# TYPE \(definition.name) \(definition.typeName)\n")
    }

    mutating func series(_ definition: MetricDefinition, _ labels: [String], _ instrument: MetricsRegistry.Instrument) {
        switch instrument {
        case .counter(let counter): sample(definition, labels, counter.value)
        case .gauge(let gauge): sample(definition, labels, gauge.value)
        case .histogram(let histogram):
            let reading = histogram.reading
            var running: UInt64 = 0
            for (bound, count) in zip(histogram.bounds, reading.counts) {
                running += count
                line(definition.name + "_bucket", definition.labels, labels, bound: number(bound), String(running))
            }
            let total = String(reading.count)
            line(definition.name + "_bucket", definition.labels, labels, bound: "+Inf", total)
            line(definition.name + "_sum", definition.labels, labels, bound: nil, number(reading.sum))
            line(definition.name + "_count", definition.labels, labels, bound: nil, total)
        }
    }

    mutating func sample(_ definition: MetricDefinition, _ labels: [String], _ value: Double) {
        line(definition.name, definition.labels, labels, bound: nil, number(value))
    }

    private mutating func line(_ name: String, _ names: [String], _ values: [String], bound: String?, _ value: String) {
        append(name)
        if !names.isEmpty || bound != nil {
            append("{")
            for (index, (name, value)) in zip(names, values).enumerated() {
                append(index == 0 ? "\(name)=\"" : ",\(name)=\"")
                appendEscaped(value, quoted: true)
                append("\"")
            }
            if let bound { append("\(names.isEmpty ? "" : ",")le=\"\(bound)\"") }
            append("}")
        }
        append(" \(value)\n")
    }

    private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

    /// Help texts escape backslash and line feed, label values the quotation mark too.
    private mutating func appendEscaped(_ text: String, quoted: Bool) {
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\\"): append("\\\\")
            case UInt8(ascii: "\n"): append("\\n")
            case UInt8(ascii: "\"") where quoted: append("\\\"")
            default: bytes.append(byte)
            }
        }
    }

    private func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        if let whole = Int64(exactly: value) { return String(whole) }
        return String(value)
    }
}

/// The content type of what `MetricsRegistry.prometheusText` writes.
package let prometheusContentType = PrometheusText.contentType
