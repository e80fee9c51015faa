import DejaVuControl
import DejaVuCore
import DejaVuKV
import Testing

/// A controller that begins where another one has reigned, and what its workers say.
private struct Reign {
    var cluster: Cluster
    static let before = Term(number: 2, nonce: 1)
    static let cells = CellRun(start: 0, count: 256)

    init(expecting ids: [UInt64], replicasMax: Int = 4) throws {
        cluster = try Cluster(stages: 2, replicasMax: replicasMax)
        cluster.hear(
            .adopt(
                expecting: ids.map { Cluster.incarnation($0) }, until: cluster.now + .seconds(2),
                deadline: cluster.now + .seconds(600)))
    }

    @discardableResult
    mutating func join(_ id: UInt64) -> [ControllerAction] {
        cluster.hear(.workerJoined(WorkerID(id), cluster.hello(id) { $0 = $0.with(term: Self.before) }))
    }

    func record(
        _ id: UInt64, outputs: [TokenID] = [], choice: Int = 0, of count: Int = 1, request: UInt64 = 50
    ) -> SequenceRecord {
        SequenceRecord(
            id: SequenceID(id), request: RequestID(request), choice: choice, prompt: [1, 2, 3, 4], outputs: outputs,
            sampling: .greedy, outputCountMax: 8, stopTokens: [], choiceCount: count, origin: [42])
    }

    func stage(_ index: Int, of id: UInt64, _ marks: [(sequence: UInt64, watermark: Int)]) -> WorkerReport.Stage {
        let layers = LayerRange(index * 6, index * 6 + 6)
        let places = marks.map { mark in
            WorkerReport.Place(
                sequence: SequenceID(mark.sequence), cells: Self.cells, watermark: mark.watermark,
                ticket: Ticket(
                    number: 5, sequence: SequenceID(mark.sequence), layers: layers, positionLimit: 11,
                    writer: Cluster.incarnation(id)))
        }
        return WorkerReport.Stage(
            assignment: StageAssignment(
                pipeline: PipelineID(0), epoch: Epoch(6), stageIndex: index, stageCount: 2, layers: layers,
                cellCount: 4096, next: nil), sequences: places)
    }

    func replica(_ index: Int, from source: UInt64, _ mark: (sequence: UInt64, watermark: Int)) -> WorkerReport.Replica
    {
        let stage = stage(index, of: source, [mark])
        return WorkerReport.Replica(
            assignment: ReplicaAssignment(
                id: ReplicaID(3), pipeline: PipelineID(0), stageIndex: index, stageCount: 2,
                layers: stage.assignment.layers, cellCount: 4096), isReady: true, sequences: stage.sequences)
    }

    @discardableResult
    mutating func report(
        _ id: UInt64, _ records: [SequenceRecord], stages: [WorkerReport.Stage] = [],
        replicas: [WorkerReport.Replica] = []
    ) -> [ControllerAction] {
        for record in records { cluster.say(id, .record(record, ended: nil)) }
        return cluster.say(id, .report(WorkerReport(stages: stages, replicas: replicas)))
    }
}

extension [ControllerAction] {
    fileprivate var restored: [RestoredRequest] {
        compactMap { if case .restored(let request) = $0 { request } else { nil } }
    }
    fileprivate var assigned: [(worker: WorkerID, place: StageAssignment)] {
        compactMap { if case .send(let id, .assign(let place)) = $0 { (id, place) } else { nil } }
    }
}

@Test func adoption_allThatWereExpected_goOnWhereTheyWere() throws {
    var reign = try Reign(expecting: [1, 2])
    let asked = reign.join(1)
    #expect(asked == [.send(WorkerID(1), .adopt(WorkerID(1)))], "nothing is placed before all is known")
    let first = reign.report(1, [reign.record(7, outputs: [20, 21])], stages: [reign.stage(0, of: 1, [(7, 5)])])
    #expect(first.isEmpty, "the other is waited for")
    reign.join(2)
    let second = reign.report(2, [reign.record(7, outputs: [20])], stages: [reign.stage(1, of: 2, [(7, 4)])])
    let restored = try #require(second.restored.first)
    #expect(restored.request.id == RequestID(50) && restored.request.origin == [42])
    #expect(restored.choices == [.init(outputs: [20, 21], finish: nil)], "the longest that anybody knows")
    #expect(second.contains(.adopted))
    #expect(second.assigned.map(\.worker) == [WorkerID(1), WorkerID(2)], "stages stay where they are")
    #expect(second.assigned.allSatisfy { $0.place.epoch == Epoch(7) && $0.place.replica == nil })
    reign.cluster.say(
        1, .assigned(PipelineID(0), Epoch(7), stageIndex: 0, [SequenceMark(sequence: SequenceID(7), watermark: 5)]))
    let ready = reign.cluster.say(
        2, .assigned(PipelineID(0), Epoch(7), stageIndex: 1, [SequenceMark(sequence: SequenceID(7), watermark: 4)]))
    let run = try #require(reign.cluster.passes.first)
    #expect(run.entries == [PassEntry(sequence: SequenceID(7), first: 4, tokens: [20, 21], samples: true)])
    #expect(run.id.rawValue > 1 << 40, "numbers of earlier reigns are never used again")
    #expect(!ready.contains { if case .send(_, .open) = $0 { true } else { false } }, "both have it open")
    let emitted = reign.cluster.complete(token: 22)
    #expect(emitted.emitted == [6])
    #expect(reign.cluster.machine.counters.positionsRunAgain == 0)
}

@Test func adoption_stageWithoutAWorker_isTakenByTheHolderOfItsReplica() throws {
    var reign = try Reign(expecting: [1, 2])
    reign.join(2)
    reign.report(
        2, [reign.record(7, outputs: [20])], stages: [reign.stage(1, of: 2, [(7, 4)])],
        replicas: [reign.replica(0, from: 1, (7, 3))])
    #expect(reign.cluster.places.isEmpty)
    reign.cluster.wait(.milliseconds(2100), beating: [2])
    let places = try #require(reign.cluster.seats[WorkerID(2)])
    #expect(Set(places.map(\.stageIndex)) == [0, 1] && places.contains { $0.replica == ReplicaID(3) })
    reign.cluster.settle([2])
    let opened = reign.cluster.opened.map(\.ticket.layers)
    #expect(opened == [LayerRange(0, 6)], "a new ticket for what came with the replica")
}

@Test func adoption_requestOfWhichAChoiceIsGone_isReleased() throws {
    var reign = try Reign(expecting: [1])
    reign.join(1)
    let answer = reign.report(
        1, [reign.record(7, outputs: [20], choice: 0, of: 2)], stages: [reign.stage(0, of: 1, [(7, 5)])])
    #expect(answer.restored.isEmpty)
    #expect(answer.contains(.send(WorkerID(1), .release(SequenceID(7), of: PipelineID(0)))))
}

@Test func adoption_endedChoice_isToldWithItsEnd() throws {
    var reign = try Reign(expecting: [1])
    reign.join(1)
    reign.cluster.say(1, .record(reign.record(8, outputs: [1, 2, 3], choice: 1, of: 2), ended: .stop))
    let answer = reign.report(
        1, [reign.record(7, outputs: [20], choice: 0, of: 2)], stages: [reign.stage(0, of: 1, [(7, 5)])])
    #expect(
        answer.restored.first?.choices == [
            .init(outputs: [20], finish: nil), .init(outputs: [1, 2, 3], finish: .stop),
        ])
}

@Test func adoption_workersThatContradict_loseTheSequenceNotTheRest() throws {
    var reign = try Reign(expecting: [1, 2])
    reign.join(1)
    reign.join(2)
    reign.report(1, [reign.record(7, outputs: [20, 21])], stages: [reign.stage(0, of: 1, [(7, 5)])])
    let answer = reign.report(2, [reign.record(7, outputs: [30])], stages: [reign.stage(1, of: 2, [(7, 4)])])
    #expect(answer.restored.isEmpty)
    #expect(answer.assigned.count == 2)
    let released = answer.filter {
        if case .send(_, .release(SequenceID(7), of: PipelineID(0))) = $0 { true } else { false }
    }
    #expect(released.count == 2)
}

@Test func adoption_workerThatDoesNotAnswer_beginsAnew() throws {
    var reign = try Reign(expecting: [1])
    reign.join(1)
    reign.cluster.wait(.milliseconds(2100), beating: [1])
    #expect(reign.cluster.actions.contains(.send(WorkerID(1), .welcome(WorkerID(1)))))
    #expect(reign.cluster.actions.contains(.adopted))
}

/// Who brings other cells for a sequence than the latest placement has is not believed.
@Test func adoption_staleStageWithCellsOfAnother_isRetired() throws {
    var reign = try Reign(expecting: [1, 2])
    reign.join(1)
    reign.join(2)
    let old = reign.stage(1, of: 2, [(9, 4)])
    let place = old.assignment
    let stale = WorkerReport.Stage(
        assignment: StageAssignment(
            pipeline: place.pipeline, epoch: Epoch(4), stageIndex: 1, stageCount: 2, layers: place.layers,
            cellCount: 4096, next: nil), sequences: old.sequences)
    reign.report(1, [reign.record(7)], stages: [reign.stage(0, of: 1, [(7, 3)])])
    let answer = reign.report(2, [reign.record(9, request: 51)], stages: [stale])
    #expect(answer.contains(.send(WorkerID(2), .retire(PipelineID(0), stageIndex: 1))))
    #expect(answer.restored.map(\.request.id) == [RequestID(50), RequestID(51)], "its text goes on all the same")
}
