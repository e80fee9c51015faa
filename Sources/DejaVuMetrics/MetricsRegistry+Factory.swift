package import CoreMetrics

/// The registry as a backend of swift-metrics: labels are names of the table, dimensions its labels in any order.
///
/// A name or a set of labels that the table does not have is counted and otherwise ignored, so that no library can
/// bring in series without bound.
extension MetricsRegistry: MetricsFactory {
    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        SwiftMetricsHandler(find(label, dimensions))
    }
    package func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        SwiftMetricsHandler(find(label, dimensions))
    }
    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        SwiftMetricsHandler(find(label, dimensions))
    }
    package func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        SwiftMetricsHandler(find(label, dimensions))
    }
    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        SwiftMetricsHandler(find(label, dimensions))
    }
    // Series live as long as the process: a counter that came back at 0 would look like a restart.
    package func destroyCounter(_: any CounterHandler) {}
    package func destroyFloatingPointCounter(_: any FloatingPointCounterHandler) {}
    package func destroyMeter(_: any MeterHandler) {}
    package func destroyRecorder(_: any RecorderHandler) {}
    package func destroyTimer(_: any TimerHandler) {}

    private func find(_ label: String, _ dimensions: [(String, String)]) -> Instrument? {
        let given = Dictionary(dimensions) { _, last in last }
        guard let definition = definition(named: label), definition.labels.count == given.count else {
            drop()
            return nil
        }
        let values = definition.labels.compactMap { given[$0] }
        guard values.count == given.count, let found = instrument(label, values) else {
            drop()
            return nil
        }
        return found
    }
}

/// One series behind all of swift-metrics' kinds; a call that does not fit the series' kind does nothing.
private final class SwiftMetricsHandler: CounterHandler, FloatingPointCounterHandler, MeterHandler, RecorderHandler,
    TimerHandler
{
    private let instrument: MetricsRegistry.Instrument?

    init(_ instrument: MetricsRegistry.Instrument?) { self.instrument = instrument }

    func increment(by amount: Int64) { increment(by: Double(amount)) }
    func increment(by amount: Double) {
        switch instrument {
        case .counter(let counter): counter.add(amount)
        case .gauge(let gauge): gauge.add(amount)
        case .histogram, nil: break
        }
    }
    func decrement(by amount: Double) {
        if case .gauge(let gauge)? = instrument { gauge.add(-amount) }
    }
    func reset() {
        if case .counter(let counter)? = instrument { counter.reset() }
    }
    func set(_ value: Int64) { set(Double(value)) }
    func set(_ value: Double) {
        if case .gauge(let gauge)? = instrument { gauge.set(value) }
    }
    func record(_ value: Int64) { record(Double(value)) }
    func record(_ value: Double) {
        switch instrument {
        case .gauge(let gauge): gauge.set(value)
        case .histogram(let histogram): histogram.observe(value)
        case .counter, nil: break
        }
    }
    /// Timers show seconds, Prometheus' base unit, whatever unit is preferred.
    func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }
}
