import DejaVuPlot
import Testing

struct SeriesTests {
    @Test func cumulative_samplesWithTies_risesToOne() {
        let series = Series.cumulative("a", of: [3, 1, 1, .nan, 2])
        #expect(series.data == [Datum(1, 0), Datum(1, 0.5), Datum(2, 0.75), Datum(3, 1)])
    }

    @Test func longLine_manySamplesPerPixel_staysSmallAndKeepsExtremes() {
        var data = (0..<200_000).map { Datum(Double($0), 0.5) }
        data[77_777].y = 1
        data[133_333].y = 0
        let chart = LineChart(x: Axis(), y: Axis(range: 0...1), series: [Series("a", data)])
        let svg = Figure(title: "t", panels: [chart]).svg()
        #expect(svg.utf8.count < 100_000)
        let flat = LineChart(
            x: Axis(), y: Axis(range: 0...1), series: [Series("a", (0..<200_000).map { Datum(Double($0), 0.5) })])
        #expect(svg != Figure(title: "t", panels: [flat]).svg())
    }

    @Test func timeline_manyShortIntervals_areMerged() {
        let intervals = (0..<100_000).map { Timeline.Interval(Double($0), Double($0) + 0.5, kind: 0) }
        let svg = Figure(title: "t", panels: [Timeline(lanes: [.init("a", intervals)])]).svg()
        #expect(svg.utf8.count < 300_000)
    }

    @Test func figure_sameInput_isSameText() {
        #expect(Gallery.sheet.svg() == Gallery.sheet.svg())
    }

    @Test func barChart_logarithmicAxis_isRefused() async {
        await #expect(processExitsWith: .failure) {
            _ = BarChart(y: Axis(scale: .log), categories: [], bars: [])
        }
    }
}
