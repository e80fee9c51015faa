import DejaVuCore
import DejaVuKV
import Testing

private let layers = LayerRange(0, 4)
private let near = StoreID(1)
private let far = StoreID(2)
private let rowBytes = 10

private func ticket(
    _ number: UInt64, _ sequence: UInt64 = 1, layers: LayerRange = layers, limit: Int = 1000
) -> Ticket {
    Ticket(
        number: number, sequence: SequenceID(sequence), layers: layers, positionLimit: limit, writer: Incarnation(3))
}

/// One subscription of everything, to `near`, whose frames have at most 40 rows.
private func makeBook(
    layers wanted: LayerRange = layers, granting: Bool = true, priority: StreamPriority = .replica
) throws -> SubscriptionBook {
    var limits = SubscriptionLimits()
    limits.frameBytesMax = 400
    limits.bytesInFlightMax = 1000
    var book = SubscriptionBook(layers: layers, rowBytes: rowBytes, limits: limits)
    try book.subscribe(
        Subscription(id: SubscriptionID(1), destination: near, layers: wanted, priority: priority))
    if granting { try book.grant(ticket(1), by: near) }
    return book
}

private func take(_ book: inout SubscriptionBook) throws -> Dispatch {
    let dispatch = book.next()
    return try #require(dispatch)
}

private func all(_ book: inout SubscriptionBook) -> [Dispatch] {
    var result: [Dispatch] = []
    while let dispatch = book.next() {
        result.append(dispatch)
        book.checkIntegrity()
    }
    return result
}

@Test func book_sourceRaised_sendsTheDifferenceInBoundedFrames() throws {
    var book = try makeBook()
    try book.sourceRaised(SequenceID(1), layers: layers, to: 28)
    let frames = all(&book)
    #expect(frames.map(\.span.positions) == [0..<10, 10..<20], "1000 bytes are the bound on the way")
    #expect(frames.allSatisfy { $0.span.layers == layers && $0.bytes == 400 && $0.ticket.number == 1 })
    #expect(book.bytesInFlight(to: near) == 800)
    try #require(frames.count == 2)
    book.acknowledge(frames[0].flight, watermark: 10)
    #expect(book.acknowledged(SubscriptionID(1), SequenceID(1)) == 10)
    let rest = all(&book)
    #expect(rest.map(\.span.positions) == [20..<28])
    book.acknowledge(frames[1].flight, watermark: 20)
    book.acknowledge(try #require(rest.first).flight, watermark: 28)
    #expect(book.backlog.isEmpty && book.flightCount == 0 && book.next() == nil)
    try book.sourceRaised(SequenceID(1), layers: layers, to: 29)
    #expect(book.backlog == Backlog(sequences: 1, positions: 1, rows: 4, bytes: 40))
    #expect(book.next()?.span.positions == 28..<29)
    book.checkIntegrity()
}

@Test func book_layersOfTheSourceApart_areSentApart() throws {
    var book = try makeBook()
    try book.sourceRaised(SequenceID(1), layers: LayerRange(0, 2), to: 5)
    #expect(book.next()?.span == Span(sequence: SequenceID(1), layers: LayerRange(0, 2), positions: 0..<5))
    try book.sourceRaised(SequenceID(1), layers: LayerRange(2, 4), to: 3)
    #expect(book.next()?.span == Span(sequence: SequenceID(1), layers: LayerRange(2, 4), positions: 0..<3))
    #expect(book.next() == nil)
}

@Test func book_unequalBoundaries_feedTwoDestinations() throws {
    var book = try makeBook(layers: LayerRange(1, 3))
    try book.subscribe(
        Subscription(id: SubscriptionID(2), destination: far, layers: LayerRange(3, 9), priority: .handOver))
    try book.grant(ticket(7, layers: LayerRange(3, 9)), by: far)
    try book.sourceRaised(SequenceID(1), layers: layers, to: 2)
    let frames = all(&book)
    #expect(frames.map(\.destination) == [far, near], "the more urgent one first")
    #expect(frames.map(\.span.layers) == [LayerRange(3, 4), LayerRange(1, 3)])
}

@Test func book_noTicketYet_waitsAndCountsAsBacklog() throws {
    var book = try makeBook(granting: false)
    try book.sourceRaised(SequenceID(1), layers: layers, to: 2)
    #expect(book.next() == nil && book.backlog.rows == 8)
    try book.grant(ticket(1, layers: LayerRange(0, 2), limit: 1), by: near)
    #expect(book.next()?.span == Span(sequence: SequenceID(1), layers: LayerRange(0, 2), positions: 0..<1))
    #expect(book.next() == nil, "beyond the ticket nothing is sent")
}

@Test func book_gap_goesBackOnceForAllThatIsOnItsWay() throws {
    var book = try makeBook()
    try book.sourceRaised(SequenceID(1), layers: layers, to: 20)
    let frames = all(&book)
    book.gap(frames[0].flight, watermark: 4)
    let again = try take(&book)
    #expect(again.span.positions == 4..<14)
    book.gap(frames[1].flight, watermark: 4)
    #expect(book.next()?.span.positions == 14..<20, "the second answer is no news")
    book.checkIntegrity()
}

@Test func book_gapOfSomeLayers_sendsAgainWhatOthersHadInTheSameFrames() throws {
    var book = try makeBook()
    try book.sourceRaised(SequenceID(1), layers: LayerRange(0, 2), to: 5)
    let low = try take(&book)
    try book.sourceRaised(SequenceID(1), layers: LayerRange(2, 4), to: 5)
    let high = try take(&book)
    try book.sourceRaised(SequenceID(1), layers: layers, to: 6)
    let all = try take(&book)
    #expect(all.span == Span(sequence: SequenceID(1), layers: layers, positions: 5..<6))
    // The low layers lost their first frame, and so the one over all layers is refused as well.
    book.gap(low.flight, watermark: 0)
    book.acknowledge(high.flight, watermark: 5)
    book.gap(all.flight, watermark: 0)
    var sent: Set<Int> = []
    while let dispatch = book.next() {
        if dispatch.span.positions.contains(5) { sent.formUnion(dispatch.span.layers.indices) }
        book.acknowledge(dispatch.flight, watermark: dispatch.span.positions.upperBound)
    }
    #expect(sent == Set(layers.indices) && book.backlog.isEmpty)
    book.checkIntegrity()
}

@Test func book_refused_standsStillUntilResumed() throws {
    var book = try makeBook()
    try book.sourceRaised(SequenceID(1), layers: layers, to: 5)
    let first = try take(&book)
    book.refuse(first.flight)
    #expect(book.next() == nil)
    book.resume(near)
    let second = try take(&book)
    #expect(second.span == first.span && second.flight != first.flight)
    // A new ticket also sets it going, from what the destination says it holds.
    book.refuse(second.flight)
    try book.grant(ticket(2), by: near, watermark: 3)
    let third = try take(&book)
    #expect(third.ticket.number == 2 && third.span.positions == 3..<5)
    // An answer to the old ticket says nothing about the new one.
    book.acknowledge(second.flight, watermark: 5)
    #expect(book.acknowledged(SubscriptionID(1), SequenceID(1)) == 3)
}

@Test func book_linkLost_sendsAgainWhatWasNotAcknowledged() throws {
    var book = try makeBook()
    try book.sourceRaised(SequenceID(1), layers: layers, to: 20)
    let frames = all(&book)
    book.acknowledge(frames[0].flight, watermark: 10)
    book.linkLost(near)
    #expect(book.next() == nil && book.bytesInFlight(to: near) == 0)
    book.linkOpened(near)
    #expect(book.next()?.span.positions == 10..<20)
    book.acknowledge(frames[1].flight, watermark: 20)
    #expect(book.acknowledged(SubscriptionID(1), SequenceID(1)) == 10, "an answer over the old link is not taken")
    book.checkIntegrity()
}

@Test func book_sourceLowered_sendsNothingAboveIt() throws {
    var book = try makeBook()
    try book.sourceRaised(SequenceID(1), layers: layers, to: 5)
    book.sourceLowered(SequenceID(1), layers: LayerRange(1, 2), to: 2)
    let frames = all(&book)
    #expect(frames.map(\.span.layers) == [LayerRange(0, 1), LayerRange(1, 2), LayerRange(2, 4)])
    #expect(frames.map(\.span.positions) == [0..<5, 0..<2, 0..<5])
}

@Test func book_destinationLowered_sendsItAgain() throws {
    var book = try makeBook()
    try book.sourceRaised(SequenceID(1), layers: layers, to: 5)
    let first = try take(&book)
    book.acknowledge(first.flight, watermark: 5)
    book.destinationLowered(near, SequenceID(1), layers: LayerRange(2, 3), to: 1)
    #expect(book.next()?.span == Span(sequence: SequenceID(1), layers: LayerRange(2, 3), positions: 1..<5))
}

@Test func book_severalSequences_takeTurnsByTheLargestBacklog() throws {
    var book = try makeBook(granting: false)
    for sequence in 1...3 as ClosedRange<UInt64> {
        try book.grant(ticket(sequence, sequence), by: near)
        try book.sourceRaised(SequenceID(sequence), layers: layers, to: Int(sequence) * 20)
    }
    var order: [UInt64] = []
    for _ in 0..<6 {
        let dispatch = try take(&book)
        order.append(dispatch.span.sequence.rawValue)
        book.acknowledge(dispatch.flight, watermark: dispatch.span.positions.upperBound)
    }
    #expect(order == [3, 2, 1, 3, 2, 1])
}

@Test func book_released_forgetsTheSequenceButNotTheBytes() throws {
    var book = try makeBook()
    try book.sourceRaised(SequenceID(1), layers: layers, to: 5)
    let first = try take(&book)
    book.sourceReleased(SequenceID(1))
    #expect(book.backlog.isEmpty && book.bytesInFlight(to: near) == 200)
    book.acknowledge(first.flight, watermark: 5)
    #expect(book.bytesInFlight(to: near) == 0)
    book.unsubscribe(SubscriptionID(1))
    #expect(book.subscriptions.isEmpty)
    book.checkIntegrity()
}

@Test func book_answerFromBeforeARelease_saysNothingOfTheNewTicket() throws {
    var book = try makeBook()
    try book.sourceRaised(SequenceID(1), layers: layers, to: 5)
    let old = try take(&book)
    book.sourceReleased(SequenceID(1))
    try book.sourceRaised(SequenceID(1), layers: layers, to: 5)
    try book.grant(ticket(2), by: near)
    book.acknowledge(old.flight, watermark: 5)
    #expect(book.acknowledged(SubscriptionID(1), SequenceID(1)) == 0)
    #expect(book.next()?.span.positions == 0..<5)
}

@Test func book_limits_areKept() throws {
    var limits = SubscriptionLimits()
    limits.subscriptionsMax = 1
    limits.sequencesMax = 1
    limits.flightsMax = 1
    limits.frameBytesMax = rowBytes
    limits.bytesInFlightMax = 10 * rowBytes
    var book = SubscriptionBook(layers: layers, rowBytes: rowBytes, limits: limits)
    let order = Subscription(id: SubscriptionID(1), destination: near, layers: layers, priority: .replica)
    try book.subscribe(order)
    #expect(throws: DejaVuError.self) { try book.subscribe(order) }
    #expect(throws: DejaVuError.self) {
        try book.subscribe(
            Subscription(id: SubscriptionID(2), destination: near, layers: layers, priority: .replica))
    }
    #expect(throws: DejaVuError.self) { try book.grant(ticket(1), by: far) }
    try book.grant(ticket(1), by: near)
    #expect(throws: DejaVuError.self) { try book.grant(ticket(2, 2), by: near) }
    try book.sourceRaised(SequenceID(1), layers: layers, to: 5)
    #expect(throws: DejaVuError.self) { try book.sourceRaised(SequenceID(2), layers: layers, to: 5) }
    #expect(all(&book).map(\.span.layers) == [LayerRange(0, 1)], "a frame of one row, and one at a time")
}
