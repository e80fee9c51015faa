import DejaVuCore
import DejaVuKV
import Testing

private typealias Bench = LedgerBench

@Test func ledger_releaseWhileLanding_isQuietWhenTheWriterEnds() throws {
    var bench = try Bench()
    _ = try bench.commit(Bench.frame(0..<4))
    let arrival = try bench.land(Bench.frame(4..<8))
    let whole = try bench.land(Bench.frame(8..<9))
    #expect(bench.finish(whole).completion == .waiting)
    let settled = bench.ledger.release(Bench.sequence)
    #expect(settled?.quiet == [])
    #expect(settled?.ended == [.init(arrival: whole.id, completion: .refused(.revoked, watermark: 0))])
    #expect(bench.watermark == 0 && bench.ledger.drainingCount == 1)
    #expect(bench.ledger.take(arrival.id, bytes: 1) == .swallow)
    #expect(bench.ledger.admit(Bench.frame(4..<8), at: .zero) == .refused(.unknownSequence, fault: nil))
    let ended = bench.ledger.finish(arrival.id, intact: true, at: .zero)
    #expect(ended.completion == .refused(.revoked, watermark: 0) && ended.settled.quiet == [1])
    #expect(bench.ledger.drainingCount == 0 && bench.ledger.release(Bench.sequence) == nil)
    bench.ledger.checkIntegrity()
}

@Test func ledger_releaseOfQuietMemory_isQuietAtOnce() throws {
    var bench = try Bench()
    _ = try bench.commit(Bench.frame(0..<4))
    #expect(bench.ledger.release(Bench.sequence)?.quiet == [1])
    // The number is dead, and so are frames under it, when the sequence comes back.
    #expect(throws: DejaVuError.self) { try bench.ledger.open(Bench.ticket(1)) }
    try bench.ledger.open(Bench.ticket(2))
    #expect(bench.watermark == 0)
    #expect(bench.ledger.admit(Bench.frame(0..<4), at: .zero) == .refused(.oldTicket, fault: nil))
    #expect(try bench.commit(Bench.frame(0..<4, ticket: 2)) == .committed(watermark: 4))
}

@Test func ledger_linkClosed_quietensWhatItsWriterBegan() throws {
    var bench = try Bench()
    let first = try bench.land(Bench.frame(0..<4))
    try bench.ledger.open(Bench.ticket(2, sequence: SequenceID(8)))
    let other = try bench.land(Bench.frame(0..<4, ticket: 2, sequence: SequenceID(8)))
    _ = bench.ledger.release(SequenceID(8))
    let settled = bench.ledger.quieten(Bench.writer)
    #expect(settled.quiet == [2] && settled.ended == [])
    #expect(bench.ledger.arrivalCount == 0)
    for arrival in [first, other] {
        #expect(
            bench.ledger.finish(arrival.id, intact: true, at: .zero).completion == .refused(.ended, watermark: 0))
    }
    #expect(try bench.commit(Bench.frame(0..<4)) == .committed(watermark: 4), "the ticket stays open")
}

@Test func ledger_oneOfTwoLinksClosed_isNotQuietYet() throws {
    var bench = try Bench()
    let other = Incarnation(11)
    let high = LayerRange(4, 6)
    try bench.ledger.share(
        Ticket(number: 2, sequence: Bench.sequence, layers: high, positionLimit: 9, writer: other))
    let ours = try bench.land(Bench.frame(0..<4, layers: LayerRange(2, 4)))
    _ = try bench.land(Bench.frame(0..<4, layers: high, ticket: 2, writer: other))
    _ = bench.ledger.release(Bench.sequence)
    #expect(bench.ledger.quieten(other).quiet.isEmpty, "the first writer may still write")
    #expect(bench.ledger.abandon(ours.id).quiet == [1])
    bench.ledger.checkIntegrity()
}

@Test func ledger_renewed_keepsRowsAndRefusesTheOldIncarnation() throws {
    var bench = try Bench()
    _ = try bench.commit(Bench.frame(0..<4))
    let late = try bench.land(Bench.frame(4..<8))
    let next = Incarnation(10)
    _ = try bench.ledger.renew(Bench.ticket(2, writer: next))
    bench.ledger.checkIntegrity()
    #expect(bench.watermark == 4)
    #expect(bench.ledger.admit(Bench.frame(8..<9), at: .zero) == .refused(.oldTicket, fault: nil))
    #expect(bench.ledger.admit(Bench.frame(8..<9, ticket: 2), at: .zero) == .refused(.otherWriter, fault: nil))
    let again = Bench.frame(4..<8, ticket: 2, writer: next)
    #expect(bench.ledger.admit(again, at: .zero) == .refused(.busy, fault: nil), "the old one may still write")
    #expect(bench.finish(late).completion == .refused(.revoked, watermark: 4))
    #expect(try bench.commit(again) == .committed(watermark: 8))
    #expect(bench.ledger.release(Bench.sequence)?.quiet == [2])
}

@Test func ledger_sharedAmongWriters_takesLayersFromEach() throws {
    var bench = try Bench()
    let other = Incarnation(11)
    let high = LayerRange(4, 6)
    func share(_ number: UInt64, _ layers: LayerRange, limit: Int = 100) -> Ticket {
        Ticket(number: number, sequence: Bench.sequence, layers: layers, positionLimit: limit, writer: other)
    }
    #expect(throws: DejaVuError.self) { try bench.ledger.share(share(2, high, limit: 101)) }
    try bench.ledger.share(share(2, high))
    let low = try bench.land(Bench.frame(0..<4, layers: LayerRange(2, 4)))
    let theirs = try bench.land(Bench.frame(0..<4, layers: high, ticket: 2, writer: other))
    #expect(low.ticket == 1 && theirs.ticket == 1, "one memory")
    #expect(bench.finish(theirs).completion == .committed(watermark: 4))
    #expect(bench.watermark == 0)
    #expect(bench.finish(low).completion == .committed(watermark: 4))
    #expect(bench.watermark == 4)
    #expect(
        bench.ledger.admit(Bench.frame(4..<5, ticket: 2, writer: other), at: .zero)
            == .refused(.beyondTicket, fault: nil))
    // Both bring the same row: it lands once, and the second waits for the first.
    let row = try bench.land(Bench.frame(4..<5))
    let same = try bench.land(Bench.frame(4..<6, layers: high, ticket: 2, writer: other))
    #expect(same.parts.map(\.positions) == [5..<6])
    _ = bench.ledger.withdraw(2, of: Bench.sequence)
    #expect(bench.finish(same).completion == .refused(.revoked, watermark: 4))
    #expect(bench.finish(row).completion == .committed(watermark: 5))
    #expect(
        bench.ledger.admit(Bench.frame(5..<6, layers: high, ticket: 2, writer: other), at: .zero)
            == .refused(.oldTicket, fault: nil))
}

@Test func ledger_lowered_reportsAndOrphansWhatWasAbove() throws {
    var bench = try Bench()
    _ = try bench.commit(Bench.frame(0..<8))
    let above = try bench.land(Bench.frame(8..<9))
    let (report, _) = bench.ledger.lower(Bench.sequence, layers: LayerRange(3, 9), to: 5)
    #expect(report.map(\.layers) == [LayerRange(3, 6)] && report.map(\.from) == [8] && report.map(\.to) == [5])
    #expect(bench.watermark == 5 && bench.ledger.watermark(of: Bench.sequence, layers: LayerRange(2, 3)) == 8)
    #expect(bench.finish(above).completion == .refused(.orphaned, watermark: 5))
    #expect(bench.ledger.lower(Bench.sequence, layers: LayerRange(3, 6), to: 5).report.isEmpty)
    #expect(try bench.commit(Bench.frame(5..<9)) == .committed(watermark: 9))
}

@Test func ledger_ownEngine_commitsWhatIsNotThereYet() throws {
    var bench = try Bench(tokens: Bench.tokens(0..<20))
    _ = try bench.commit(Bench.frame(0..<4))
    func pass(_ positions: Range<Int>) -> Span {
        Span(sequence: Bench.sequence, layers: Bench.layers, positions: positions)
    }
    #expect(bench.ledger.admitLocal(pass(5..<6), tokens: Bench.tokens(5..<6)) == .gap(watermark: 4))
    #expect(bench.ledger.admitLocal(pass(0..<4), tokens: Bench.tokens(0..<4)) == .known(watermark: 4))
    #expect(bench.ledger.admitLocal(pass(3..<5), tokens: [1, 2]) == .refused(.otherTokens, fault: nil))
    let admission = bench.ledger.admitLocal(pass(2..<6), tokens: Bench.tokens(2..<6))
    guard case .land(let arrival) = admission else {
        Issue.record("the pass was not admitted: \(admission)")
        return
    }
    #expect(arrival.parts.map(\.positions) == [4..<6], "committed rows go to a scratch row")
    // A frame with the same rows does not write them as well, and one that would land there first is not passed.
    let frame = try bench.land(Bench.frame(4..<7))
    #expect(frame.parts.map(\.positions) == [6..<7])
    #expect(bench.ledger.admitLocal(pass(4..<7), tokens: Bench.tokens(4..<7)) == .refused(.busy, fault: nil))
    #expect(bench.finish(frame).completion == .waiting)
    let result = bench.ledger.finish(arrival.id, intact: true, at: .zero)
    #expect(result.completion == .committed(watermark: 6))
    #expect(result.settled.ended == [.init(arrival: frame.id, completion: .committed(watermark: 7))])
}

@Test func ledger_tokensTold_overruleFramesInFlight() throws {
    var bench = try Bench()
    let wrong: [TokenID] = [5, 6, 7]
    let arrival = try bench.land(
        Bench.frame(0..<3, tokens: wrong, hash: TokenChain(wrong).hash))
    let settled = try bench.ledger.tell(Bench.tokens(0..<5), at: 0, of: Bench.sequence)
    #expect(settled.ended.isEmpty)
    #expect(bench.finish(arrival).completion == .refused(.otherTokens, watermark: 0))
    #expect(try bench.commit(Bench.frame(0..<3)) == .committed(watermark: 3))
    #expect(throws: DejaVuError.self) { _ = try bench.ledger.tell([99], at: 1, of: Bench.sequence) }
    #expect(throws: DejaVuError.self) { _ = try bench.ledger.tell([99], at: 6, of: Bench.sequence) }
    #expect(bench.ledger.tokens(of: Bench.sequence, in: 0..<6) == nil)
}

@Test func ledger_thirdFaultWithinTheWindow_isReported() throws {
    var bench = try Bench()
    func fail(at seconds: Int64) throws -> PeerFault? {
        let arrival = try bench.land(Bench.frame(0..<2))
        bench.now = .zero + .seconds(seconds)
        let (completion, settled) = bench.finish(arrival, intact: false)
        #expect(completion == .refused(.wrongChecksum, watermark: 0))
        return settled.fault
    }
    #expect(try fail(at: 0) == nil)
    #expect(try fail(at: 30) == nil)
    #expect(try fail(at: 61) == nil, "the first is older than a minute")
    #expect(try fail(at: 80) == PeerFault(peer: Bench.writer, count: 3))
    #expect(try fail(at: 81) == nil, "counted anew")
}

@Test func ledger_limits_areKept() throws {
    var limits = LedgerLimits()
    limits.sequencesMax = 2
    limits.positionsMax = 150
    limits.positionsPerSequenceMax = 100
    limits.arrivalsPerSequenceMax = 2
    limits.arrivalsMax = 3
    var bench = try Bench(limits: limits)
    #expect(throws: DejaVuError.self) { try bench.ledger.open(Bench.ticket(2, sequence: SequenceID(6), limit: 101)) }
    #expect(throws: DejaVuError.self) { try bench.ledger.open(Bench.ticket(2, sequence: SequenceID(6), limit: 51)) }
    #expect(throws: DejaVuError.self) { try bench.ledger.open(Bench.ticket(2, sequence: SequenceID(5), limit: 5)) }
    try bench.ledger.open(Bench.ticket(2, sequence: SequenceID(6), limit: 40))
    #expect(throws: DejaVuError.self) { try bench.ledger.open(Bench.ticket(3, sequence: SequenceID(7), limit: 5)) }
    _ = try bench.land(Bench.frame(0..<1))
    _ = try bench.land(Bench.frame(1..<2))
    #expect(bench.ledger.admit(Bench.frame(2..<3), at: .zero) == .refused(.tooManyArrivals, fault: nil))
    _ = try bench.land(Bench.frame(0..<1, ticket: 2, sequence: SequenceID(6)))
    #expect(
        bench.ledger.admit(Bench.frame(1..<2, ticket: 2, sequence: SequenceID(6)), at: .zero)
            == .refused(.tooManyArrivals, fault: nil))
    // A released sequence counts until it is quiet.
    _ = bench.ledger.release(SequenceID(6))
    #expect(throws: DejaVuError.self) { try bench.ledger.open(Bench.ticket(4, sequence: SequenceID(7), limit: 5)) }
    bench.ledger.checkIntegrity()
}

@Test func ledger_recovered_readsWhatAScanFound() throws {
    var bench = try Bench(tokens: Bench.tokens(0..<9))
    bench.ledger.recover(Bench.sequence, layers: Bench.layers, to: 7)
    #expect(bench.watermark == 7)
    #expect(try bench.commit(Bench.frame(7..<9)) == .committed(watermark: 9))
}

@Test func layerMarks_randomChanges_matchAPlainArray() {
    for seed in 0..<300 as Range<UInt64> {
        var random = SeededGenerator(seed: seed)
        let layers = LayerRange(3, 3 + random.next(in: 1...7))
        var marks = LayerMarks(layers: layers)
        var plain = [Int](repeating: 0, count: layers.count)
        for _ in 0..<30 {
            let first = random.next(in: layers.first...layers.end - 1)
            let range = LayerRange(first, random.next(in: first + 1...layers.end))
            let mark = random.next(below: 6)
            let kind = random.next(below: 3)
            for layer in range.indices {
                let old = plain[layer - layers.first]
                plain[layer - layers.first] = kind == 0 ? mark : kind == 1 ? max(old, mark) : min(old, mark)
            }
            switch kind {
            case 0: marks.set(range, to: mark)
            case 1: marks.raise(range, to: mark)
            default: marks.lower(range, to: mark)
            }
            marks.checkIntegrity()
            let slice = plain[range.first - layers.first..<range.end - layers.first]
            #expect(marks.least(over: range) == slice.min() && marks.greatest(over: range) == slice.max())
            #expect(marks.levels.flatMap { level in level.layers.indices.map { _ in level.mark } } == plain)
        }
    }
}
