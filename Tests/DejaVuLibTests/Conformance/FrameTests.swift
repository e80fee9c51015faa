import DejaVuCore
import DejaVuKV
import DejaVuLib
import DejaVuTestStores
import NIOCore
import Testing

/// Bytes of a frame; the last is for the full count alone.
private let sizes = [1, 2, 7, 4095, 4096, 65_537, 262_143, 262_144, 262_145, 1 << 20, (5 << 20) + 3, 16 << 20]
private let isFull = roundCount >= 50

@Test(arguments: Kind.allCases)
func transport_framesOfAllSizes_arriveWhole(kind: Kind) async throws {
    for size in sizes {
        let store = RecordingStore(rowBytes: size)
        try await withFabric(kind, ["rows": store]) { fabric in
            let sequence = try await opened(1, at: fabric.near)
            for position in 0..<3 {
                let posting = try await fabric.near.post(sequence, position..<position + 1, rowBytes: size)
                #expect(try await posting.receipt() == .committed(watermark: position + 1))
            }
            #expect(store.rows(of: sequence) == TestFrames.rows(sequence, 0..<3, rowBytes: size), "\(size) bytes")
        }
    }
}

@Test(.enabled(if: isFull, "only with the full counts"), arguments: Kind.allCases)
func transport_frameOfOneGigabyte_arrivesAndIsReadBack(kind: Kind) async throws {
    let size = 1 << 30
    let store = RecordingStore(rowBytes: size)
    try await withFabric(kind, ["rows": store], bytesInFlightMax: size) { fabric in
        let sequence = try await opened(1, at: fabric.near)
        let posting = try await fabric.near.post(
            sequence, 0..<1, rowBytes: size, within: .seconds(Int64(600)))
        #expect(try await posting.receipt() == .committed(watermark: 1))
        let expected = Checksum.of(TestFrames.rows(sequence, 0..<1, rowBytes: size))
        #expect(Checksum.of(store.rows(of: sequence)) == expected)
        let span = Span(sequence: sequence, layers: LayerRange(0, 1), positions: 0..<1)
        let rows = try await fabric.near.read(
            span, rowBytes: size, from: "rows", priority: .swapIn, within: .seconds(Int64(600)))
        #expect(Checksum.of(rows) == expected)
    }
}

@Test(arguments: Kind.allCases)
func transport_framesOfOneSequence_commitInTheOrderOfTheirPosting(kind: Kind) async throws {
    let store = RecordingStore(rowBytes: 3000)
    try await withFabric(kind, ["rows": store]) { fabric in
        let sequence = try await opened(1, at: fabric.near)
        var postings: [Posting] = []
        for position in 0..<300 {
            let priority: StreamPriority = position % 3 == 0 ? .rebuild : .swapIn
            postings.append(
                try await fabric.near.post(sequence, position..<position + 1, rowBytes: 3000, priority: priority))
        }
        for (position, posting) in postings.enumerated() {
            #expect(try await posting.receipt() == .committed(watermark: position + 1))
        }
        #expect(store.rows(of: sequence) == TestFrames.rows(sequence, 0..<300, rowBytes: 3000))
    }
}

/// A store that takes bytes at once, on the loop that receives them.
@Test(arguments: Kind.allCases)
func transport_framesIntoHostMemory_areWhole(kind: Kind) async throws {
    let (rowBytes, count) = (1 << 20, isFull ? 2000 : 200)
    let sequence = SequenceID(1)
    for _ in 0..<(count / 100) {
        let store = try HostStore(
            name: "rows", layers: LayerRange(0, 1), rowBytes: rowBytes, numericClass: NumericClass(hash: 7),
            options: HostStore.Options(budget: 128 << 20))
        try await withFabric(kind, ["rows": store]) { fabric in
            let ticket = Ticket(
                number: 1001, sequence: sequence, layers: LayerRange(0, 1), positionLimit: 100,
                writer: TestFrames.writer)
            try await fabric.near.open(ticket, tokens: [], in: "rows", within: patience)
            var postings: [Posting] = []
            for position in 0..<100 {
                postings.append(try await fabric.near.post(sequence, position..<position + 1, rowBytes: rowBytes))
            }
            for (position, posting) in postings.enumerated() {
                #expect(try await posting.receipt() == .committed(watermark: position + 1))
            }
            let span = Span(sequence: sequence, layers: LayerRange(0, 1), positions: 0..<100)
            #expect(try await store.read(span) == TestFrames.rows(sequence, 0..<100, rowBytes: rowBytes))
        }
    }
}

@Test(arguments: Kind.allCases)
func transport_manySmallFramesOfManySequences_allArrive(kind: Kind) async throws {
    let store = RecordingStore(rowBytes: 64)
    try await withFabric(kind, ["rows": store]) { fabric in
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<16 {
                group.addTask {
                    let sequence = try await opened(UInt64(number), at: fabric.near)
                    let priority = StreamPriority.allCases[number % StreamPriority.allCases.count]
                    var postings: [Posting] = []
                    for step in 0..<100 {
                        let positions = step * 3..<step * 3 + 3
                        postings.append(
                            try await fabric.near.post(sequence, positions, rowBytes: 64, priority: priority))
                    }
                    for posting in postings { _ = try await posting.receipt() }
                    #expect(store.rows(of: sequence) == TestFrames.rows(sequence, 0..<300, rowBytes: 64))
                }
            }
            try await group.waitForAll()
        }
    }
}

@Test(arguments: Kind.allCases)
func transport_bothEndsSendAtOnce_neitherWaitsForTheOther(kind: Kind) async throws {
    let (far, near) = (RecordingStore(rowBytes: 1 << 20), RecordingStore(rowBytes: 1 << 20))
    try await withFabric(kind, ["rows": far], nearStores: ["rows": near]) { fabric in
        func send(over transport: PeerTransport) async throws {
            let sequence = try await opened(1, at: transport)
            for position in 0..<8 {
                let posting = try await transport.post(sequence, position..<position + 1, rowBytes: 1 << 20)
                #expect(try await posting.receipt() == .committed(watermark: position + 1))
            }
        }
        async let there: Void = send(over: fabric.near)
        async let back: Void = send(over: fabric.far)
        _ = try await (there, back)
        let rows = TestFrames.rows(SequenceID(1), 0..<8, rowBytes: 1 << 20)
        #expect(far.rows(of: SequenceID(1)) == rows && near.rows(of: SequenceID(1)) == rows)
    }
}

@Test(arguments: Kind.allCases)
func transport_knownAndGap_areSaidAndNothingChanges(kind: Kind) async throws {
    let store = RecordingStore(rowBytes: 1000)
    try await withFabric(kind, ["rows": store]) { fabric in
        let sequence = try await opened(1, at: fabric.near)
        let first = try await fabric.near.post(sequence, 0..<2000, rowBytes: 1000)
        #expect(try await first.receipt() == .committed(watermark: 2000))
        let known = try await fabric.near.post(sequence, 0..<2000, rowBytes: 1000)
        #expect(try await known.receipt() == .known(watermark: 2000))
        let gap = try await fabric.near.post(sequence, 3000..<5000, rowBytes: 1000)
        #expect(try await gap.receipt() == .gap(watermark: 2000))
        let next = try await fabric.near.post(sequence, 2000..<2001, rowBytes: 1000)
        #expect(try await next.receipt() == .committed(watermark: 2001))
    }
}

@Test(arguments: Kind.allCases)
func transport_storesThroughPeerStore_behaveLikeStores(kind: Kind) async throws {
    let store = RecordingStore(rowBytes: 5000)
    try await withFabric(kind, ["rows": store]) { fabric in
        let peer = try await PeerStore.named("rows", over: fabric.near, priority: .handOver, within: patience)
        #expect(peer.rowBytes == 5000 && peer.layers == LayerRange(0, 1) && peer.numericClass == NumericClass(hash: 7))
        let sequence = SequenceID(3)
        try await peer.open(TestFrames.ticket(sequence), tokens: [1, 2, 3])
        await #expect(throws: DejaVuError.self) { try await peer.open(TestFrames.ticket(sequence), tokens: []) }
        guard case .land(let landing) = try await peer.begin(TestFrames.header(sequence, 0..<500, rowBytes: 5000))
        else { throw DejaVuError(.internalError, "not admitted") }
        var rows = TestFrames.rows(sequence, 0..<500, rowBytes: 5000)
        let checksum = Checksum.of(rows)
        while let part = rows.readSlice(length: min(rows.readableBytes, 77_777)), part.readableBytes > 0 {
            try await landing.write(part)
        }
        #expect(try await landing.finish(checksum: checksum) == 500)
        landing.abandon()
        #expect(try await peer.watermark(of: sequence, layers: LayerRange(0, 1)) == 500)
        let span = Span(sequence: sequence, layers: LayerRange(0, 1), positions: 100..<400)
        #expect(try await peer.read(span) == TestFrames.rows(sequence, 100..<400, rowBytes: 5000))
        guard case .known(500) = try await peer.begin(TestFrames.header(sequence, 0..<10, rowBytes: 5000)),
            case .gap(500) = try await peer.begin(TestFrames.header(sequence, 600..<610, rowBytes: 5000))
        else { throw DejaVuError(.internalError, "neither known nor a gap") }
        try await peer.release(sequence)
        #expect(try await peer.watermark(of: sequence, layers: LayerRange(0, 1)) == 0)
        let error = await #expect(throws: DejaVuError.self) { try await peer.read(span) }
        #expect(error?.code == .notFound)
    }
}
