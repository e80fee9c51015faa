import DejaVuCore
import DejaVuKV
import Testing

private typealias Bench = LedgerBench

@Test func ledger_framesInOrder_raiseTheWatermark() throws {
    var bench = try Bench()
    #expect(try bench.commit(Bench.frame(0..<10)) == .committed(watermark: 10))
    #expect(try bench.commit(Bench.frame(10..<11)) == .committed(watermark: 11))
    #expect(bench.watermark == 11)
    #expect(bench.ledger.mayRead(Span(sequence: Bench.sequence, layers: LayerRange(3, 5), positions: 4..<11)))
    #expect(!bench.ledger.mayRead(Span(sequence: Bench.sequence, layers: LayerRange(3, 5), positions: 4..<12)))
    #expect(!bench.ledger.mayRead(Span(sequence: Bench.sequence, layers: LayerRange(0, 5), positions: 0..<1)))
    #expect(bench.ledger.tokens(of: Bench.sequence, in: 9..<11).map { Array($0) } == Bench.tokens(9..<11))
    #expect(bench.ledger.tokensHash(of: Bench.sequence, end: 10) == TokenChain(Bench.tokens(0..<10)).hash)
}

@Test func ledger_layersApart_keepTheirOwnWatermarks() throws {
    var bench = try Bench()
    _ = try bench.commit(Bench.frame(0..<10, layers: LayerRange(2, 4)))
    #expect(bench.watermark == 0)
    #expect(bench.ledger.watermark(of: Bench.sequence, layers: LayerRange(2, 4)) == 10)
    // The whole frame comes again: only the layers that lack it land.
    let arrival = try bench.land(Bench.frame(0..<12))
    #expect(
        arrival.parts.map(\.layers) == [LayerRange(2, 4), LayerRange(4, 6)]
            && arrival.parts.map(\.positions) == [10..<12, 0..<12])
    #expect(!arrival.landsWhole)
    #expect(bench.finish(arrival).completion == .committed(watermark: 12))
    #expect(bench.ledger.watermarks(of: Bench.sequence) == [.init(layers: Bench.layers, mark: 12)])
}

@Test func ledger_frameTwice_isKnown() throws {
    var bench = try Bench()
    _ = try bench.commit(Bench.frame(0..<10))
    #expect(bench.ledger.admit(Bench.frame(3..<10), at: .zero) == .known(watermark: 10))
    #expect(bench.watermark == 10)
}

@Test func ledger_frameAboveTheWatermark_isAGap() throws {
    var bench = try Bench()
    _ = try bench.commit(Bench.frame(0..<10))
    #expect(bench.ledger.admit(Bench.frame(11..<12), at: .zero) == .gap(watermark: 10))
}

@Test func ledger_frameBehindOneThatLands_commitsAfterIt() throws {
    var bench = try Bench()
    let first = try bench.land(Bench.frame(0..<4))
    let second = try bench.land(Bench.frame(4..<8))
    let third = try bench.land(Bench.frame(6..<9))
    #expect(third.parts.map(\.positions) == [8..<9], "what is on its way lands once")
    #expect(bench.finish(third).completion == .waiting)
    #expect(bench.finish(second).completion == .waiting)
    #expect(bench.watermark == 0)
    let (completion, settled) = bench.finish(first)
    #expect(completion == .committed(watermark: 4))
    #expect(
        settled.ended == [
            .init(arrival: second.id, completion: .committed(watermark: 8)),
            .init(arrival: third.id, completion: .committed(watermark: 9)),
        ])
    #expect(bench.watermark == 9 && bench.ledger.arrivalCount == 0)
}

@Test func ledger_predecessorAbandoned_orphansWhatFollows() throws {
    var bench = try Bench()
    let first = try bench.land(Bench.frame(0..<4))
    let second = try bench.land(Bench.frame(4..<8))
    let third = try bench.land(Bench.frame(8..<9))
    #expect(bench.finish(second).completion == .waiting)
    let settled = bench.ledger.abandon(first.id)
    #expect(settled.ended == [.init(arrival: second.id, completion: .refused(.orphaned, watermark: 0))])
    #expect(bench.ledger.take(third.id, bytes: 1) == .swallow)
    // The third may still be writing its row: until it ends, nobody else lands there.
    #expect(bench.ledger.admit(Bench.frame(0..<9), at: .zero) == .refused(.busy, fault: nil))
    let before = try bench.land(Bench.frame(0..<8))
    #expect(bench.finish(before).completion == .committed(watermark: 8))
    #expect(bench.ledger.finish(third.id, intact: true, at: .zero).completion == .refused(.orphaned, watermark: 8))
    #expect(try bench.commit(Bench.frame(8..<9)) == .committed(watermark: 9))
}

@Test func ledger_bytesMissing_isNotCommitted() throws {
    var bench = try Bench()
    let arrival = try bench.land(Bench.frame(0..<4))
    let all = arrival.payloadBytes
    let leaves = [
        bench.ledger.take(arrival.id, bytes: all - 1), bench.ledger.take(arrival.id, bytes: 2),
    ]
    #expect(leaves == [.write, .tooMany])
    #expect(
        bench.ledger.finish(arrival.id, intact: true, at: .zero).completion == .refused(.incomplete, watermark: 0))
    #expect(
        bench.ledger.finish(arrival.id, intact: true, at: .zero).completion == .refused(.ended, watermark: 0))
    #expect(bench.watermark == 0)
}

@Test(arguments: [
    (LedgerBench.frame(0..<4, sequence: SequenceID(6)), Refusal.unknownSequence),
    (LedgerBench.frame(0..<4, ticket: 2), .oldTicket),
    (LedgerBench.frame(0..<4, writer: Incarnation(8)), .otherWriter),
    (LedgerBench.frame(0..<101), .beyondTicket),
    (LedgerBench.frame(0..<4, layers: LayerRange(1, 3)), .beyondTicket),
    (LedgerBench.frame(0..<0), .beyondTicket),
    (LedgerBench.frame(0..<4, payload: 127), .wrongLength),
    (LedgerBench.frame(0..<4, numericClass: NumericClass(hash: 1)), .otherNumericClass),
    (LedgerBench.frame(0..<4, hash: 1), .otherTokens),
])
func ledger_wrongHeader_isRefused(header: FrameHeader, refusal: Refusal) throws {
    var bench = try Bench()
    #expect(bench.ledger.admit(header, at: .zero) == .refused(refusal, fault: nil))
    bench.ledger.checkIntegrity()
    #expect(try bench.commit(Bench.frame(0..<4)) == .committed(watermark: 4), "nothing was changed")
}

@Test func ledger_otherTextBelowTheFrame_isRefused() throws {
    var bench = try Bench(tokens: Bench.tokens(0..<6))
    // The frame's own tokens are right, but it belongs to a text that differs before it.
    let foreign = TokenChain([99] + Bench.tokens(1..<8)).hash
    _ = try bench.commit(Bench.frame(0..<4))
    #expect(
        bench.ledger.admit(Bench.frame(4..<8, hash: foreign), at: .zero) == .refused(.otherTokens, fault: nil))
    var wrong = Bench.tokens(4..<8)
    wrong[1] = 99
    let hash = TokenChain(Bench.tokens(0..<4) + wrong).hash
    #expect(
        bench.ledger.admit(Bench.frame(4..<8, tokens: wrong, hash: hash), at: .zero)
            == .refused(.otherTokens, fault: nil))
    #expect(
        bench.ledger.admit(Bench.frame(4..<6, hash: 7), at: .zero)
            == .refused(.otherTokens, fault: PeerFault(peer: Bench.writer, count: 3)))
}
