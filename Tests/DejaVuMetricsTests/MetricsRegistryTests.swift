import CoreMetrics
import DejaVuMetrics
import Testing

private let requests = MetricDefinition(
    "test_requests_total", .counter, unit: "requests", labels: ["route", "code"], help: "A \\ and a\nline.")
private let depth = MetricDefinition("test_depth", .gauge, unit: "items", help: "Depth.")
private let delay = MetricDefinition(
    "test_delay_seconds", .histogram(bounds: [0.1, 1]), unit: "seconds", labels: ["kind"], help: "Delay.")

private func text(_ registry: MetricsRegistry, _ samples: [MetricSample] = []) -> String {
    String(decoding: registry.prometheusText(samples: samples), as: UTF8.self)
}

@Test func counter_withHostileLabels_isEscaped() {
    let registry = MetricsRegistry([requests])
    registry.counter(requests, ["a\"b\\c\nd", "200"]).add(2)
    registry.counter(requests, ["a\"b\\c\nd", "200"]).add()
    registry.counter(requests, ["z", "404"]).add(-5)
    #expect(
        text(registry) == #"""
            # HELP test_requests_total A \\ and a\nline.
            # TYPE test_requests_total counter
            test_requests_total{route="a\"b\\c\nd",code="200"} 3
            test_requests_total{route="z",code="404"} 0

            """#)
}

@Test func histogram_observations_areCumulativeInText() {
    let registry = MetricsRegistry([delay])
    let histogram = registry.histogram(delay, ["x"])
    for value in [0.05, 0.1, 0.5, 7, .nan] { histogram.observe(value) }
    #expect(
        text(registry) == """
            # HELP test_delay_seconds Delay.
            # TYPE test_delay_seconds histogram
            test_delay_seconds_bucket{kind="x",le="0.1"} 2
            test_delay_seconds_bucket{kind="x",le="1"} 3
            test_delay_seconds_bucket{kind="x",le="+Inf"} 4
            test_delay_seconds_sum{kind="x"} 7.65
            test_delay_seconds_count{kind="x"} 4

            """)
}

@Test func series_beyondTheLimit_shareOne() {
    let registry = MetricsRegistry([requests])
    for index in 0..<1000 { registry.counter(requests, ["r\(index)", "200"]).add() }
    let lines = text(registry).split(separator: "\n").filter { !$0.hasPrefix("#") }
    #expect(lines.count == MetricsRegistry.seriesCountMax)
    #expect(
        lines.contains("test_requests_total{route=\"other\",code=\"other\"} \(1001 - MetricsRegistry.seriesCountMax)"))
}

@Test func samples_ofAScrape_replaceStoredSeries() {
    let registry = MetricsRegistry([depth])
    registry.gauge(depth).set(1)
    #expect(text(registry, [MetricSample(depth, [], 2.5)]).hasSuffix("\ntest_depth 2.5\n"))
    #expect(text(registry).hasSuffix("\ntest_depth 1\n"))
}

@Test func swiftMetrics_throughTheFactory_reachTheTable() {
    let registry = MetricsRegistry([requests, depth, delay, MetricTable.seriesDropped])
    Counter(label: requests.name, dimensions: [("code", "200"), ("route", "chat")], factory: registry).increment(by: 4)
    Gauge(label: depth.name, dimensions: [], factory: registry).record(7)
    Timer(label: delay.name, dimensions: [("kind", "x")], factory: registry).recordMilliseconds(500)
    Counter(label: "unheard_of", dimensions: [], factory: registry).increment()
    Counter(label: requests.name, dimensions: [("code", "200"), ("user", "eve")], factory: registry).increment()
    let text = text(registry)
    #expect(text.contains("test_requests_total{route=\"chat\",code=\"200\"} 4\n"))
    #expect(text.contains("test_depth 7\n"))
    #expect(text.contains("test_delay_seconds_bucket{kind=\"x\",le=\"1\"} 1\n"))
    #expect(text.contains("dejavu_metrics_dropped_total 2\n"))
    #expect(!text.contains("eve") && !text.contains("unheard_of"))
}

@Test func counters_fromManyTasks_loseNothing() async {
    let registry = MetricsRegistry([requests])
    await withTaskGroup(of: Void.self) { group in
        for _ in 0..<8 {
            group.addTask { for _ in 0..<10_000 { registry.counter(requests, ["a", "b"]).add() } }
        }
    }
    #expect(registry.counter(requests, ["a", "b"]).value == 80_000)
}

@Test func process_usage_isPlausible() {
    let usage = ProcessUsage.now()
    #expect(usage.cpuSeconds > 0)
    #expect(usage.residentBytes > 1 << 20)
    #expect(usage.startSeconds > 1.5e9)
}
