import DejaVuCore
import DejaVuKV
import DejaVuLib
import Glibc
import NIOCore
import Testing

/// How many fault schedules: `DEJAVU_COUNT`, else a few.
private let scheduleCount = getenv("DEJAVU_COUNT").flatMap { Int(String(cString: $0)) } ?? 150

private let layers = LayerRange(2, 5)
private let limit = 40

/// One disk, its store, and what the test knows of the sequences in it.
private struct Schedule {
    let disk: FaultyDisk
    var generator: SeededGenerator
    var options = DiskStore.Options(directory: "disk", budget: 4 << 20)
    var store: DiskStore
    var tickets: [SequenceID: Ticket] = [:]
    var lastTicket: UInt64 = 0
    var lastSequence: UInt64 = 0
    var reads = 0
    var refused = 0

    init(seed: UInt64) async throws {
        generator = SeededGenerator(seed: seed)
        disk = FaultyDisk(seed: generator.next())
        options.segmentBytes = generator.next(in: 8 << 10...64 << 10)
        options.threads = 1
        options.queuedBytesMax = generator.next(in: 1...40_000)
        switch generator.next(below: 3) {
        case 0: options.sync = .onClose
        case 1: options.sync = .everyBytes(generator.next(in: 1...100_000))
        default: options.sync = .everyFrame
        }
        store = try await Self.open(disk, options)
        disk.set(odds())
    }

    static func open(_ disk: FaultyDisk, _ options: DiskStore.Options) async throws -> DiskStore {
        try await DiskStore.open(
            name: "disk", layers: layers, rowBytes: 700, numericClass: storeClass, options: options, files: disk,
            onEvent: { _ in })
    }

    private mutating func odds() -> FaultyDisk.Odds {
        FaultyDisk.Odds(
            shortTransfer: odds(0.5), writeError: odds(0.05), full: odds(0.1), readError: odds(0.05),
            syncError: odds(0.2), flippedRead: odds(0.05))
    }

    private mutating func odds(_ most: Double) -> Double { generator.chance(0.4) ? generator.nextUnit() * most : 0 }

    mutating func step() async throws {
        switch generator.next(below: 20) {
        case 0...2: try await open()
        case 3...10: try await land()
        case 11...14: try await read()
        case 15: try await release()
        case 16:
            let store = store
            await tolerate { try await store.sync() }
        case 17: disk.damage()
        case 18: if generator.chance(0.3) { try await restart(powerFails: true) }
        default: if generator.chance(0.3) { try await restart(powerFails: false) }
        }
        store.checkIntegrity()
    }

    /// What a failing disk may answer; anything else fails the test.
    private mutating func tolerate(_ body: () async throws -> Void) async {
        do { try await body() } catch let error as DejaVuError {
            refused += 1
            let allowed: [DejaVuError.Code] = [
                .resourceExhausted, .unavailable, .invalidFile, .notFound, .refused, .mismatch,
            ]
            #expect(allowed.contains(error.code), "\(error)")
        } catch { Issue.record(error) }
    }

    private mutating func open() async throws {
        lastTicket += 1
        lastSequence += 1
        let own = ticket(lastTicket, lastSequence, layers: layers, limit: limit)
        let store = store
        await tolerate { try await store.open(own, tokens: []) }
        if store.ticket(of: own.sequence) != nil { tickets[own.sequence] = own }
    }

    private mutating func pick() -> Ticket? {
        tickets.values.sorted { $0.number < $1.number }.randomElement(using: &generator)
    }

    private mutating func land() async throws {
        guard let own = pick() else { return }
        let first = generator.next(in: layers.first...layers.end - 1)
        let range = generator.chance(0.7) ? layers : LayerRange(first, generator.next(in: first + 1...layers.end))
        let watermark = try await store.watermark(of: own.sequence, layers: range)
        let start = max(0, watermark - generator.next(below: 3))
        guard start < limit else { return }
        let end = min(limit, start + generator.next(in: 1...20))
        let wanted = Span(sequence: own.sequence, layers: range, positions: start..<end)
        let chunk = generator.next(in: 1...20_000)
        let store = store
        await tolerate { try await store.land(wanted, own, chunk: chunk) }
        let after = try await store.watermark(of: own.sequence, layers: range)
        #expect(after <= max(end, watermark))
    }

    private mutating func read() async throws {
        guard let own = pick() else { return }
        let first = generator.next(in: layers.first...layers.end - 1)
        let range = LayerRange(first, generator.next(in: first + 1...layers.end))
        try await check(own.sequence, range)
    }

    private mutating func check(_ sequence: SequenceID, _ range: LayerRange) async throws {
        let watermark = try await store.watermark(of: sequence, layers: range)
        guard watermark > 0 else { return }
        let start = generator.next(below: watermark)
        let wanted = Span(
            sequence: sequence, layers: range, positions: start..<generator.next(in: start + 1...watermark))
        do {
            let bytes = try await store.read(wanted)
            #expect(bytes == store.rows.packed(wanted), "wrong bytes of \(wanted)")
            reads += 1
        } catch {
            #expect(error.code == .invalidFile, "\(error)")
            #expect(
                try await store.watermark(of: sequence, layers: range) < wanted.positions.upperBound,
                "bad rows, and the watermark stays")
        }
    }

    private mutating func release() async throws {
        guard let own = pick() else { return }
        let store = store
        await tolerate { try await store.release(own.sequence) }
        tickets[own.sequence] = nil
        #expect(try await store.watermark(of: own.sequence, layers: layers) == 0)
    }

    private mutating func restart(powerFails: Bool) async throws {
        if powerFails {
            disk.cutPower()
        } else if generator.chance(0.5) {
            let store = store
            await tolerate { try await store.close() }
        }
        disk.set(.none)
        store = try await Self.open(disk, options)
        disk.set(odds())
        tickets = [:]
        for sequence in store.sequences {
            guard let old = store.ticket(of: sequence) else { continue }
            lastTicket += 1
            let own = Ticket(
                number: lastTicket, sequence: sequence, layers: old.layers, positionLimit: old.positionLimit,
                writer: Incarnation(7))
            try await store.renew(own)
            tickets[sequence] = own
            try await check(sequence, old.layers)
        }
    }

    /// At the end the disk is well again: everything that is said to be there can be read or is seen to be bad.
    mutating func finish() async throws {
        disk.set(.none)
        for sequence in store.sequences {
            for layer in layers.indices { try await check(sequence, LayerRange(layer, layer + 1)) }
        }
        store.checkIntegrity()
        let store = store
        await tolerate { try await store.close() }
    }
}

@Test func diskStore_randomFaults_neverGiveAWrongByte() async throws {
    var reads = 0
    var faults = 0
    var refused = 0
    for seed in 0..<scheduleCount {
        var schedule = try await Schedule(seed: UInt64(seed))
        for _ in 0..<60 { try await schedule.step() }
        try await schedule.finish()
        reads += schedule.reads
        faults += schedule.disk.faults
        refused += schedule.refused
    }
    #expect(reads > scheduleCount && faults > scheduleCount && refused > scheduleCount / 2)
}

@Test func segmentScan_mutatedFiles_neverCrashAndNeverGiveAWrongByte() async throws {
    var generator = SeededGenerator(seed: 5)
    var options = DiskStore.Options(directory: "disk", budget: 4 << 20)
    options.threads = 1
    let disk = FaultyDisk(seed: 1)
    let store = try await Schedule.open(disk, options)
    for sequence in 1...3 {
        let own = ticket(UInt64(sequence), UInt64(sequence), layers: layers, limit: limit)
        try await store.open(own, tokens: [])
        for start in stride(from: 0, to: limit, by: 10) {
            try await store.land(span(UInt64(sequence), layers, start..<start + 10), own)
        }
    }
    try await store.close()
    let name = try #require(disk.names.first)
    let bytes = disk.content(name)
    var lost = 0
    for _ in 0..<max(100, scheduleCount / 2) {
        var mutated = bytes
        for _ in 0..<generator.next(in: 1...6) {
            let at = generator.next(below: mutated.count)
            switch generator.next(below: 4) {
            case 0: mutated[at] = UInt8(truncatingIfNeeded: generator.next())
            case 1: mutated[at / 64 * 64..<min(at / 64 * 64 + 8, mutated.count)] = bytes[12..<20]
            case 2: mutated.replaceSubrange(at..<min(at + 4, mutated.count), with: [255, 255, 255, 255])
            default: mutated.removeLast(min(mutated.count - 1, generator.next(below: 2000)))
            }
        }
        let other = FaultyDisk(seed: 1)
        other.put(name, mutated)
        let store = try await Schedule.open(other, options)
        for sequence in 1...3 {
            for layer in layers.indices {
                let range = LayerRange(layer, layer + 1)
                let watermark = try await store.watermark(of: SequenceID(UInt64(sequence)), layers: range)
                if watermark < limit { lost += 1 }
                if watermark > 0 { try await store.expectRows(span(UInt64(sequence), range, 0..<watermark)) }
            }
        }
        store.checkIntegrity()
        try await store.close()
    }
    #expect(lost > 50)
}

@Test func segmentCodecs_mutatedBytes_throwOrStayEqual() throws {
    var generator = SeededGenerator(seed: 9)
    let header = SegmentHeader(
        number: 3, salt: 0x1234_5678_9ABC_DEF0, numericClass: storeClass, rowBytes: 700, layers: layers)
    let frame = FrameRecord(
        ticket: 9, ticketLayers: layers, positionLimit: limit, span: span(4, layers, 3..<9),
        tokens: [1, 2, 3, 4, 5, 6], tokensHash: 77)
    let prefix = RecordPrefix(salt: header.salt, kind: .frame, header: frame.encoded(), payloadBytes: 100_000)
    let release = ReleaseRecord(sequence: SequenceID(4), ticket: 9)
    let trailer = FrameTrailer(blocks: [1, 2]).encoded(after: prefix)
    #expect(try SegmentHeader.decoded(from: header.encoded()) == header)
    #expect(header.encoded().count == SegmentHeader.byteCount)
    #expect(try RecordPrefix.decoded(from: prefix.encoded()) == prefix)
    #expect(prefix.encoded().count == RecordPrefix.byteCount)
    #expect(try FrameRecord.decoded(from: frame.encoded()) == frame)
    #expect(try ReleaseRecord.decoded(from: release.encoded()) == release)
    #expect(try FrameTrailer(trailer, after: prefix).blocks == [1, 2])
    for _ in 0..<20_000 {
        if let other = try? SegmentHeader.decoded(from: mutated(header.encoded(), &generator)) {
            #expect(other == header)
        }
        if let other = try? RecordPrefix.decoded(from: mutated(prefix.encoded(), &generator)) {
            #expect(other == prefix)
        }
        if let other = try? FrameTrailer(mutated(trailer, &generator), after: prefix) {
            #expect(other.blocks == [1, 2])
        }
        // These are guarded by the prefix's checksum; alone they must only not crash.
        _ = try? FrameRecord.decoded(from: mutated(frame.encoded(), &generator))
        _ = try? ReleaseRecord.decoded(from: mutated(release.encoded(), &generator))
    }
}

private func mutated(_ bytes: [UInt8], _ generator: inout SeededGenerator) -> [UInt8] {
    var bytes = bytes
    for _ in 0..<generator.next(in: 1...3) {
        bytes[generator.next(below: bytes.count)] ^= UInt8(1 << generator.next(below: 8))
    }
    if generator.chance(0.2) { bytes.removeLast(generator.next(in: 1...bytes.count)) }
    return bytes
}
