import DejaVuCore
import DejaVuServing
import Testing

/// Cuts bytes at random places.
private func cut(_ bytes: [UInt8], _ generator: inout SeededGenerator) -> [[UInt8]] {
    var pieces: [[UInt8]] = []
    var rest = bytes[...]
    while !rest.isEmpty {
        let count = generator.next(in: 0...min(5, rest.count))
        pieces.append(Array(rest.prefix(count)))
        rest = rest.dropFirst(count)
    }
    return pieces
}

@Test func stops_randomTextsInRandomPieces_endBeforeTheFirstStop() {
    var generator = SeededGenerator(seed: 6)
    let letters = Array("ab\n".utf8)
    func text(_ range: ClosedRange<Int>) -> [UInt8] {
        (0..<generator.next(in: range)).map { _ in letters[generator.next(below: 3)] }
    }
    for _ in 0..<5000 {
        let stops = (0..<generator.next(in: 1...3)).map { _ in text(1...4) }
        let whole = text(0...30)
        var scanner = StopScanner(stops: stops)
        var output: [UInt8] = []
        var isStopped = false
        var given: [UInt8] = []
        for piece in cut(whole, &generator) where !isStopped {
            given += piece
            isStopped = scanner.push(piece, into: &output)
            #expect(scanner.heldCount < 4)
            #expect(given.starts(with: output))
        }
        if !isStopped { scanner.finish(into: &output) }
        let firstStop = whole.indices.first { start in stops.contains { whole[start...].starts(with: $0) } }
        #expect(isStopped == (firstStop != nil))
        if !isStopped { #expect(output == whole) }
        // No stop string, and no beginning of the one that was found, is in what was shown.
        #expect(!output.indices.contains { start in stops.contains { output[start...].starts(with: $0) } })
        if let firstStop,
            let found = given.indices.first(where: { start in stops.contains { given[start...].starts(with: $0) } })
        {
            #expect(output == Array(given[..<found]))
            #expect(found == firstStop || found < whole.count)
        }
    }
}

@Test func stops_withoutAny_holdNothingBack() {
    var scanner = StopScanner(stops: [])
    var output: [UInt8] = []
    let isStopped = scanner.push(Array("anything".utf8), into: &output)
    #expect(!isStopped && output == Array("anything".utf8))
}
