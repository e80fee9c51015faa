import DejaVuBench
import Testing

struct SummaryTests {
    /// The values are numpy.quantile's.
    @Test func quantiles_knownSamples_areExact() {
        let summary = Summary([40, 15, 50, 20, 35])
        #expect(summary?.p50 == 35 && summary?.least == 15 && summary?.greatest == 50 && summary?.mean == 32)
        #expect(abs((summary?.p95 ?? 0) - 48) < 1e-9 && abs((summary?.p99 ?? 0) - 49.6) < 1e-9)
    }

    @Test func quantiles_hundredAndOneSamples_areTheSamples() {
        let summary = Summary((0...100).reversed().map(Double.init))
        #expect(summary?.p50 == 50 && summary?.p95 == 95 && summary?.p99 == 99 && summary?.count == 101)
    }

    @Test func summary_noSamples_isNone() {
        #expect(Summary([]) == nil)
    }

    @Test func summary_oneSample_isThatEverywhere() {
        let summary = Summary([2.5])
        #expect(summary?.p50 == 2.5 && summary?.p99 == 2.5 && summary?.mean == 2.5)
    }

    @Test func sample_latencies_countFromTheDueTime() {
        var sample = RequestSample(index: 0, due: 1, sent: 1.5, promptTokensWanted: 8, outputTokensWanted: 4)
        sample.firstToken = 2
        sample.end = 5
        sample.outputTokens = 4
        sample.gapsMicroseconds = [1_000_000, 500_000, 1_500_000]
        #expect(sample.timeToFirstToken == 1 && sample.endToEnd == 4 && sample.normalisedLatency == 1)
        #expect(sample.timePerOutputToken == 1)
    }
}
