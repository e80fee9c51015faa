import DejaVuPlot
import Testing

struct AxisTests {
    /// The texts of a picture's elements of class `dj-soft`, which are the ticks and labels.
    private func softTexts(_ figure: Figure) -> [String] {
        figure.svg().split(separator: "\n").filter { $0.hasPrefix("<text class=\"dj-soft") }.compactMap { line in
            line.split(separator: ">", maxSplits: 1).last?.split(separator: "<").first.map(String.init)
        }
    }

    private func ticks(x: Axis, y: Axis = Axis(range: 0...1), data: [Datum]) -> [String] {
        softTexts(Figure(title: "t", panels: [LineChart(x: x, y: y, series: [Series("", data)])]))
    }

    @Test func linearAxis_seconds_picksOneUnitForAllTicks() {
        let texts = ticks(x: Axis(style: .seconds), data: [Datum(0, 0), Datum(0.1, 1)])
        #expect(texts.contains("20 ms") && texts.contains("100 ms"))
        #expect(!texts.contains { $0.hasSuffix(" s") })
    }

    @Test func linearAxis_bytes_ticksArePowersOfTwo() {
        let texts = ticks(x: Axis(style: .bytes), data: [Datum(0, 0), Datum(512 * 1024, 1)])
        #expect(texts.contains("256 KiB") && texts.contains("512 KiB"))
    }

    @Test func linearAxis_thousands_areWrittenWithSuffix() {
        #expect(ticks(x: Axis(), data: [Datum(0, 0), Datum(40_000, 1)]).contains("20k"))
    }

    @Test func logarithmicAxis_fewDecades_marksOneTwoFive() {
        let texts = ticks(x: Axis(scale: .log), data: [Datum(1, 0), Datum(100, 1)])
        for wanted in ["1", "2", "5", "10", "50", "100"] { #expect(texts.contains(wanted)) }
        #expect(!texts.contains("3"))
    }

    @Test func logarithmicAxis_manyDecades_marksPowersOnly() {
        let texts = ticks(x: Axis(scale: .log, style: .seconds), data: [Datum(1e-6, 0), Datum(100, 1)])
        #expect(texts.contains("1 ms") && !texts.contains("2 ms"))
    }

    @Test(arguments: [
        (0.0, 2, "0.00"), (-0.001, 2, "0.00"), (1.005, 1, "1.0"), (-12.345, 2, "-12.35"), (0.05, 2, "0.05"),
        (1234567.5, 0, "1234568"),
    ])
    func decimal_fixedPlaces_isRoundedText(value: Double, places: Int, text: String) {
        #expect(NumberText.decimal(value, places: places) == text)
    }

    @Test(arguments: [
        (123.456, "123"), (1.23456, "1.23"), (0.0012345, "0.00123"), (12345, "12345"), (0.5, "0.5"), (10, "10.0"),
    ])
    func significant_threeDigits_isShort(value: Double, text: String) {
        #expect(NumberText.significant(value) == text)
    }

    @Test(arguments: [
        (ValueStyle.seconds, 0.0205, "20.5 ms"), (.seconds, 90, "90.0 s"), (.seconds, 600, "10.0 min"),
        (.bytes, 1_572_864, "1.50 MiB"), (.share, 0.025, "2.50%"), (.number, 15_300, "15.3k"), (.seconds, 0, "0"),
    ])
    func valueStyle_oneValue_choosesUnit(style: ValueStyle, value: Double, text: String) {
        #expect(style.text(value) == text)
    }
}
