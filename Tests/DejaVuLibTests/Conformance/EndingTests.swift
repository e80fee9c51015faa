import DejaVuCore
import DejaVuKV
import DejaVuLib
import DejaVuTestStores
import NIOCore
import Testing

private let rowBytes = 4 << 20

@Test(arguments: Kind.allCases)
func transport_oneStoreStalls_othersGoOnAndTheUrgentArrive(kind: Kind) async throws {
    let store = RecordingStore(rowBytes: rowBytes)
    try await withFabric(kind, ["rows": store]) { fabric in
        let slow = try await opened(1, at: fabric.near)
        store.setGate(of: slow, open: false)
        let stalled = try await fabric.near.post(slow, 0..<1, rowBytes: rowBytes, priority: .replica)
        try await until("it lands") { store.events.contains(.began(slow, 0)) }
        for (number, priority) in StreamPriority.allCases.enumerated() {
            let other = try await opened(UInt64(number + 2), at: fabric.near)
            let posting = try await fabric.near.post(other, 0..<1, rowBytes: rowBytes, priority: priority)
            #expect(try await posting.receipt() == .committed(watermark: 1))
        }
        #expect(stalled.poll() == nil, "it must still wait for its store")
        // What the far end keeps of a frame that its store does not take is bounded.
        let taken = store.events.reduce(0) { if case .wrote(slow, let bytes) = $1 { $0 + bytes } else { $0 } }
        #expect(taken <= PeerProtocol.window)
        store.setGate(of: slow, open: true)
        #expect(try await stalled.receipt() == .committed(watermark: 1))
    }
}

@Test(arguments: Kind.allCases)
func transport_poolIsFull_preparingWaitsUntilAReceipt(kind: Kind) async throws {
    let store = RecordingStore(rowBytes: rowBytes)
    try await withFabric(kind, ["rows": store], bytesInFlightMax: 2 * rowBytes) { fabric in
        let sequence = try await opened(1, at: fabric.near)
        store.setGate(of: sequence, open: false)
        let first = try await fabric.near.post(sequence, 0..<1, rowBytes: rowBytes)
        let second = try await fabric.near.post(sequence, 1..<2, rowBytes: rowBytes)
        let late = await #expect(throws: DejaVuError.self) {
            try await fabric.near.prepare(1, priority: .swapIn, within: .milliseconds(50))
        }
        #expect(late?.code == .deadlineExceeded)
        async let third = fabric.near.prepare(rowBytes, priority: .replica, within: patience)
        try await until("the third waits") { fabric.near.staging.waitingCount == 1 }
        store.setGate(of: sequence, open: true)
        #expect(try await first.receipt() == .committed(watermark: 1))
        try await third.release()
        #expect(try await second.receipt() == .committed(watermark: 2))
    }
}

@Test(arguments: Kind.allCases)
func transport_deadlinePasses_frameIsAbandonedAndItsPlaceIsFree(kind: Kind) async throws {
    let store = RecordingStore(rowBytes: rowBytes)
    try await withFabric(kind, ["rows": store]) { fabric in
        let sequence = try await opened(1, at: fabric.near)
        store.setGate(of: sequence, open: false)
        let posting = try await fabric.near.post(
            sequence, 0..<1, rowBytes: rowBytes, within: .milliseconds(300))
        let error = await #expect(throws: DejaVuError.self) { try await posting.receipt() }
        #expect(error?.code == .deadlineExceeded)
        try await until("the landing ends") { store.underWay == 0 }
        store.setGate(of: sequence, open: true)
        let again = try await fabric.near.post(sequence, 0..<1, rowBytes: rowBytes)
        #expect(try await again.receipt() == .committed(watermark: 1))
    }
}

/// Where a frame is when it is cancelled.
enum Moment: CaseIterable, Sendable { case atOnce, queued, landing, inTheMiddle, atTheEnd }

@Test(arguments: Kind.allCases, Moment.allCases)
func transport_frameIsCancelled_landingIsAbandonedOnceAndTheNextIsTaken(kind: Kind, moment: Moment) async throws {
    let store = RecordingStore(rowBytes: rowBytes)
    try await withFabric(kind, ["rows": store]) { fabric in
        let sequence = try await opened(1, at: fabric.near)
        if moment != .atOnce && moment != .atTheEnd { store.setGate(of: sequence, open: false) }
        let first = try await fabric.near.post(sequence, 0..<1, rowBytes: rowBytes)
        var victim = first
        switch moment {
        case .atOnce: break
        case .queued: victim = try await fabric.near.post(sequence, 1..<2, rowBytes: rowBytes)
        case .landing: try await until("it lands") { store.events.contains(.began(sequence, 0)) }
        case .inTheMiddle:
            try await until("bytes come") { store.events.contains { if case .wrote = $0 { true } else { false } } }
        case .atTheEnd: _ = try await first.receipt()
        }
        victim.cancel()
        if moment == .queued {
            let error = await #expect(throws: DejaVuError.self) { try await victim.receipt() }
            #expect(error?.code == .cancelled && first.poll() == nil)
            store.setGate(of: sequence, open: true)
            #expect(try await first.receipt() == .committed(watermark: 1))
        } else if moment == .atOnce {
            // It may have been faster.
            do { #expect(try await victim.receipt() == .committed(watermark: 1)) } catch {
                #expect((error as? DejaVuError)?.code == .cancelled)
            }
            try await until("the landing ends") { store.underWay == 0 }
        } else if moment != .atTheEnd {
            let error = await #expect(throws: DejaVuError.self) { try await victim.receipt() }
            #expect(error?.code == .cancelled)
            try await until("the landing ends") { store.underWay == 0 }
            store.setGate(of: sequence, open: true)
        }
        let watermark = try await fabric.near.watermark(
            of: sequence, layers: LayerRange(0, 1), in: "rows", within: patience)
        let next = try await fabric.near.post(sequence, watermark..<watermark + 1, rowBytes: rowBytes)
        #expect(try await next.receipt() == .committed(watermark: watermark + 1))
    }
}

@Test(arguments: Kind.allCases)
func transport_taskOfALandingIsCancelled_nothingHangs(kind: Kind) async throws {
    let store = RecordingStore(rowBytes: rowBytes)
    try await withFabric(kind, ["rows": store]) { fabric in
        let sequence = try await opened(1, at: fabric.near)
        store.setGate(of: sequence, open: false)
        let peer = try await PeerStore.named("rows", over: fabric.near, priority: .replica, within: patience)
        let task = Task {
            guard case .land(let landing) = try await peer.begin(TestFrames.header(sequence, 0..<1, rowBytes: rowBytes))
            else { return }
            defer { landing.abandon() }
            let rows = TestFrames.rows(sequence, 0..<1, rowBytes: rowBytes)
            try await landing.write(rows)
            _ = try await landing.finish(checksum: Checksum.of(rows))
        }
        try await until("it lands") { store.events.contains(.began(sequence, 0)) }
        task.cancel()
        await #expect(throws: DejaVuError.self) { try await task.value }
        try await until("the landing ends") { store.underWay == 0 }
    }
}

@Test(arguments: Kind.allCases)
func transport_linkEnds_everyPostingFailsOnceAndEveryLandingIsAbandoned(kind: Kind) async throws {
    let store = RecordingStore(rowBytes: rowBytes)
    try await withFabric(kind, ["rows": store]) { fabric in
        var postings: [Posting] = []
        for number in 1...6 as ClosedRange<UInt64> {
            let sequence = try await opened(number, at: fabric.near)
            store.setGate(of: sequence, open: false)
            postings.append(try await fabric.near.post(sequence, 0..<1, rowBytes: rowBytes))
            postings.append(try await fabric.near.post(sequence, 1..<2, rowBytes: rowBytes))
        }
        try await until("some land") { store.underWay >= 3 }
        fabric.far.close("the far end goes")
        for posting in postings {
            let error = await #expect(throws: DejaVuError.self) { try await posting.receipt() }
            #expect(error?.code == .network)
        }
        try await until("the end is told") { fabric.near.end != nil && fabric.far.end != nil }
        try await until("every landing ends") { store.underWay == 0 }
        let after = await #expect(throws: DejaVuError.self) {
            try await fabric.near.watermark(of: SequenceID(1), layers: LayerRange(0, 1), in: "rows", within: patience)
        }
        #expect(after?.code == .network)
        #expect(store.events.contains { if case .committed = $0 { true } else { false } } == false)
    }
}

@Test func stagingPool_waiters_areServedByUrgencyAndThenInOrder() async throws {
    let pool = StagingPool(bytesMax: 100)
    let all = try await pool.take(100, priority: .rebuild, within: patience)
    let order = Order()
    try await withThrowingTaskGroup(of: Void.self) { group in
        for (index, priority) in [StreamPriority.rebuild, .replica, .swapIn, .replica].enumerated() {
            group.addTask {
                let staging = try await pool.take(100, priority: priority, within: patience)
                await order.append(index)
                staging.release()
            }
            try await until("it waits") { pool.waitingCount == index + 1 }
        }
        all.release()
        try await group.waitForAll()
    }
    #expect(await order.values == [2, 1, 3, 0])
    #expect(pool.bytesInFlight == 0)
    let error = await #expect(throws: DejaVuError.self) {
        try await pool.take(101, priority: .swapIn, within: patience)
    }
    #expect(error?.code == .invalidArgument)
}

private actor Order {
    var values: [Int] = []
    func append(_ value: Int) { values.append(value) }
}
