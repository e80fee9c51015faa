import DejaVuControl
import DejaVuCore
import Testing

/// Passes that take 10 ms and 2 ms for each row.
private func times(_ sizes: [Int]) -> PassTimes {
    var times = PassTimes()
    for size in sizes { times.add(size: size, .milliseconds(Int64(10 + 2 * size))) }
    return times
}

@Test func passTimes_severalSizes_tellWhatAPassItselfCosts() throws {
    let fixed = try #require(times([8, 9, 72, 8, 40]).fixedSize)
    #expect(abs(fixed - 5) < 0.01)
}

@Test func passTimes_oneSize_tellNothing() {
    #expect(times([8, 8, 8]).fixedSize == nil)
    #expect(times([]).chunk(of: 128, stages: 2) == nil)
}

/// 128 rows in n passes through two stages take (n + 1) passes of 5 + 128/n rows' time: least at 128/n = 25.3.
@Test func chunk_ofSeveralStages_takesTheLeastTime() {
    #expect(times([1, 100]).chunk(of: 128, stages: 2) == 26)
    #expect(times([1, 100]).chunk(of: 128, stages: 3) == 18)
    #expect(times([1, 100]).chunk(of: 128, stages: 1) == nil)
}
