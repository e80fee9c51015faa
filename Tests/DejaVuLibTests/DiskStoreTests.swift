import DejaVuCore
import DejaVuKV
import DejaVuLib
import Glibc
import NIOCore
import Testing

/// A directory of its own for a test, removed at the end.
private func withDirectory(_ body: (String) async throws -> Void) async throws {
    var pattern = Array("/tmp/dejavu-disk-XXXXXX".utf8CString)
    guard mkdtemp(&pattern) != nil else { throw DejaVuError(.unavailable, "no directory") }
    let path = pattern.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    let result: (any Error)?
    do {
        try await body(path)
        result = nil
    } catch { result = error }
    for name in (try? PosixFileSystem().list(path)) ?? [] { unlink(path + "/" + name) }
    unlink(path + "/lock")
    rmdir(path)
    if let result { throw result }
}

private func mode(_ path: String) -> UInt32 {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_mode & 0o777 : 0
}

private func open(
    _ directory: String, sync: DiskStore.SyncPolicy = .everyBytes(50_000), segmentBytes: Int = 64 << 10,
    budget: Int = 8 << 20, rowBytes: Int = 96, log: EventLog = EventLog()
) async throws -> DiskStore {
    var options = DiskStore.Options(directory: directory, budget: budget)
    options.sync = sync
    options.segmentBytes = segmentBytes
    return try await DiskStore.open(
        name: "disk", layers: LayerRange(2, 6), rowBytes: rowBytes, numericClass: storeClass, options: options,
        onEvent: log.receiver)
}

@Test(arguments: [DiskStore.SyncPolicy.onClose, .everyBytes(20_000), .everyFrame])
func diskStore_contract_holds(sync: DiskStore.SyncPolicy) async throws {
    try await withDirectory { directory in
        let store = try await open(directory, sync: sync)
        try await checkStoreContract(store, rowBytes: 96)
        store.checkIntegrity()
        #expect(store.sequences.isEmpty)
        #expect(store.segmentCount == 0, "segments in which all is released are removed")
        try await store.close()
        #expect(await code { try await store.expectRows(span(1, 0..<1)) } != nil)
    }
}

@Test func diskStore_files_areForThisUserAlone() async throws {
    try await withDirectory { directory in
        chmod(directory, 0o755)
        let store = try await open(directory)
        try await store.open(ticket(1, 1), tokens: [])
        try await store.land(span(1, 0..<10), ticket(1, 1))
        #expect(mode(directory) == 0o700)
        let names = try PosixFileSystem().list(directory)
        #expect(names.count == 1)
        for name in names { #expect(mode(directory + "/" + name) == 0o600) }
        #expect(await code { _ = try await open(directory) } == .unavailable, "two stores in one directory")
        try await store.close()
    }
}

@Test func diskStore_reopened_hasEverythingAndWaitsForANewTicket() async throws {
    try await withDirectory { directory in
        let first = try await open(directory)
        for number in 1...4 {
            let own = ticket(UInt64(number), UInt64(number))
            try await first.open(own, tokens: [])
            for start in stride(from: 0, to: 20 * number, by: 10) {
                try await first.land(span(own.sequence.rawValue, start..<start + 10), own)
            }
        }
        try await first.land(span(1, LayerRange(3, 4), 20..<30), ticket(1, 1))
        try await first.release(SequenceID(2))
        try await first.close()

        let log = EventLog()
        let second = try await open(directory, log: log)
        #expect(log.events.isEmpty)
        #expect(second.sequences == [SequenceID(1), SequenceID(3), SequenceID(4)])
        for number in [1, 3, 4] {
            let sequence = SequenceID(UInt64(number))
            #expect(try await second.watermark(of: sequence, layers: second.layers) == 20 * number)
            try await second.expectRows(span(UInt64(number), 0..<20 * number))
            #expect(second.tokens(of: sequence, in: 0..<20) == MadeUpRows.tokens(sequence, 0..<20))
        }
        #expect(try await second.watermark(of: SequenceID(1), layers: LayerRange(3, 4)) == 30)
        #expect(await code { try await second.land(span(3, 60..<70), ticket(3, 3)) } == .refused)
        try await second.renew(ticket(9, 3, writer: 8))
        #expect(try await second.land(span(3, 60..<70), ticket(9, 3, writer: 8)) == 70)
        try await second.expectRows(span(3, 0..<70))
        for number in [1, 3, 4] { try await second.release(SequenceID(UInt64(number))) }
        second.checkIntegrity()
        #expect(second.bytesUsed == 0 && second.segmentCount == 0)
        try await second.close()
    }
}

@Test func diskStore_damagedFiles_lowerWatermarksAndSaySo() async throws {
    try await withDirectory { directory in
        let store = try await open(directory, segmentBytes: 16 << 10)
        for number in 1...2 {
            let own = ticket(UInt64(number), UInt64(number))
            try await store.open(own, tokens: [])
            for start in stride(from: 0, to: 100, by: 10) {
                try await store.land(span(own.sequence.rawValue, start..<start + 10), own)
            }
        }
        let files = try PosixFileSystem().list(directory)
        #expect(files.count > 4)
        // A bit of the first segment flips while the store runs.
        try flip(directory + "/" + files[0], at: 900)
        #expect(await code { try await store.expectRows(span(1, 0..<100)) } == .invalidFile)
        #expect(try await store.watermark(of: SequenceID(1), layers: store.layers) == 0)
        try await store.land(span(1, 0..<10), ticket(1, 1))
        #expect(try await store.watermark(of: SequenceID(1), layers: store.layers) == 10)
        for start in stride(from: 10, to: 100, by: 10) {
            try await store.land(span(1, start..<start + 10), ticket(1, 1))
        }
        try await store.expectRows(span(1, 0..<100))
        try await store.close()
        // A segment of the middle is lost, and a foreign file lies around.
        unlink(directory + "/" + files[files.count - 2])
        let stranger = try PosixFileSystem().create(directory + "/notes.txt")
        _ = stranger
        let log = EventLog()
        let again = try await open(directory, segmentBytes: 16 << 10, log: log)
        let watermark = try await again.watermark(of: SequenceID(2), layers: again.layers)
        #expect(watermark > 0 && watermark < 100 && watermark % 10 == 0)
        try await again.expectRows(span(2, 0..<watermark))
        try await again.expectRows(span(1, 0..<100))
        #expect(log.lowered.contains { $0.sequence == SequenceID(2) && $0.to == watermark && $0.from == 100 })
        #expect(log.events.contains { if case .ignored("notes.txt", _) = $0 { true } else { false } })
        try await again.close()
    }
}

private func flip(_ path: String, at offset: Int) throws {
    let file = try PosixFileSystem().open(path)
    var byte: [UInt8] = [0]
    _ = try byte.withUnsafeMutableBytes { try file.read($0, at: offset) }
    byte[0] ^= 4
    _ = try byte.withUnsafeBytes { try file.write($0, at: offset) }
}

/// One position at a time.
private func landUntilFull(_ store: DiskStore) async throws -> Int {
    for position in 0..<100 {
        do { try await store.land(span(1, position..<position + 1), ticket(1, 1)) } catch {
            #expect(error.code == .resourceExhausted)
            return position
        }
    }
    return 100
}

@Test func diskStore_budgetExceeded_refusesAndGoesOnReading() async throws {
    try await withDirectory { directory in
        // One sequence is 38400 bytes of rows.
        let store = try await open(directory, segmentBytes: 8 << 10, budget: 50_000)
        try await store.open(ticket(1, 1), tokens: [])
        #expect(await code { try await store.open(ticket(2, 2), tokens: []) } == .resourceExhausted)
        let landed = try await landUntilFull(store)
        #expect(landed > 50, "records have an overhead, but not so much")
        try await store.expectRows(span(1, 0..<landed))
        #expect(store.bytesUsed <= 50_000)
        try await store.release(SequenceID(1))
        #expect(store.bytesUsed < 10_000)
        try await store.open(ticket(3, 3), tokens: [])
        try await store.land(span(3, 0..<100), ticket(3, 3))
        try await store.expectRows(span(3, 0..<100))
        try await store.close()
    }
}

@Test func diskStore_releasedBesideOthers_staysReleasedAfterARestart() async throws {
    try await withDirectory { directory in
        let store = try await open(directory)
        try await store.open(ticket(1, 1), tokens: [])
        try await store.open(ticket(2, 2), tokens: [])
        try await store.land(span(1, 0..<10), ticket(1, 1))
        try await store.land(span(2, 0..<10), ticket(2, 2))
        try await store.release(SequenceID(1))
        // The same sequence once more: the frames of its first ticket stay dead.
        try await store.open(ticket(3, 1), tokens: [])
        try await store.land(span(1, 0..<5), ticket(3, 1))
        try await store.close()
        let again = try await open(directory)
        #expect(try await again.watermark(of: SequenceID(1), layers: again.layers) == 5)
        #expect(try await again.watermark(of: SequenceID(2), layers: again.layers) == 10)
        try await again.release(SequenceID(1))
        try await again.close()
        let third = try await open(directory)
        #expect(third.sequences == [SequenceID(2)])
        try await third.close()
    }
}

@Test func diskStore_syncError_distrustsWhatWasNotSynced() async throws {
    let disk = FaultyDisk(seed: 3)
    let log = EventLog()
    var options = DiskStore.Options(directory: "disk", budget: 1 << 20)
    options.sync = .onClose
    let store = try await DiskStore.open(
        name: "disk", layers: LayerRange(2, 6), rowBytes: 96, numericClass: storeClass, options: options, files: disk,
        onEvent: log.receiver)
    try await store.open(ticket(1, 1), tokens: [])
    try await store.land(span(1, 0..<10), ticket(1, 1))
    try await store.sync()
    try await store.land(span(1, 10..<20), ticket(1, 1))
    disk.set(FaultyDisk.Odds(syncError: 1))
    #expect(await code { try await store.sync() } == .unavailable)
    #expect(try await store.watermark(of: SequenceID(1), layers: store.layers) == 10)
    #expect(log.lowered.map(\.to).allSatisfy { $0 == 10 } && !log.lowered.isEmpty)
    try await store.expectRows(span(1, 0..<10))
    disk.set(.none)
    try await store.land(span(1, 10..<20), ticket(1, 1))
    try await store.expectRows(span(1, 0..<20))
    try await store.close()
    // With a sync before each commit the frame itself fails.
    options.sync = .everyFrame
    let strict = try await DiskStore.open(
        name: "disk", layers: LayerRange(2, 6), rowBytes: 96, numericClass: storeClass, options: options, files: disk,
        onEvent: log.receiver)
    try await strict.renew(ticket(2, 1))
    disk.set(FaultyDisk.Odds(syncError: 1))
    #expect(await code { try await strict.land(span(1, 20..<30), ticket(2, 1)) } == .unavailable)
    #expect(try await strict.watermark(of: SequenceID(1), layers: strict.layers) == 20)
    disk.set(.none)
    try await strict.land(span(1, 20..<30), ticket(2, 1))
    try await strict.expectRows(span(1, 0..<30))
    try await strict.close()
}

@Test func diskStore_largeFrames_areReadInPartsAndWhole() async throws {
    try await withDirectory { directory in
        let store = try await open(directory, segmentBytes: 1 << 20, budget: 64 << 20, rowBytes: 12_345)
        try await store.open(ticket(1, 1), tokens: [])
        try await store.land(span(1, 0..<90), ticket(1, 1), chunk: 256 << 10)
        try await store.land(span(1, LayerRange(2, 4), 90..<100), ticket(1, 1), chunk: 100_000)
        try await store.land(span(1, LayerRange(4, 6), 85..<100), ticket(1, 1), chunk: 3_000_000)
        try await store.expectRows(span(1, 0..<100))
        try await store.expectRows(span(1, LayerRange(3, 5), 88..<97))
        try await store.expectRows(span(1, LayerRange(5, 6), 41..<42))
        try await store.expectRows(span(1, LayerRange(2, 6), 60..<61))
        try await store.close()
    }
}

/// More than ten children can write before they are killed.
private let killedBudget = 1 << 30

@Test func diskStore_killed_keepsWhatItHasAcknowledged() async throws {
    try await withDirectory { directory in
        setenv("DEJAVU_TEST_DISK", directory, 1)
        for _ in 0..<10 {
            await #expect(processExitsWith: .signal(SIGKILL)) { try await writeUntilKilled() }
            let acknowledged = try acknowledgedFrames(directory)
            let log = EventLog()
            let store = try await open(directory, budget: killedBudget, log: log)
            for (sequence, end) in acknowledged {
                let watermark = try await store.watermark(of: SequenceID(sequence), layers: store.layers)
                #expect(watermark >= end, "sequence \(sequence)")
            }
            for sequence in store.sequences {
                let watermark = try await store.watermark(of: sequence, layers: store.layers)
                guard watermark > 0 else { continue }
                try await store.expectRows(span(sequence.rawValue, 0..<watermark))
            }
            try await store.close()
        }
        #expect(!(try acknowledgedFrames(directory)).isEmpty, "no child lived long enough to land a frame")
        unlink(directory + "/acknowledged")
    }
}

/// Sequence and watermark, 16 bytes each time a frame was committed.
private func acknowledgedFrames(_ directory: String) throws -> [UInt64: Int] {
    guard let file = try? PosixFileSystem().open(directory + "/acknowledged") else { return [:] }
    let count = try file.byteCount() / 16 * 16
    var bytes = [UInt8](repeating: 0, count: count)
    _ = try bytes.withUnsafeMutableBytes { count > 0 ? try file.read($0, at: 0) : 0 }
    var result: [UInt64: Int] = [:]
    bytes.withUnsafeBytes { bytes in
        for offset in stride(from: 0, to: count, by: 16) {
            let sequence = bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            result[sequence] = bytes.loadUnaligned(fromByteOffset: offset + 8, as: Int.self)
        }
    }
    return result
}

/// Goes on where the last process was killed, until a thread kills this one.
private func writeUntilKilled() async throws {
    guard let directory = getenv("DEJAVU_TEST_DISK").map({ String(cString: $0) }) else { return }
    var generator = SystemRandomNumberGenerator()
    let life = UInt32(2000 + generator.next() % 60_000)
    let store = try await open(directory, budget: killedBudget)
    let path = directory + "/acknowledged"
    let log = try (try? PosixFileSystem().open(path)) ?? PosixFileSystem().create(path)
    var at = try log.byteCount() / 16 * 16
    var thread = pthread_t()
    pthread_create(
        &thread, nil,
        { life in
            usleep(UInt32(Int(bitPattern: life)))
            kill(getpid(), SIGKILL)
            return nil
        }, UnsafeMutableRawPointer(bitPattern: Int(life)))
    let last = store.sequences.compactMap { store.ticket(of: $0)?.number }.max() ?? 0
    for step in 1...1_000_000 {
        let own = ticket(last + UInt64(step), 1000 + last + UInt64(step))
        try await store.open(own, tokens: [])
        var end = 0
        while end < 100 {
            let next = min(100, end + Int(generator.next() % 30) + 1)
            end = try await store.land(span(own.sequence.rawValue, end..<next), own, chunk: 5000)
            var entry = [own.sequence.rawValue, UInt64(end)]
            _ = try entry.withUnsafeMutableBytes { try log.write(UnsafeRawBufferPointer($0), at: at) }
            at += 16
        }
    }
}
