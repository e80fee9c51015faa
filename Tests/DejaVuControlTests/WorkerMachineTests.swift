import DejaVuControl
import DejaVuCore
import DejaVuKV
import Testing

/// A worker machine and what was asked of it.
private struct Bench {
    var machine = WorkerMachine(incarnation: Incarnation(5))
    var now = Instant.zero
    let term: Term
    let stageIndex: Int
    var ticketCount: UInt64 = 0

    init(stageIndex: Int = 0, term: Term = Term(number: 2, nonce: 1)) {
        self.term = term
        self.stageIndex = stageIndex
    }

    @discardableResult
    mutating func hear(_ event: WorkerEvent, after time: TimeSpan = .milliseconds(1)) -> [WorkerAction] {
        now = now + time
        let actions = machine.handle(event, at: now)
        machine.checkIntegrity()
        return actions
    }

    @discardableResult
    mutating func hear(_ message: ControllerMessage) -> [WorkerAction] { hear(.message(term, message)) }

    func place(epoch: UInt64 = 1, cells: Int = 1024) -> StageAssignment {
        StageAssignment(
            pipeline: PipelineID(0), epoch: Epoch(epoch), stageIndex: stageIndex, stageCount: 3,
            layers: LayerRange(stageIndex * 4, stageIndex * 4 + 4), cellCount: cells,
            next: stageIndex == 2
                ? nil : PeerAddress(worker: WorkerID(9), incarnation: Incarnation(90), address: "unix:/9"))
    }

    /// Up to the first `.assigned`.
    mutating func start() {
        hear(.controllerConnected(term))
        hear(.welcome(WorkerID(1)))
        hear(.assign(place()))
        hear(.loaded(EngineID(1)))
        if stageIndex < 2 { hear(.peerConnected(Incarnation(90))) }
    }

    @discardableResult
    mutating func open(_ id: UInt64, cells: CellRun = CellRun(start: 0, count: 256), limit: Int = 20) -> [WorkerAction]
    {
        ticketCount += 1
        let record = SequenceRecord(
            id: SequenceID(id), request: RequestID(id), choice: 0, prompt: [1, 2, 3], sampling: .greedy,
            outputCountMax: 18, stopTokens: [])
        let ticket = Ticket(
            number: ticketCount, sequence: record.id, layers: place().layers, positionLimit: limit,
            writer: Incarnation(5))
        return hear(.open(record, cells: cells, ticket: ticket))
    }
}

private func pass(_ id: UInt64, _ sequence: UInt64, from first: Int = 0, count: Int = 3, epoch: UInt64 = 1) -> Pass {
    Pass(
        id: PassID(id), pipeline: PipelineID(0), epoch: Epoch(epoch),
        entries: [
            PassEntry(
                sequence: SequenceID(sequence), first: first, tokens: [TokenID](repeating: 1, count: count),
                samples: true)
        ])
}

private let done = TimeSpan.milliseconds(4)

@Test func worker_stageLoadedAndWired_saysSoOnce() {
    var bench = Bench()
    bench.hear(.controllerConnected(bench.term))
    bench.hear(.welcome(WorkerID(1)))
    let asked = bench.hear(.assign(bench.place()))
    #expect(asked.contains(.load(EngineID(1), bench.place())))
    #expect(asked.contains { if case .connect(let peer) = $0 { peer.worker == WorkerID(9) } else { false } })
    let answer1 = bench.hear(.loaded(EngineID(1)))
    #expect(answer1.isEmpty)
    let answer2 = bench.hear(.peerConnected(Incarnation(90)))
    #expect(answer2 == [.send(.assigned(PipelineID(0), Epoch(1), stageIndex: 0, []))])
}

/// "A worker obeys only the greatest term that it has seen."
@Test func worker_controllerOfAPastTerm_isRejectedAndIgnored() {
    var bench = Bench()
    bench.start()
    bench.open(1)
    let older = Term(number: 1, nonce: 99)
    let answer3 = bench.hear(.message(older, .release(SequenceID(1), of: PipelineID(0))))
    #expect(answer3.isEmpty)
    let answer = bench.hear(.controllerConnected(older))
    #expect(answer.count == 1)
    if case .rejectController = answer.first {} else { Issue.record("an old controller was not rejected") }
    #expect(bench.machine.counters.messagesStale == 2 && bench.machine.term == bench.term)
    let newer = bench.hear(.controllerConnected(Term(number: 3, nonce: 0)))
    #expect(newer.isEmpty && bench.machine.openSequences == [SequenceID(1)], "a new reign decides what stays")
    let welcome = bench.hear(.message(Term(number: 3, nonce: 0), .welcome(WorkerID(7))))
    #expect(welcome.contains(.release(EngineID(1), SequenceID(1))), "a welcome begins with a clean slate")
}

/// Rows come over another link than `.open`, and may be first.
@Test func worker_rowsBeforeOpen_waitForIt() {
    var bench = Bench(stageIndex: 1)
    bench.start()
    let first = pass(1, 1)
    let answer4 = bench.hear(.hidden(from: Incarnation(4), bench.term, first, stageIndex: 1, RowsHandle(1)))
    #expect(answer4.isEmpty)
    bench.open(2, cells: CellRun(start: 256, count: 256))
    let answer5 = bench.hear(
        .hidden(from: Incarnation(4), bench.term, pass(2, 2), stageIndex: bench.stageIndex, RowsHandle(2)))
    #expect(answer5.isEmpty, "in order")
    let answer6 = bench.open(1)
    #expect(answer6.contains(.compute(EngineID(1), first, RowsHandle(1))))
    let after = bench.hear(.computed(PassID(1), .hidden(RowsHandle(3)), computed: done, idleBefore: .zero))
    #expect(after.first == .forward(to: Incarnation(90), bench.term, first, stageIndex: 2, RowsHandle(3)))
    #expect(after.last == .compute(EngineID(1), pass(2, 2), RowsHandle(2)))
}

/// "Epoch … fences passes, results and routing, never committed KV."
@Test func worker_newEpoch_dropsPassesAndKeepsSequences() {
    var bench = Bench(stageIndex: 1)
    bench.start()
    bench.open(1)
    bench.hear(.hidden(from: Incarnation(4), bench.term, pass(1, 1), stageIndex: bench.stageIndex, RowsHandle(1)))
    bench.hear(
        .hidden(
            from: Incarnation(4), bench.term, pass(2, 1, from: 3, count: 1), stageIndex: bench.stageIndex, RowsHandle(2)
        ))
    let told = bench.hear(.assign(bench.place(epoch: 2)))
    #expect(
        told == [
            .drop(RowsHandle(2)),
            .send(
                .assigned(
                    PipelineID(0), Epoch(2), stageIndex: 1, [SequenceMark(sequence: SequenceID(1), watermark: 0)])),
        ])
    let result = bench.hear(.computed(PassID(1), .hidden(RowsHandle(3)), computed: done, idleBefore: .zero))
    #expect(result == [.drop(RowsHandle(3))], "the result of the past goes nowhere")
    let old = bench.hear(
        .hidden(
            from: Incarnation(4), bench.term, pass(3, 1, from: 3, count: 1), stageIndex: bench.stageIndex, RowsHandle(4)
        ))
    #expect(old == [.drop(RowsHandle(4))])
    let next = pass(4, 1, from: 3, count: 1, epoch: 2)
    let run = bench.hear(.hidden(from: Incarnation(4), bench.term, next, stageIndex: bench.stageIndex, RowsHandle(5)))
    #expect(run == [.compute(EngineID(1), next, RowsHandle(5))], "what the old pass committed counts")
}

/// "Released memory is used again only when it is quiet."
@Test func worker_releaseDuringAPass_isAnsweredAfterIt() {
    var bench = Bench()
    bench.start()
    bench.open(1)
    bench.hear(.run(pass(1, 1)))
    let answer7 = bench.hear(.release(SequenceID(1), of: PipelineID(0)))
    #expect(answer7 == [.release(EngineID(1), SequenceID(1))])
    let after = bench.hear(.computed(PassID(1), .hidden(RowsHandle(1)), computed: done, idleBefore: .zero))
    #expect(after.last == .send(.released(SequenceID(1), of: PipelineID(0))))
    let answer8 = bench.hear(.release(SequenceID(1), of: PipelineID(0)))
    #expect(answer8 == [.send(.released(SequenceID(1), of: PipelineID(0)))], "unknown ones are answered too")
}

/// "No pass reads above its stage's watermark. No write lands without a ticket that is still open."
@Test(arguments: [(first: 4, count: 1), (first: 0, count: 21), (first: -1, count: 1)])
func worker_passOutsideWatermarkOrTicket_isNotRun(first: Int, count: Int) {
    var bench = Bench()
    bench.start()
    bench.open(1)
    bench.hear(.run(pass(1, 1)))
    bench.hear(.computed(PassID(1), .hidden(RowsHandle(1)), computed: done, idleBefore: .zero))
    let answer = bench.hear(.run(pass(2, 1, from: first, count: count)))
    #expect(answer.count == 1)
    if case .send(.passFailed(PassID(2), _, _, _)) = answer.first {} else { Issue.record("it was not refused") }
    let answer9 = bench.hear(.run(pass(3, 1, from: 3, count: 1)))
    #expect(answer9.isEmpty, "nothing runs after a failure in this epoch")
    bench.hear(.assign(bench.place(epoch: 2)))
    let answer10 = bench.hear(.run(pass(4, 1, from: 3, count: 1, epoch: 2)))
    #expect(answer10.count == 1)
}

@Test func worker_welcomeWhileAPassRuns_doesNotCommitItForTheNextOwner() {
    var bench = Bench()
    bench.start()
    bench.open(1)
    bench.hear(.run(pass(1, 1)))
    bench.hear(.controllerLost(reason: "cut"))
    bench.hear(.controllerConnected(bench.term))
    bench.hear(.welcome(WorkerID(2)))
    bench.hear(.assign(bench.place(epoch: 2)))
    bench.open(1)
    bench.hear(.computed(PassID(1), .hidden(RowsHandle(1)), computed: done, idleBefore: .zero))
    let answer = bench.hear(.run(pass(2, 1, from: 3, count: 1, epoch: 2)))
    if case .send(.passFailed) = answer.first {} else { Issue.record("rows of a former owner counted as committed") }
}

/// "Without a controller they keep everything for an orphan grace (60 s), then exit."
@Test func worker_orphan_exitsAfterTheGraceUnlessFound() throws {
    for found in [false, true] {
        var bench = Bench()
        bench.start()
        let lost = bench.hear(.controllerLost(reason: "cut"))
        guard case .setTimer(let timer, let at)? = lost.first else {
            Issue.record("no deadline")
            return
        }
        #expect(at == bench.now + .seconds(60))
        if found { bench.hear(.controllerConnected(bench.term)) }
        let end = bench.hear(.timer(timer), after: .seconds(60))
        if found {
            #expect(end.isEmpty)
        } else if case .exit(code: 1, _)? = end.first {
        } else {
            Issue.record("an orphan lives on")
        }
    }
}

@Test func worker_shutdown_finishesThePassAndExits() {
    var bench = Bench(stageIndex: 2)
    bench.start()
    bench.open(1)
    bench.hear(.hidden(from: Incarnation(4), bench.term, pass(1, 1), stageIndex: bench.stageIndex, RowsHandle(1)))
    let answer11 = bench.hear(.shutdown)
    #expect(answer11.isEmpty)
    let token = SampledToken(sequence: SequenceID(1), position: 3, token: 8)
    let end = bench.hear(.computed(PassID(1), .sampled([token]), computed: done, idleBefore: .zero))
    #expect(end.first == .send(.sampled(PassID(1), PipelineID(0), Epoch(1), [token])))
    #expect(end.last == .exit(code: 0, reason: "the controller said so"))
}

@Test func worker_refused_exitsWithTheError() {
    var bench = Bench()
    bench.hear(.controllerConnected(bench.term))
    let end = bench.hear(.refused(DejaVuError(.mismatch, "this model and that model differ")))
    #expect(end == [.exit(code: 1, reason: "this model and that model differ (mismatch)")])
}

@Test func worker_peerLost_tellsTheController() {
    var bench = Bench()
    bench.start()
    let answer12 = bench.hear(.peerLost(Incarnation(90), reason: "reset"))
    #expect(answer12 == [.send(.peerLost(WorkerID(9)))])
    let answer13 = bench.hear(.peerLost(Incarnation(91), reason: "reset"))
    #expect(answer13.isEmpty)
    bench.open(1)
    bench.hear(.run(pass(1, 1)))
    let result = bench.hear(.computed(PassID(1), .hidden(RowsHandle(1)), computed: done, idleBefore: .zero))
    #expect(result.first == .drop(RowsHandle(1)), "nowhere to send it")
    let again = bench.hear(.assign(bench.place(epoch: 2)))
    #expect(again.contains { if case .connect = $0 { true } else { false } })
}

@Test func worker_otherCellCount_loadsAnewAndForgets() {
    var bench = Bench()
    bench.start()
    bench.open(1)
    let told = bench.hear(.assign(bench.place(epoch: 2, cells: 512)))
    #expect(told == [.unload(EngineID(1)), .load(EngineID(2), bench.place(epoch: 2, cells: 512))])
    let answer14 = bench.hear(.loaded(EngineID(1)))
    #expect(answer14.isEmpty, "the answer to a former load")
    let answer15 = bench.hear(.loaded(EngineID(2)))
    #expect(answer15 == [.send(.assigned(PipelineID(0), Epoch(2), stageIndex: 0, []))])
    let opened = bench.open(1)
    #expect(opened.contains { if case .open = $0 { true } else { false } })
}

/// A worker that took a stage over beside its own: rows of one go to the other without a link.
@Test func worker_twoStages_handsRowsToItself() {
    var bench = Bench(stageIndex: 1)
    bench.hear(.controllerConnected(bench.term))
    bench.hear(.welcome(WorkerID(1)))
    let own = PeerAddress(worker: WorkerID(1), incarnation: Incarnation(5), address: "unix:/1")
    func place(_ stage: Int, next: PeerAddress?) -> StageAssignment {
        StageAssignment(
            pipeline: PipelineID(0), epoch: Epoch(1), stageIndex: stage, stageCount: 3,
            layers: LayerRange(stage * 4, stage * 4 + 4), cellCount: 1024, next: next)
    }
    bench.hear(.assign(place(1, next: own)))
    bench.hear(.assign(place(2, next: nil)))
    let first = bench.hear(.loaded(EngineID(1)))
    #expect(first == [.send(.assigned(PipelineID(0), Epoch(1), stageIndex: 1, []))], "it needs no link to itself")
    bench.hear(.loaded(EngineID(2)))
    bench.open(1)
    let record = SequenceRecord(
        id: SequenceID(1), request: RequestID(1), choice: 0, prompt: [1, 2, 3], sampling: .greedy, outputCountMax: 18,
        stopTokens: [])
    let ticket = Ticket(
        number: 2, sequence: SequenceID(1), layers: LayerRange(8, 12), positionLimit: 20, writer: Incarnation(5))
    bench.hear(.open(record, cells: CellRun(start: 0, count: 256), ticket: ticket))
    bench.hear(.hidden(from: Incarnation(4), bench.term, pass(1, 1), stageIndex: 1, RowsHandle(1)))
    let next = bench.hear(.computed(PassID(1), .hidden(RowsHandle(2)), computed: done, idleBefore: .zero))
    #expect(next.last == .compute(EngineID(2), pass(1, 1), RowsHandle(2)))
    let release = bench.hear(.release(SequenceID(1), of: PipelineID(0)))
    #expect(release == [.release(EngineID(1), SequenceID(1)), .release(EngineID(2), SequenceID(1))])
    let token = SampledToken(sequence: SequenceID(1), position: 3, token: 8)
    let end = bench.hear(.computed(PassID(1), .sampled([token]), computed: done, idleBefore: .zero))
    #expect(end.last == .send(.released(SequenceID(1), of: PipelineID(0))), "one answer for all stages")
    let retired = bench.hear(.retire(PipelineID(0), stageIndex: 2))
    #expect(retired == [.unload(EngineID(2))])
}

/// "`.released` is answered when no frame can land there": also where a replica has become the stage.
@Test func worker_sequenceOfATakenReplica_isReleasedWhenNoFrameCanLand() {
    for takenFirst in [true, false] {
        var bench = Bench(stageIndex: 2)
        bench.hear(.controllerConnected(bench.term))
        bench.hear(.welcome(WorkerID(1)))
        let place = bench.place()
        let replica = ReplicaID(7)
        bench.hear(
            .hold(
                ReplicaAssignment(
                    id: replica, pipeline: place.pipeline, stageIndex: 2, stageCount: 3, layers: place.layers,
                    cellCount: place.cellCount)))
        bench.hear(.replicaLoaded(replica))
        let record = SequenceRecord(
            id: SequenceID(1), request: RequestID(1), choice: 0, prompt: [1, 2, 3], sampling: .greedy,
            outputCountMax: 18, stopTokens: [])
        let ticket = Ticket(
            number: 1, sequence: record.id, layers: place.layers, positionLimit: 20, writer: Incarnation(4))
        bench.hear(.openReplica(replica, record, cells: CellRun(start: 0, count: 256), ticket: ticket))
        let taken = StageAssignment(
            pipeline: place.pipeline, epoch: place.epoch, stageIndex: 2, stageCount: 3, layers: place.layers,
            cellCount: place.cellCount, next: nil, replica: replica)
        let promoted = WorkerEvent.promoted(replica, [SequenceMark(sequence: record.id, watermark: 2)])
        bench.hear(.assign(taken))
        if takenFirst { bench.hear(promoted) }
        let asked = bench.hear(.release(record.id, of: PipelineID(0)))
        #expect(asked == [.releaseLanded(EngineID(1), record.id)])
        if !takenFirst {
            let ready = bench.hear(promoted)
            #expect(ready == [.send(.assigned(place.pipeline, place.epoch, stageIndex: 2, []))])
        }
        let answer = bench.hear(.landedReleased(EngineID(1), record.id))
        #expect(answer == [.send(.released(record.id, of: PipelineID(0)))])
    }
}

/// "Without a controller they keep everything": a pass that runs ends and is committed, and the next controller is told
/// what there is.
@Test func worker_adopted_keepsItsStageAndReportsIt() throws {
    var bench = Bench()
    bench.start()
    bench.open(1)
    bench.open(2, cells: CellRun(start: 256, count: 256))
    bench.hear(.ended(SequenceID(2), outputs: [8, 9], .stop, keep: .seconds(60)))
    bench.hear(.run(pass(1, 1)))
    bench.hear(.controllerLost(reason: "killed"))
    let next = Term(number: 3, nonce: 4)
    bench.hear(.controllerConnected(next))
    let asked = bench.hear(.message(next, .release(SequenceID(2), of: PipelineID(0))))
    #expect(asked == [.release(EngineID(1), SequenceID(2))], "a pass may still touch the cells")
    let early = bench.hear(.message(next, .adopt(WorkerID(4))))
    #expect(early.isEmpty, "cells that are not quiet must not seem to be free")
    let answer = bench.hear(.computed(PassID(1), .hidden(RowsHandle(3)), computed: done, idleBefore: .zero))
    #expect(answer.contains(.drop(RowsHandle(3))), "nobody waits for its rows")
    #expect(!answer.contains { if case .send(.passed) = $0 { true } else { false } })
    let reports = answer.compactMap { if case .send(.report(let report)) = $0 { report } else { nil } }
    let report = try #require(reports.first)
    #expect(report.stages.map(\.assignment) == [bench.place()] && report.replicas.isEmpty)
    let place = try #require(report.stages[0].sequences.first)
    #expect(place.sequence == SequenceID(1) && place.watermark == 3 && place.ticket?.number == 1)
    #expect(report.stages[0].sequences.count == 1)
    let ended = answer.compactMap {
        if case .send(.record(let record, let reason?)) = $0 { (record.outputs, reason) } else { nil }
    }
    #expect(ended.count == 1 && ended[0] == ([8, 9], .stop), "the record outlives the end")
    let told = answer.compactMap {
        if case .sendRecord(let record, .stage(EngineID(1))) = $0 { record.id } else { nil }
    }
    #expect(told == [SequenceID(1)])
    let wired = bench.hear(.message(next, .assign(bench.place(epoch: 2))))
    let mark = SequenceMark(sequence: SequenceID(1), watermark: 3)
    #expect(wired == [.send(.assigned(PipelineID(0), Epoch(2), stageIndex: 0, [mark]))])
}
