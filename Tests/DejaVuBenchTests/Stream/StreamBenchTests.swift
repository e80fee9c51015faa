import DejaVuBench
import DejaVuCore
import DejaVuKV
import DejaVuLib
import NIOCore
import Synchronization
import Testing

private let length = 24
private let id = SequenceID(3)

private func bytes(_ count: Int, seed: UInt64) -> [UInt8] {
    var generator = SeededGenerator(seed: seed)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
}

private func shapes() throws -> [StreamShape] {
    [
        try .ggml("small", layers: 3, heads: 2, headSize: 16, batch: 2),
        try .opt("small OPT", layers: 3, heads: 2, batch: 2, byteScale: 8),
    ]
}

/// A device that holds all of one sequence.
private func device(_ shape: StreamShape) throws -> BenchDevice {
    let device = try BenchDevice(shape, length: length, profile: nil)
    device.open(id, slot: 1)
    device.commit([id], layers: device.layers, to: length)
    return device
}

private func whole(_ device: BenchDevice) -> Span { Span(sequence: id, layers: device.layers, positions: 0..<length) }

@Test(arguments: [1, 4096, 300_000, 1_000_001])
func bareMemory_anyLength_copiesAllAndChecksIt(count: Int) {
    let source = bytes(count, seed: UInt64(count))
    var target = [UInt8](repeating: 0, count: count)
    let checksum = source.withUnsafeBytes { source in
        target.withUnsafeMutableBytes { BareTransfers.memory(source, to: $0) }
    }
    #expect(target == source)
    #expect(checksum == Checksum.of(source))
}

@Test(arguments: [[1], [1000, 1, 70_000], [600_000, 5, 600_000]])
func bareSocket_pieces_arriveInOrder(lengths: [Int]) throws {
    let pieces = lengths.enumerated().map { bytes($1, seed: UInt64($0 + 1)) }
    let target = UnsafeMutableRawBufferPointer.allocate(byteCount: lengths.reduce(0, +), alignment: 16)
    defer { target.deallocate() }
    let socket = try BareSocket()
    for checks in [false, true] {
        target.initializeMemory(as: UInt8.self, repeating: 0)
        try socket.transfer(to: target, checks: checks) { send in
            for piece in pieces { piece.withUnsafeBytes { send($0) } }
        }
        #expect(Array(target) == pieces.flatMap { $0 })
    }
}

@Test func benchDevice_allWaysOut_giveTheSameBytes() async throws {
    for shape in try shapes() {
        let device = try device(shape)
        let span = whole(device)
        let packed = try await device.read(span)
        #expect(packed.readableBytes == span.rowCount * device.rowBytes)
        // In place, piece by piece and at once.
        let layerBytes = length * device.rowBytes
        let places = device.layers.indices.map { _ in
            UnsafeMutableRawBufferPointer.allocate(byteCount: layerBytes, alignment: 16)
        }
        defer { for place in places { place.deallocate() } }
        let checksum = try await device.copy(span, to: RowMemory(layers: places))
        #expect(places.flatMap { Array($0) } == Array(packed.readableBytesView))
        #expect(checksum == Checksum.of(packed))
        // Run by run: the device's own order, but the same bytes, and as many runs as are said.
        let runs = Mutex<(count: Int, bytes: [UInt8])>((0, []))
        try await device.runs(of: span, merging: false) { run in
            runs.withLock { runs in
                runs.count += 1
                runs.bytes += Array(run.readableBytesView)
            }
        }
        #expect(runs.withLock { $0.count } == (try device.naiveRunCount(positions: length)))
        #expect(runs.withLock { $0.bytes.sorted() } == Array(packed.readableBytesView).sorted())
    }
}

@Test func benchDevice_rowsThatAreNotComputed_areNotGiven() async throws {
    let device = try BenchDevice(try shapes()[0], length: length, profile: nil)
    device.open(id, slot: 0)
    device.commit([id], layers: LayerRange(0, 2), to: 5)
    #expect(try await device.watermark(of: id, layers: LayerRange(0, 2)) == 5)
    #expect(try await device.watermark(of: id, layers: device.layers) == 0)
    await #expect(throws: DejaVuError.self) {
        try await device.read(Span(sequence: id, layers: LayerRange(1, 3), positions: 0..<5))
    }
}

@Test func linkedStore_frames_landWholeAndTakeTheLinksTime() async throws {
    let device = try device(try shapes()[0])
    let store = try HostStore(
        name: "host", layers: device.layers, rowBytes: device.rowBytes, numericClass: device.numericClass,
        options: HostStore.Options(budget: 1 << 20))
    let span = whole(device)
    // 20 ms for everything.
    let rate = Double(span.rowCount * device.rowBytes * 4) / 0.02
    let linked = LinkedStore(store, byteScale: 4, bytesPerSecond: rate)
    let ticket = Ticket(
        number: 1, sequence: id, layers: device.layers, positionLimit: length, writer: Incarnation(1))
    try await linked.open(ticket, tokens: [])
    let streamer = Streamer()
    try streamer.tokens.append((0..<length).map { TokenID($0) }, of: id)
    let start = ContinuousClock.now
    let mark = try await streamer.scatter(span, from: device, to: StreamTarget(linked, ticket: ticket))
    #expect(mark == length)
    #expect(ContinuousClock.now - start >= .milliseconds(19))
    let (here, there) = (try await device.read(span), try await linked.read(span))
    #expect(here == there)
}

@Test func interleave_rounds_turnTheOrderAndDropTheFirst() throws {
    var options = StreamBenchOptions()
    options.rounds = 2
    var calls: [String] = []
    try options.interleave(["a", "b", "c"]) { (variant, counts) throws(DejaVuError) in
        calls.append(variant + (counts ? "!" : ""))
    }
    #expect(calls == ["a", "b", "c", "c!", "b!", "a!", "a!", "b!", "c!"])
}

@Test func median_oddEvenAndNone_isTheMiddle() {
    #expect([3.0, 1, 2].median == 2)
    #expect([4.0, 1, 2, 3].median == 2.5)
    #expect([Double]().median == 0)
}

@Test func usage_moreThanOneWakeUpInAHundredIsLate_isInvalid() {
    let (part, pass) = (TimeSpan.milliseconds(Int64(1)), TimeSpan.milliseconds(Int64(10)))
    var fine = Lateness()
    for _ in 0..<99 { fine.add(part, ofPass: pass, lateBy: .microseconds(Int64(199))) }
    fine.add(part, ofPass: pass, lateBy: .microseconds(Int64(400)))
    var usage = StreamSamples.Usage()
    usage.add(fine, processorShare: 0.5)
    #expect(usage.lateWakeUps == 1 && usage.wakeUps == 100)
    #expect(usage.lateTime == .microseconds(400) && usage.waitedTime == .milliseconds(100))
    #expect(usage.isValid)
    var bad = Lateness()
    bad.add(part, ofPass: pass, lateBy: .microseconds(Int64(201)))
    usage.add(bad, processorShare: 0.1)
    #expect(!usage.isValid)
    var crowded = StreamSamples.Usage()
    crowded.add(fine, processorShare: 0.81)
    #expect(!crowded.isValid)
}

@Test func delta_smallShape_measuresAllSidesAndVerifiesTheRows() throws {
    var options = StreamBenchOptions()
    options.isQuick = true
    options.rounds = 1
    let samples = try StreamDelta.measure(try shapes()[0], options)
    for side in ["engine", "bare", "copier"] {
        let series = samples.series.first { $0.name == "\(side).step" }
        #expect(series?.values.count == 1)
        #expect((series?.values.first ?? 0) > 0)
    }
}
