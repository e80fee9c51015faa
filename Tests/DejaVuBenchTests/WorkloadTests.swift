import DejaVuBench
import DejaVuCore
import Testing

struct WorkloadTests {
    private func offsets(seed: UInt64, rate: Double = 10, count: Int = 2000) -> [Double] {
        var configuration = LoadConfiguration(url: "http://h", arrivals: .poisson(rate: rate))
        configuration.requestCount = count
        configuration.seed = seed
        var source = RequestSource(configuration, contextTokens: nil)
        var offsets: [Double] = []
        while let request = source.next() { offsets.append(request.offset?.seconds ?? -1) }
        return offsets
    }

    @Test func poisson_sameSeed_isSameArrivals() {
        #expect(offsets(seed: 5) == offsets(seed: 5))
        #expect(offsets(seed: 5) != offsets(seed: 6))
    }

    @Test func poisson_manyArrivals_haveExponentialGaps() {
        let times = offsets(seed: 3)
        #expect(times.count == 2000 && times == times.sorted())
        let gaps = zip(times.dropFirst(), times).map { $0 - $1 }
        let mean = gaps.reduce(0, +) / Double(gaps.count)
        let variance = gaps.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(gaps.count)
        // Mean and deviation of an exponential distribution are equal: 0.1 s at ten a second.
        #expect(abs(mean - 0.1) < 0.01 && abs(variance.squareRoot() - 0.1) < 0.015)
    }

    @Test func lengths_otherArrivals_areTheSame() {
        func lengths(_ arrivals: Arrivals) -> [Int] {
            var configuration = LoadConfiguration(url: "http://h", arrivals: arrivals)
            configuration.requestCount = 50
            configuration.promptTokens = .uniform(1, 1000)
            var source = RequestSource(configuration, contextTokens: nil)
            return (0..<50).compactMap { _ in source.next()?.promptTokenCount }
        }
        #expect(lengths(.concurrency(4)) == lengths(.poisson(rate: 3)))
    }

    @Test func duration_openLoop_endsTheSource() {
        var configuration = LoadConfiguration(url: "http://h", arrivals: .poisson(rate: 100))
        configuration.durationSeconds = 2
        var source = RequestSource(configuration, contextTokens: nil)
        var last = 0.0
        var count = 0
        while let request = source.next() {
            last = request.offset?.seconds ?? .infinity
            count += 1
        }
        #expect(last <= 2 && (120...280).contains(count))
        #expect(source.next() == nil)
    }

    @Test func context_longLengths_areKeptWithin() {
        var configuration = LoadConfiguration(url: "http://h", arrivals: .concurrency(1))
        configuration.requestCount = 100
        configuration.promptTokens = .uniform(1, 5000)
        configuration.outputTokens = .logNormal(100, 2)
        var source = RequestSource(configuration, contextTokens: 256)
        while let request = source.next() {
            #expect(request.promptTokenCount >= 1 && request.outputTokenCount >= 1)
            #expect(request.promptTokenCount + request.outputTokenCount <= 256)
        }
    }

    @Test func trace_longerThanContext_isScaledAndPaced() throws {
        var parser = TraceParser()
        for line in [
            "TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:15:46.5,900,100", "2023-11-16 18:15:48.5,80,20",
        ] {
            try parser.feed(line: line.utf8)
        }
        let configuration = LoadConfiguration(url: "http://h", arrivals: .trace(path: "", speed: 4))
        var source = RequestSource(configuration, contextTokens: 500, rows: try parser.finished())
        #expect(source.lengthScale == 0.5)
        let first = source.next()
        #expect(first?.promptTokenCount == 450 && first?.outputTokenCount == 50 && first?.offset == .zero)
        let second = source.next()
        #expect(second?.promptTokenCount == 40 && second?.outputTokenCount == 10 && second?.offset?.seconds == 0.5)
        #expect(source.next() == nil)
    }

    @Test(arguments: [
        ("128", LengthDistribution.fixed(128)), ("1-9", .uniform(1, 9)), ("normal:50,10", .normal(50, 10)),
        ("lognormal:80,0.5", .logNormal(80, 0.5)),
    ])
    func length_wellFormed_isRead(text: String, length: LengthDistribution) throws {
        #expect(try LengthDistribution(parsing: text) == length)
        #expect(try LengthDistribution(parsing: length.description) == length)
    }

    @Test(arguments: [
        "", "0", "-5", "9-1", "a", "1-", "1-2-3", "normal:", "normal:1", "normal:nan,1", "normal:5,-1", "zipf:1,2",
        "99999999999999999999", "normal:inf,1", "1e3", "normal:1,2,3",
    ])
    func length_malformed_isRefused(text: String) {
        #expect { try LengthDistribution(parsing: text) } throws: { ($0 as? DejaVuError)?.code == .invalidArgument }
    }

    @Test(arguments: [
        (LengthDistribution.uniform(10, 20), 15.0, 0.5), (.normal(100, 10), 100, 2), (.fixed(7), 7, 0),
        (.logNormal(100, 0.5), 113.3, 5),
    ])
    func length_manyDraws_haveTheirMean(length: LengthDistribution, mean: Double, tolerance: Double) {
        var generator = SeededGenerator(seed: 11)
        let draws = (0..<5000).map { _ in Double(length.draw(from: &generator)) }
        #expect(abs(draws.reduce(0, +) / 5000 - mean) <= tolerance)
        #expect(draws.allSatisfy { $0 >= 1 })
    }
}
