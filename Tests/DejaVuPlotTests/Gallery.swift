import DejaVuPlot

/// One picture of each kind, with made-up but lifelike data; the golden files show them.
enum Gallery {
    static let all: [(name: String, figure: Figure)] = [
        ("lines", lines), ("distributions", distributions), ("bars", bars), ("timeline", timeline), ("sheet", sheet),
        ("hostile", hostile),
    ]

    static var lines: Figure {
        let rates = [1.0, 2, 4, 8, 16, 32]
        func series(_ name: String, _ latency: [Double]) -> Series {
            Series(
                name,
                zip(rates, latency).map { Datum($0, $1, spread: ($1 * 0.88)...($1 * 1.15)) },
                shape: .lineAndPoints)
        }
        return Figure(
            title: "Normalised latency under load",
            subtitle: "Median of end-to-end latency over generated tokens; Poisson arrivals, four stages",
            note: "Emulated devices, scale 64. Whiskers: least and greatest of five runs.",
            panels: [
                LineChart(
                    x: Axis("requests per second", scale: .log2),
                    y: Axis("seconds per token", scale: .log, style: .seconds),
                    series: [
                        series("colocated", [0.021, 0.024, 0.035, 0.09, 0.41, 1.9]),
                        series("disaggregated", [0.023, 0.024, 0.027, 0.035, 0.071, 0.38]),
                        series("two pipelines", [0.030, 0.031, 0.037, 0.055, 0.15, 0.83]),
                    ],
                    references: [Reference(.horizontal, at: 0.2, label: "limit 200 ms")])
            ])
    }

    static var distributions: Figure {
        var state: UInt64 = 7
        func samples(_ count: Int, _ scale: Double) -> [Double] {
            (0..<count).map { _ in
                var sum = 0.0
                for _ in 0..<6 {
                    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    sum += Double(state >> 40) / Double(1 << 24)
                }
                return scale * sum * sum
            }
        }
        return Figure(
            title: "Time to first token",
            panels: [
                LineChart(
                    x: Axis("time to first token", scale: .log, style: .seconds),
                    y: Axis("share of requests", style: .share, range: 0...1),
                    series: [
                        .cumulative("1 stage", of: samples(4000, 0.01)),
                        .cumulative("2 stages", of: samples(400, 0.016)),
                        .cumulative("4 stages", of: samples(40, 0.03)),
                    ],
                    references: [Reference(.horizontal, at: 0.5, label: "median")])
            ])
    }

    static var bars: Figure {
        Figure(
            title: "Decode speed beside llama.cpp", subtitle: "One compute thread; more is better",
            panels: [
                BarChart(
                    y: Axis("tokens per second"),
                    categories: ["prompt of 512", "batch 1", "batch 8", "batch 32 with a long name"],
                    bars: [
                        .init("DéjàVu", [763, 183.4, 421, 612], spreads: [740...780, 180...186, nil, 600...640]),
                        .init("llama.cpp", [172, 92.1, 128, nil]),
                    ],
                    references: [Reference(.horizontal, at: 172, label: "parity")])
            ])
    }

    static var timeline: Figure {
        var lanes: [Timeline.Lane] = []
        for stage in 0..<4 {
            var intervals: [Timeline.Interval] = []
            for pass in 0..<14 {
                let start = 0.010 * Double(stage) + 0.041 * Double(pass)
                intervals.append(
                    .init(start, start + (pass == 5 ? 0.032 : 0.0095), kind: pass == 5 ? 3 : pass % 3, text: "\(pass)"))
            }
            if stage == 2 { intervals.removeAll { $0.start > 0.33 && $0.start < 0.44 } }
            lanes.append(.init("stage \(stage)", intervals))
        }
        return Figure(
            title: "A pipeline of four stages", subtitle: "Grey is idle", panelHeight: 220,
            panels: [
                Timeline(
                    x: Axis("time since the start of the run", style: .seconds), lanes: lanes,
                    kinds: ["microbatch 0", "microbatch 1", "microbatch 2", "prompt"],
                    references: [
                        Reference(.vertical, at: 0.33, label: "stage 2 dies"),
                        Reference(.vertical, at: 0.44, label: "restored"),
                    ])
            ])
    }

    static var sheet: Figure {
        let rising = (0..<200).map { Datum(Double($0) / 2, 40 + 30 * Double($0 % 17) / 17 + Double($0) / 4) }
        return Figure(
            title: "Run of 200 requests", subtitle: "Closed loop, 8 streams", columnCount: 2, panelWidth: 380,
            panelHeight: 220,
            panels: [
                LineChart(
                    title: "Output", x: Axis("time", style: .seconds), y: Axis("tokens per second", includesZero: true),
                    series: [Series("output", rising, shape: .area)]),
                LineChart(
                    title: "Memory", x: Axis("time", style: .seconds),
                    y: Axis("PSS", style: .bytes, includesZero: true),
                    series: [
                        Series("controller", rising.map { Datum($0.x, $0.y * 1e6) }),
                        Series("worker", rising.map { Datum($0.x, $0.y * 2.4e6) }),
                    ]),
                BarChart(
                    title: "Idle share", y: Axis("of the time", style: .share, range: 0...1),
                    categories: ["stage 0", "stage 1"], bars: [.init("idle", [0.12, 0.31])]),
                Timeline(
                    title: "Swap", lanes: [.init("copy in", [.init(0, 1, kind: 0), .init(1, 1.6, kind: 1)])],
                    kinds: ["microbatch 0", "microbatch 1"]),
            ])
    }

    /// Text that would break out of XML, numbers that have no place, panels without data.
    static var hostile: Figure {
        Figure(
            title: "<script>alert(\"1\")</script> & \u{0}\u{FFFE}'; a title so long that it cannot be shown whole here",
            columnCount: 2, panelWidth: 300, panelHeight: 160,
            panels: [
                LineChart(
                    title: "]]> --> &amp;", x: Axis("<x>"), y: Axis("\"y\"", scale: .log),
                    series: [
                        Series(
                            "a<b", [Datum(0, 1), Datum(1, .nan), Datum(2, -3), Datum(3, 100), Datum(.infinity, 1)],
                            shape: .lineAndPoints),
                        Series("", [Datum(1e300, 1e300)]),
                    ]),
                LineChart(x: Axis(), y: Axis(), series: []),
                BarChart(y: Axis(), categories: [], bars: []),
                BarChart(y: Axis(), categories: ["<c>"], bars: [.init("'", [.nan]), .init("-", [-4])]),
                Timeline(lanes: [.init("<lane>", [.init(0, 0, kind: 99, text: "<t>")])]),
                Timeline(lanes: []),
            ])
    }
}
