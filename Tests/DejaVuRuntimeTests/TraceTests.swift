import DejaVuControl
import DejaVuCore
import DejaVuRuntime
import Foundation
import Testing

private let worker = WorkerID(3)
private let engine = EngineID(1)
private let sequence = SequenceID(7)

private let topology = PipelineTopology(stageCount: 1, promptStageCount: 1)

private func at(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

private func pass(_ id: UInt64, tokens: [TokenID] = [1]) -> Pass {
    Pass(
        id: PassID(id), pipeline: PipelineID(0), epoch: Epoch(1),
        entries: [PassEntry(sequence: sequence, first: 0, tokens: tokens, samples: true)])
}

private func spans(_ batch: TraceBatch?) -> [String] {
    (batch?.records ?? []).map { record in
        switch record {
        case .pass(let pass): "pass \(pass.pass.rawValue): \(pass.steps) steps, \(pass.chunks) chunks"
        case .bubble(let start, let span): "bubble \(start.nanoseconds / 1_000_000) + \(span.nanoseconds / 1_000_000)"
        case .transfer(let transfer): "transfer \(transfer.positions)"
        }
    }
}

@Test func tracer_off_writesNothing() {
    let tracer = WorkerTracer()
    tracer.opened(sequence, in: engine, positionLimit: 100)
    tracer.ran(pass(1), in: engine, stageIndex: 0, from: at(1), to: at(2))
    #expect(tracer.take(at: at(3)) == nil)
}

@Test func tracer_waitingBetweenPasses_isABubbleOnlyWhileSequencesAreOpen() {
    let tracer = WorkerTracer()
    tracer.turnOn()
    tracer.opened(sequence, in: engine, positionLimit: 100)
    let far = MonotonicClock.now.nanoseconds / 1_000_000 + 60_000
    tracer.ran(pass(1, tokens: [1, 2, 3]), in: engine, stageIndex: 0, from: at(far), to: at(far + 10))
    _ = tracer.take(at: at(far))
    tracer.ran(pass(2), in: engine, stageIndex: 0, from: at(far + 15), to: at(far + 20))
    tracer.ran(pass(3), in: engine, stageIndex: 0, from: at(far + 20), to: at(far + 25))
    tracer.released(sequence, in: engine)
    tracer.ran(pass(4), in: engine, stageIndex: 0, from: at(far + 40), to: at(far + 50))
    let batch = tracer.take(at: at(far + 60))
    #expect(
        spans(batch) == [
            "bubble \(far + 10) + 5", "pass 2: 1 steps, 0 chunks", "pass 3: 1 steps, 0 chunks",
            "pass 4: 1 steps, 0 chunks",
        ])
    #expect(tracer.take(at: at(far + 61)) == nil)
}

@Test func tracer_unloadedEngine_takesItsSequencesAlong() {
    let tracer = WorkerTracer()
    tracer.turnOn()
    tracer.opened(sequence, in: engine, positionLimit: 100)
    tracer.unloaded(engine)
    let far = MonotonicClock.now.nanoseconds / 1_000_000 + 60_000
    tracer.ran(pass(1), in: engine, stageIndex: 0, from: at(far), to: at(far + 1))
    #expect(spans(tracer.take(at: at(far))) == ["pass 1: 1 steps, 0 chunks"])
}

@Test func tracer_sequenceThatAPromptStageFeeds_isNotDueUntilItsFirstPassHere() {
    let tracer = WorkerTracer()
    tracer.turnOn()
    tracer.opened(sequence, in: engine, positionLimit: 100)
    tracer.fed(sequence, in: engine)
    let far = MonotonicClock.now.nanoseconds / 1_000_000 + 60_000
    tracer.ran(pass(1), in: engine, stageIndex: 0, from: at(far), to: at(far + 1))
    tracer.ran(pass(2), in: engine, stageIndex: 0, from: at(far + 5), to: at(far + 6))
    #expect(
        spans(tracer.take(at: at(far))) == [
            "pass 1: 1 steps, 0 chunks", "bubble \(far + 1) + 4", "pass 2: 1 steps, 0 chunks",
        ])
}

@Test func tracer_guestWhosePromptHasBeenRun_isNotWaitedFor() {
    let tracer = WorkerTracer()
    tracer.turnOn()
    tracer.opened(sequence, in: engine, positionLimit: 3)
    let far = MonotonicClock.now.nanoseconds / 1_000_000 + 60_000
    tracer.ran(pass(1, tokens: [1, 2, 3]), in: engine, stageIndex: 0, from: at(far), to: at(far + 1))
    _ = tracer.take(at: at(far))
    tracer.ran(pass(2), in: engine, stageIndex: 0, from: at(far + 5), to: at(far + 6))
    #expect(spans(tracer.take(at: at(far))) == ["pass 2: 1 steps, 0 chunks"])
}

@Test func tracer_secondController_findsTheSequencesThatAreOpen() {
    let tracer = WorkerTracer()
    tracer.opened(sequence, in: engine, positionLimit: 100)
    tracer.turnOn()
    let far = MonotonicClock.now.nanoseconds / 1_000_000 + 60_000
    tracer.ran(pass(1), in: engine, stageIndex: 0, from: at(far), to: at(far + 1))
    #expect(tracer.take(at: at(far))?.records.count == 2)
}

@Test func clockOffset_delaysOfManySizes_takesTheSmallest() {
    var offset = ClockOffset()
    #expect(offset.heard(sentAt: at(1000), receivedAt: at(5030)) == .milliseconds(4030))
    #expect(offset.heard(sentAt: at(1100), receivedAt: at(5101)) == .milliseconds(4001))
    #expect(offset.heard(sentAt: at(1200), receivedAt: at(5300)) == .milliseconds(4001))
    // The clock of long ago says nothing any more.
    for index in 0..<64 {
        _ = offset.heard(sentAt: at(Int64(2000 + index)), receivedAt: at(Int64(6005 + index)))
    }
    #expect(offset.heard(sentAt: at(3000), receivedAt: at(7010)) == .milliseconds(4005))
}

private struct File {
    let path = NSTemporaryDirectory() + "trace-\(UUID().uuidString).json"

    /// Every event, which is possible at any time.
    func events() throws -> [[String: Any]] {
        let data = try Data(contentsOf: URL(filePath: path))
        guard !data.isEmpty else { return [] }
        return try #require(try JSONSerialization.jsonObject(with: data) as? [[String: Any]])
    }

    func untilThere(_ name: String) async throws -> [[String: Any]] {
        while true {
            // Who reads in the middle of a write may see half of it.
            if let events = try? events(), events.contains(where: { $0["name"] as? String == name }) { return events }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }
}

private func batch(_ records: [TraceRecord], sentAt: Instant = at(100)) -> TraceBatch {
    TraceBatch(sentAt: sentAt, dropped: 0, records: records)
}

@Test(.timeLimit(.minutes(1))) func traceFile_serverThatIsKilled_leavesAWholeFile() async throws {
    let file = File()
    defer { file.remove() }
    let trace = try TraceFile(path: file.path, topology: topology, logger: quiet)
    trace.workerLost(worker, reason: "it said \"\u{1}\\\"")
    trace.traced(batch([.bubble(start: at(5), span: .microseconds(1500))]), by: worker, isLocal: true, at: at(400))
    var events = try await file.untilThere("bubble")
    let bubble = try #require(events.first { $0["name"] as? String == "bubble" })
    #expect(bubble["ts"] as? Double == 5000 && bubble["dur"] as? Double == 1500 && bubble["pid"] as? Int == 3)
    // What comes later goes before the closing bracket.
    let transfer = TracedTransfer(
        kind: .feed, sequence: sequence, layers: LayerRange(0, 2), positions: 4..<9, bytes: 77, writer: Incarnation(9),
        start: at(6), span: .milliseconds(2))
    trace.traced(batch([.transfer(transfer)]), by: worker, isLocal: false, at: at(400))
    events = try await file.untilThere("feed")
    let ends = events.filter { $0["name"] as? String == "feed" }
    #expect(ends.compactMap { $0["ph"] as? String } == ["b", "e"])
    // Its clock is 300 ms behind ours.
    #expect(ends.compactMap { $0["ts"] as? Double } == [306_000, 308_000])
    // The second pipeline runs prompts.
    let ran = TracedPass(
        pass: PassID(1), pipeline: PipelineID(1), epoch: Epoch(1), stageIndex: 0, start: at(9), span: .milliseconds(1),
        rows: 5, steps: 0, chunks: 1)
    trace.traced(batch([.pass(ran)]), by: worker, isLocal: true, at: at(400))
    events = try await file.untilThere("prompt")
    let arguments = events.first { $0["name"] as? String == "prompt" }?["args"] as? [String: Any]
    #expect(arguments?["role"] as? String == "prompt")
    await trace.finish()
}

@Test(.timeLimit(.minutes(1))) func traceFile_fullFile_staysWhole() async throws {
    let file = File()
    defer { file.remove() }
    let trace = try TraceFile(path: file.path, topology: topology, sizeMax: 2000, logger: quiet)
    trace.workerLost(worker, reason: "first")
    _ = try await file.untilThere("\(worker) lost: first")
    trace.workerLost(worker, reason: String(repeating: "x", count: 3000))
    await trace.finish()
    #expect(try file.events().count == 4)
}
