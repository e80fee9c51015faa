import DejaVuControl
import DejaVuCore
import DejaVuEngine
import DejaVuKV
import DejaVuLib
import DejaVuRuntime
import Glibc
import NIOCore
import Synchronization
import Testing

/// Counts what is written, and may hold a write up.
private final class Memory: StageMemory {
    let rowBytes = 4
    private let state = Mutex((writes: 0, writing: false))
    private let onWrite: @Sendable () -> Void

    init(onWrite: @escaping @Sendable () -> Void = {}) { self.onWrite = onWrite }

    var writes: Int { state.withLock { $0.writes } }
    var isWriting: Bool { state.withLock { $0.writing } }

    func read(layer: Int, cells: Range<Int>, into bytes: UnsafeMutableRawBufferPointer) {}

    func write(layer: Int, cells: Range<Int>, from bytes: UnsafeRawBufferPointer) {
        state.withLock { $0 = ($0.writes + 1, true) }
        onWrite()
        state.withLock { $0.writing = false }
    }
}

private let layers = LayerRange(0, 2)
private let record = SequenceRecord(
    id: SequenceID(1), request: RequestID(1), choice: 0, prompt: [5, 6, 7], sampling: .greedy, outputCountMax: 4,
    stopTokens: [])
private let rows = ByteBuffer(repeating: 1, count: 2 * 3 * 4)

private func ticket(_ number: UInt64, of writer: UInt64) -> Ticket {
    Ticket(number: number, sequence: record.id, layers: layers, positionLimit: 6, writer: Incarnation(writer))
}

private func store(_ memory: Memory) throws -> StageStore {
    let stage = StageDescription(
        model: ModelID(digest: "00112233445566778899"), layers: layers, layerCount: 2, cellCount: 256,
        hiddenRowBytes: 4, kvBytesPerPositionAndLayer: 4, numericClass: NumericClass(hash: 1))
    let store = StageStore(name: "a stage", stage: stage, memory: memory)
    try store.open(record, cells: CellRun(start: 0, count: 256), ticket: ticket(1, of: 9))
    return store
}

/// A frame from the source whose bytes are all there, but for its end.
private func arrive(at store: StageStore) async throws -> any FrameLanding {
    let admission = try await store.begin(
        FrameHeader(
            ticket: 1, writer: Incarnation(9),
            span: Span(sequence: record.id, layers: layers, positions: 0..<3), tokens: record.prompt,
            tokensHash: TokenChain(record.prompt).hash, numericClass: NumericClass(hash: 1),
            payloadBytes: rows.readableBytes))
    guard case .land(let landing) = admission else {
        throw DejaVuError(.internalError, "the frame was not let in: \(admission)")
    }
    try await landing.write(rows)
    return landing
}

@Test func stageStore_released_isQuietWhenNoFrameLands() async throws {
    let memory = Memory()
    let store = try store(memory)
    let landing = try await arrive(at: store)
    let quiet = Atomic<Int>(0)
    store.release(record.id) { quiet.wrappingAdd(1, ordering: .relaxed) }
    #expect(quiet.load(ordering: .relaxed) == 0, "a frame is on its way into the cells")
    await #expect(throws: DejaVuError.self) { try await landing.finish(checksum: Checksum.of(rows)) }
    #expect(quiet.load(ordering: .relaxed) == 1 && memory.writes == 0)
}

@Test func stageStore_adopted_frameUnderTheOldTicketWritesNothing() async throws {
    let memory = Memory()
    let store = try store(memory)
    let landing = try await arrive(at: store)
    #expect(try store.adopt(record, ticket: ticket(2, of: 5)).watermark == 0)
    await #expect(throws: DejaVuError.self) { try await landing.finish(checksum: Checksum.of(rows)) }
    #expect(memory.writes == 0)
    let quiet = Atomic<Int>(0)
    store.release(record.id) { quiet.wrappingAdd(1, ordering: .relaxed) }
    #expect(quiet.load(ordering: .relaxed) == 1, "nothing lands any more")
}

/// Whoever adopts runs passes that write to the same cells.
@Test func stageStore_adoptedWhileAFrameIsWritten_waitsForItsEnd() async throws {
    for _ in 0..<20 {
        let begun = Atomic<Bool>(false)
        let adopting = Atomic<Bool>(false)
        // Holds the write up until the other thread is about to adopt, and a little longer.
        let memory = Memory {
            begun.store(true, ordering: .releasing)
            while !adopting.load(ordering: .acquiring) { usleep(1000) }
            for _ in 0..<5 { usleep(1000) }
        }
        let store = try store(memory)
        let landing = try await arrive(at: store)
        let result = Mutex<(written: Bool, ended: Bool)>((false, false))
        try OSThread.start("adopter") {
            while !begun.load(ordering: .acquiring) { usleep(1000) }
            adopting.store(true, ordering: .releasing)
            _ = try? store.adopt(record, ticket: ticket(2, of: 5))
            result.withLock { $0 = (!memory.isWriting, true) }
        }
        // Committed, or refused because it was adopted in between.
        _ = try? await landing.finish(checksum: Checksum.of(rows))
        try await wait("it is adopted") { result.withLock { $0.ended } }
        #expect(result.withLock { $0.written }, "a stage was handed out while a frame was written to it")
    }
}

/// A prompt stage writes under a share until the stage's own first pass with the sequence; then nobody else does.
@Test func stageStore_sharedSequence_takesFramesUntilItsOwnPassBegins() async throws {
    let memory = Memory()
    let store = try store(memory)
    let marks = Mutex<[Int]>([])
    store.setLanded { mark in marks.withLock { $0.append(mark.watermark) } }
    #expect(try store.share(ticket(2, of: 7)) == 0)
    func frame(_ positions: Range<Int>) -> FrameHeader {
        FrameHeader(
            ticket: 2, writer: Incarnation(7), span: Span(sequence: record.id, layers: layers, positions: positions),
            tokens: Array(record.prompt[positions]),
            tokensHash: TokenChain(Array(record.prompt[..<positions.upperBound])).hash,
            numericClass: NumericClass(hash: 1), payloadBytes: 2 * positions.count * 4)
    }
    guard case .land(let first) = try await store.begin(frame(0..<2)) else { throw CancellationError() }
    let bytes = ByteBuffer(repeating: 1, count: 16)
    try await first.write(bytes)
    #expect(try await first.finish(checksum: Checksum.of(bytes)) == 2)
    #expect(marks.withLock { $0 } == [2] && memory.writes == 2)
    // The last row is on its way when the stage begins to compute it itself.
    guard case .land(let late) = try await store.begin(frame(2..<3)) else { throw CancellationError() }
    let entry = PassEntry(sequence: record.id, first: 2, tokens: [7], samples: true)
    let pass = Pass(id: PassID(1), pipeline: PipelineID(0), epoch: Epoch(1), entries: [entry])
    let news = store.begin(pass) { _ in 0 }
    #expect(news.map(\.watermark) == [2] && news[0].record == record)
    let rest = ByteBuffer(repeating: 1, count: 8)
    try await late.write(rest)
    await #expect(throws: DejaVuError.self) { try await late.finish(checksum: Checksum.of(rest)) }
    #expect(memory.writes == 2)
    store.committed(pass)
    #expect(store.marks.map(\.watermark) == [3])
    await #expect(throws: DejaVuError.self) { try await store.begin(frame(2..<3)) }
}
