import DejaVuCore
import DejaVuKV
import DejaVuLib
import Testing

private let all = LayerRange(0, 6)
private let ids = (0..<3).map { SequenceID(UInt64(10 + $0)) }

/// Every single switch turned off, and all of them.
private let variants: [StreamOptions] = {
    var variants = [StreamOptions(), .naive]
    for path in [
        \StreamOptions.bufferedCopies, \.layerByLayer, \.tokenOverlap, \.deltas, \.runMerging, \.sharedReads,
    ] {
        var options = StreamOptions()
        options[keyPath: path] = false
        variants.append(options)
    }
    return variants
}()

@Test(arguments: variants)
func engine_promptAndSteps_reachUnequalDestinations(options: StreamOptions) async throws {
    let harness = EngineHarness(layers: all, options: options)
    let stores = LayerRange.even(layers: 6, stages: 3).map { LedgerStore("stage \($0)", layers: $0) }
    let replica = LedgerStore("replica", layers: all)
    let texts = ids.map { testTokens(40, seed: $0.rawValue) }
    try await harness.run {
        var handles: [StreamSubscription] = []
        for (number, store) in (stores + [replica]).enumerated() {
            let order = harness.order(UInt64(number), to: StoreID(UInt64(number)), store.layers)
            handles.append(try harness.engine.subscribe(order, to: store))
        }
        for (id, text) in zip(ids, texts) {
            try await harness.open(id, tokens: text, limit: 40)
            for (number, store) in (stores + [replica]).enumerated() {
                try await harness.grant(store, StoreID(UInt64(number)), id, limit: 40)
            }
            // The prompt, in segments of layers.
            for segment in LayerRange.even(layers: 6, stages: 2) {
                harness.compute(text, id, 0..<30, layers: segment)
            }
        }
        for position in 30..<40 {
            for (id, text) in zip(ids, texts) { harness.compute(text, id, position..<position + 1) }
            try await harness.engine.passEnded()
        }
        for handle in handles { try await handle.caughtUp(within: .seconds(60)) }
        #expect(harness.engine.backlog.isEmpty)
    }
    for store in stores + [replica] {
        for (id, text) in zip(ids, texts) {
            try await expectRows(store, text, Span(sequence: id, layers: store.layers, positions: 0..<40))
        }
    }
    #expect(harness.events.isEmpty)
}

/// What one lacks is read together with what another lacks only if nothing overtakes what goes before it.
@Test func engine_oneIsBehindTheOther_framesKeepTheirOrder() async throws {
    let text = testTokens(40, seed: 4)
    var options = StreamOptions()
    options.frameBytesMax = all.count * 48 * 15
    let harness = EngineHarness(layers: all, options: options)
    let stores = [LedgerStore("ahead", layers: all), LedgerStore("behind", layers: all)]
    func subscribe(_ number: Int) async throws -> StreamSubscription {
        let handle = try harness.engine.subscribe(
            harness.order(UInt64(number), to: StoreID(UInt64(number)), all), to: stores[number])
        try await harness.grant(stores[number], StoreID(UInt64(number)), ids[0], limit: 40)
        return handle
    }
    try await harness.open(ids[0], tokens: text, limit: 40)
    var handles = [try await subscribe(0)]
    harness.compute(text, ids[0], 0..<30)
    try await harness.run { try await handles[0].caughtUp(within: .seconds(60)) }
    handles.append(try await subscribe(1))
    harness.compute(text, ids[0], 30..<40)
    try await harness.run { for handle in handles { try await handle.caughtUp(within: .seconds(60)) } }
    #expect(harness.engine.counters.framesGap == 0)
    #expect(harness.engine.counters.bytesCommitted == 2 * all.count * 40 * 48)
    for store in stores { try await expectRows(store, text, Span(sequence: ids[0], layers: all, positions: 0..<40)) }
}

@Test func engine_twoSubscribersWithTheSameWishes_readOnce() async throws {
    let text = testTokens(20, seed: 1)
    func reads(shared: Bool) async throws -> Int {
        var options = StreamOptions()
        options.sharedReads = shared
        options.tokenOverlap = false
        let harness = EngineHarness(layers: all, options: options)
        let stores = [LedgerStore("one", layers: all), LedgerStore("two", layers: LayerRange(1, 4))]
        try await harness.run {
            for (number, store) in stores.enumerated() {
                let order = harness.order(UInt64(number), to: StoreID(UInt64(number)), store.layers)
                try harness.engine.subscribe(order, to: store)
            }
            try await harness.open(ids[0], tokens: text, limit: 20)
            for (number, store) in stores.enumerated() {
                try await harness.grant(store, StoreID(UInt64(number)), ids[0], limit: 20)
            }
            for position in 0..<20 {
                harness.compute(text, ids[0], position..<position + 1)
                try await harness.engine.passEnded()
            }
        }
        for store in stores {
            try await expectRows(store, text, Span(sequence: ids[0], layers: store.layers, positions: 0..<20))
        }
        #expect(harness.source.readCount == harness.engine.counters.reads)
        return harness.source.readCount
    }
    #expect(try await reads(shared: true) == 20)
    #expect(try await reads(shared: false) == 40)
}

@Test func engine_slowDestination_doesNotHoldUpAnother() async throws {
    let text = testTokens(60, seed: 2)
    let harness = EngineHarness(layers: all)
    let (slow, quick) = (LedgerStore("slow", layers: all), LedgerStore("quick", layers: all))
    slow.set { $0.isStalled = true }
    try await harness.run {
        let late = try harness.engine.subscribe(harness.order(1, to: StoreID(1), all), to: slow)
        let prompt = try harness.engine.subscribe(harness.order(2, to: StoreID(2), all), to: quick)
        try await harness.open(ids[0], tokens: text, limit: 60)
        try await harness.grant(slow, StoreID(1), ids[0], limit: 60)
        try await harness.grant(quick, StoreID(2), ids[0], limit: 60)
        for position in 0..<60 { harness.compute(text, ids[0], position..<position + 1) }
        try await prompt.caughtUp(within: .seconds(60))
        #expect(late.backlog.positions == 60)
        try await expectRows(quick, text, Span(sequence: ids[0], layers: all, positions: 0..<60))
    }
}

@Test func engine_stalledFrame_isGivenUpAtItsDeadlineAndTriedAgain() async throws {
    let text = testTokens(10, seed: 3)
    var options = StreamOptions()
    options.frameTimeMax = .milliseconds(50)
    let harness = EngineHarness(layers: all, options: options)
    let store = LedgerStore("stalled", layers: all)
    store.set { $0.isStalled = true }
    try await harness.run {
        let handle = try harness.engine.subscribe(harness.order(1, to: StoreID(1), all), to: store)
        try await harness.open(ids[0], tokens: text, limit: 10)
        try await harness.grant(store, StoreID(1), ids[0], limit: 10)
        harness.compute(text, ids[0], 0..<10)
        try await eventually("a report") { !harness.events.isEmpty }
        guard case .delayed(_, ids[0], let error) = harness.events[0] else {
            Issue.record("\(harness.events)")
            return
        }
        #expect(error.code == .deadlineExceeded)
        store.set { $0.isStalled = false }
        try await handle.caughtUp(within: .seconds(60))
    }
    try await expectRows(store, text, Span(sequence: ids[0], layers: all, positions: 0..<10))
}

@Test func engine_faultsOfTheStores_areRetriedUntilAllIsThere() async throws {
    let text = testTokens(50, seed: 4)
    var options = StreamOptions()
    options.frameBytesMax = 6 * 48 * 4
    options.chunkBytesMax = 200
    options.retryTime = .milliseconds(1)
    let harness = EngineHarness(layers: all, options: options)
    let store = LedgerStore("faulty", layers: all)
    try await harness.run {
        let handle = try harness.engine.subscribe(harness.order(1, to: StoreID(1), all), to: store)
        try await harness.open(ids[0], tokens: text, limit: 50)
        try await harness.grant(store, StoreID(1), ids[0], limit: 50)
        for round in 0..<10 {
            store.set {
                $0.failingWrites = round % 3
                $0.failingFinishes = round % 2
            }
            harness.source.set { $0.failingReads = round % 4 == 3 ? 2 : 0 }
            harness.compute(text, ids[0], round * 5..<round * 5 + 5)
            try await handle.caughtUp(within: .seconds(60))
        }
    }
    try await expectRows(store, text, Span(sequence: ids[0], layers: all, positions: 0..<50))
    #expect(harness.engine.counters.retries > 0)
}

@Test func engine_releasedAtTheDestination_standsStillUntilANewTicket() async throws {
    let text = testTokens(20, seed: 5)
    let harness = EngineHarness(layers: all)
    let store = LedgerStore("store", layers: all)
    try await harness.run {
        let handle = try harness.engine.subscribe(harness.order(1, to: StoreID(1), all), to: store)
        try await harness.open(ids[0], tokens: text, limit: 20)
        try await harness.grant(store, StoreID(1), ids[0], limit: 20)
        harness.compute(text, ids[0], 0..<10)
        try await handle.caughtUp(within: .seconds(60))
        try await store.release(ids[0])
        harness.compute(text, ids[0], 10..<20)
        try await eventually("a refusal") { !harness.events.isEmpty }
        guard case .refused(SubscriptionID(1), ids[0], let error) = harness.events[0] else {
            Issue.record("\(harness.events)")
            return
        }
        #expect(error.code == .refused)
        try await harness.grant(store, StoreID(1), ids[0], limit: 20)
        try await handle.caughtUp(within: .seconds(60))
    }
    try await expectRows(store, text, Span(sequence: ids[0], layers: all, positions: 0..<20))
}

@Test func engine_destinationLowered_isSentAgain() async throws {
    let text = testTokens(20, seed: 6)
    let harness = EngineHarness(layers: all)
    let store = LedgerStore("store", layers: all)
    try await harness.run {
        let handle = try harness.engine.subscribe(harness.order(1, to: StoreID(1), all), to: store)
        try await harness.open(ids[0], tokens: text, limit: 20)
        try await harness.grant(store, StoreID(1), ids[0], limit: 20)
        harness.compute(text, ids[0], 0..<12)
        try await handle.caughtUp(within: .seconds(60))
        store.lower(ids[0], to: 5)
        // Nobody tells: the next frame meets the gap.
        harness.compute(text, ids[0], 12..<20)
        try await handle.caughtUp(within: .seconds(60))
        #expect(harness.engine.counters.framesGap > 0)
        store.lower(ids[0], to: 3)
        harness.engine.destinationLowered(StoreID(1), ids[0], layers: all, to: 3)
        try await handle.caughtUp(within: .seconds(60))
    }
    try await expectRows(store, text, Span(sequence: ids[0], layers: all, positions: 0..<20))
}

@Test func engine_sourceHoldsLessThanItSaid_reportsAndGoesOnFromThere() async throws {
    let text = testTokens(20, seed: 7)
    let harness = EngineHarness(layers: all)
    let store = LedgerStore("store", layers: all)
    try await harness.run {
        let handle = try harness.engine.subscribe(harness.order(1, to: StoreID(1), all), to: store)
        try await harness.open(ids[0], tokens: text, limit: 20)
        harness.compute(text, ids[0], 0..<20)
        try await eventually("the note") { handle.backlog.positions == 20 }
        harness.source.lower(ids[0], to: 8)
        try await harness.grant(store, StoreID(1), ids[0], limit: 20)
        try await eventually("a report") { !harness.events.isEmpty }
        guard case .sourceLowered(ids[0], all, to: 8, _) = harness.events[0] else {
            Issue.record("\(harness.events)")
            return
        }
        try await handle.caughtUp(within: .seconds(60))
        harness.compute(text, ids[0], 8..<20)
        try await eventually("the rest") { handle.acknowledged(ids[0]) == 20 }
    }
    try await expectRows(store, text, Span(sequence: ids[0], layers: all, positions: 0..<20))
}

@Test func engine_pausedResumedAndCancelled_sendsAccordingly() async throws {
    let text = testTokens(30, seed: 8)
    let harness = EngineHarness(layers: all)
    let store = LedgerStore("store", layers: all)
    try await harness.run {
        let handle = try harness.engine.subscribe(harness.order(1, to: StoreID(1), all), to: store)
        try await harness.open(ids[0], tokens: text, limit: 30)
        try await harness.grant(store, StoreID(1), ids[0], limit: 30)
        harness.compute(text, ids[0], 0..<10)
        try await handle.caughtUp(within: .seconds(60))
        handle.pause()
        harness.compute(text, ids[0], 10..<20)
        try await harness.engine.settled(within: .seconds(60))
        #expect(handle.backlog.positions == 10)
        handle.resume()
        try await handle.caughtUp(within: .seconds(60))
        handle.cancel()
        harness.compute(text, ids[0], 20..<30)
        try await harness.engine.settled(within: .seconds(60))
        #expect(handle.backlog.isEmpty)
        let error = await #expect(throws: DejaVuError.self) { try await handle.caughtUp(within: .seconds(60)) }
        #expect(error?.code == .notFound)
        #expect(try await store.watermark(of: ids[0], layers: all) == 20)
    }
}

@Test func engine_progress_endsWithTheNewestWatermark() async throws {
    let text = testTokens(25, seed: 9)
    let harness = EngineHarness(layers: all)
    let store = LedgerStore("store", layers: all)
    try await harness.run {
        let handle = try harness.engine.subscribe(harness.order(1, to: StoreID(1), all), to: store)
        let progress = handle.progress
        try await harness.open(ids[0], tokens: text, limit: 25)
        try await harness.grant(store, StoreID(1), ids[0], limit: 25)
        for position in 0..<25 { harness.compute(text, ids[0], position..<position + 1) }
        try await handle.caughtUp(within: .seconds(60))
        handle.cancel()
        var marks: [Int] = []
        for await step in progress {
            #expect(step.sequence == ids[0] && step.subscription == SubscriptionID(1))
            marks.append(step.watermark)
        }
        #expect(marks == marks.sorted())
        #expect(marks.last == 25)
    }
}

@Test func engine_moreNotesThanTheDoorbellKeeps_losesNothing() async throws {
    let text = testTokens(40, seed: 10)
    var options = StreamOptions()
    options.doorbellCountMax = 2
    let harness = EngineHarness(layers: all, options: options)
    let store = LedgerStore("store", layers: all)
    let handle = try harness.engine.subscribe(harness.order(1, to: StoreID(1), all), to: store)
    try await harness.open(ids[0], tokens: text, limit: 40)
    try await harness.grant(store, StoreID(1), ids[0], limit: 40)
    for position in 0..<40 { harness.compute(text, ids[0], position..<position + 1) }
    try await harness.run { try await eventually("all") { handle.acknowledged(ids[0]) == 40 } }
    #expect(harness.engine.counters.doorbellsOverflowed == 38)
    try await expectRows(store, text, Span(sequence: ids[0], layers: all, positions: 0..<40))
}

@Test func engine_storesWithOtherRows_areRefused() throws {
    let harness = EngineHarness(layers: all)
    let error = #expect(throws: DejaVuError.self) {
        try harness.engine.subscribe(
            harness.order(1, to: StoreID(1), all), to: LedgerStore("other", layers: all, rowBytes: 56))
    }
    #expect(error?.code == .mismatch)
}
