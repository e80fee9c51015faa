import DejaVuControl
import DejaVuCore
import DejaVuKV
import Testing

extension Cluster {
    /// One worker and a standby that holds its replica; one sequence that has made `steps` steps, of which the replica
    /// has `copied` positions.
    static func replicated(prompt: Int = 4, steps: Int, copied: Int) throws -> (Cluster, SequenceID) {
        var cluster = try Cluster(replicasMax: 1)
        cluster.start(workers: 1...2)
        cluster.finishProbe()
        cluster.settleReplicas(of: 2)
        _ = cluster.submit(prompt: prompt, outputs: 100)
        cluster.settleReplicas(of: 2)
        for _ in 0...steps { cluster.complete() }
        let sequence = try #require(cluster.replicating.last?.sequence)
        let hold = try #require(cluster.holds[WorkerID(2)]?.first)
        cluster.say(2, .replicated(hold.id, [SequenceMark(sequence: sequence, watermark: copied)]))
        return (cluster, sequence)
    }

    /// The standby says under the new epoch what it has.
    mutating func answer(_ id: UInt64, _ marks: [(SequenceID, Int)]) throws {
        let place = try #require(places[WorkerID(id)])
        say(
            id,
            .assigned(
                place.pipeline, place.epoch, stageIndex: place.stageIndex,
                marks.map { SequenceMark(sequence: $0.0, watermark: $0.1) }))
    }
}

@Test func replica_standbyWithMemory_holdsEveryStage() throws {
    var cluster = try Cluster(stages: 2, replicasMax: 2)
    cluster.start(workers: 1...3)
    #expect(cluster.holds[WorkerID(3)]?.map(\.stageIndex) == [0, 1])
    #expect(cluster.holds[WorkerID(3)]?.map(\.layers) == [LayerRange(0, 6), LayerRange(6, 12)])
    #expect(cluster.machine.status(at: cluster.now).pipelines[0].stages.map(\.holder) == [WorkerID(3), WorkerID(3)])
}

@Test func replica_memoryForOneStage_holdsOneAndReportsTheOther() throws {
    var cluster = try Cluster(stages: 2, replicasMax: 1)
    for id: UInt64 in 1...2 {
        cluster.hear(.workerJoined(WorkerID(id), cluster.hello(id) { $0 = $0.with(replicaBytesMax: 0) }))
    }
    cluster.settle([1, 2])
    cluster.hear(.workerJoined(WorkerID(3), cluster.hello(3)))
    #expect(cluster.holds[WorkerID(3)]?.map(\.stageIndex) == [0])
    cluster.settleReplicas(of: 3)
    cluster.finishProbe()
    _ = cluster.submit()
    #expect(cluster.machine.status(at: cluster.now).sequencesAtRisk == 1)
    // Another standby takes the other stage.
    cluster.hear(.workerJoined(WorkerID(4), cluster.hello(4)))
    #expect(cluster.holds[WorkerID(4)]?.map(\.stageIndex) == [1])
    cluster.settleReplicas(of: 4)
    #expect(cluster.machine.status(at: cluster.now).sequencesAtRisk == 0)
}

@Test func replica_switchedOffOrNoMemory_isNone() throws {
    for replicasMax in [0, 1] {
        var cluster = try Cluster(replicasMax: replicasMax, replicates: replicasMax == 0)
        cluster.start(workers: 1...2)
        #expect(cluster.holds.isEmpty)
    }
}

/// No frame arrives before its ticket: the source is told when the holder has said that the sequence is open.
@Test func replica_newSequence_isOpenedAtTheHolderBeforeTheSourceIsTold() throws {
    var cluster = try Cluster(replicasMax: 1)
    cluster.start(workers: 1...2)
    cluster.finishProbe()
    cluster.settleReplicas(of: 2)
    _ = cluster.submit()
    #expect(cluster.replicating.isEmpty)
    let opened = try #require(cluster.openedReplicas.first)
    #expect(opened.worker == WorkerID(2) && opened.ticket.writer == Cluster.incarnation(1))
    cluster.settleReplicas(of: 2)
    let told = try #require(cluster.replicating.first)
    #expect(told.worker == WorkerID(1) && told.ticket == opened.ticket && told.to.peer.worker == WorkerID(2))
    let own = try #require(cluster.opened.last)
    #expect(own.ticket.number != told.ticket.number, "the holder's ticket is its own")
}

@Test func takeover_replicaWithEverything_runsNothingAgain() throws {
    var (cluster, sequence) = try Cluster.replicated(steps: 3, copied: 7)
    cluster.passes.removeAll()
    cluster.hear(.workerLost(WorkerID(1), reason: "gone"))
    #expect(cluster.places[WorkerID(2)]?.replica != nil)
    try cluster.answer(2, [(sequence, 7)])
    let pass = try #require(cluster.passes.first)
    // 4 prompt tokens and 4 outputs are known: the next is a step.
    #expect(pass.entries.map(\.first) == [7] && pass.entries.map(\.end) == [8])
    #expect(cluster.machine.counters.positionsRunAgain == 0)
    #expect(cluster.machine.counters.takeovers == 1)
    let ticket = try #require(cluster.opened.last?.ticket)
    #expect(ticket.writer == Cluster.incarnation(2) && ticket.number > cluster.replicating[0].ticket.number)
    #expect(cluster.opened.last?.record.outputs.count == 4, "the record brings the outputs")
    cluster.complete()
    let report = try #require(cluster.machine.status(at: cluster.now).lastRecovery)
    #expect(report.positionsRunAgain == 0 && report.stagesByReplica == 1 && report.firstToken > .zero)
}

@Test func takeover_replicaBehind_runsTheLagAgain() throws {
    var (cluster, sequence) = try Cluster.replicated(steps: 3, copied: 5)
    #expect(cluster.machine.status(at: cluster.now).positionsAtRisk == 2)
    cluster.passes.removeAll()
    cluster.hear(.workerLost(WorkerID(1), reason: "gone"))
    try cluster.answer(2, [(sequence, 5)])
    #expect(cluster.passes.first?.entries.map(\.first) == [5])
    #expect(cluster.machine.counters.positionsRunAgain == 2)
}

/// A mark that was on its way when the source died counts: the holder answers under the new epoch what it has.
@Test func takeover_holderHasMoreThanItHadSaid_startsThere() throws {
    var (cluster, sequence) = try Cluster.replicated(steps: 3, copied: 5)
    cluster.passes.removeAll()
    cluster.hear(.workerLost(WorkerID(1), reason: "gone"))
    try cluster.answer(2, [(sequence, 7)])
    #expect(cluster.passes.first?.entries.map(\.first) == [7])
}

@Test func takeover_newStandby_getsReplicasOfEverythingOldestFirst() throws {
    var (cluster, first) = try Cluster.replicated(steps: 1, copied: 5)
    _ = cluster.submit(prompt: 3, outputs: 50)
    cluster.settleReplicas(of: 2)
    let second = try #require(cluster.replicating.last?.sequence)
    cluster.passes.removeAll()
    cluster.hear(.workerLost(WorkerID(1), reason: "gone"))
    try cluster.answer(2, [(first, 5), (second, 0)])
    cluster.replicating.removeAll()
    cluster.hear(.workerJoined(WorkerID(3), cluster.hello(3)))
    cluster.settleReplicas(of: 3)
    #expect(cluster.replicating.map(\.sequence) == [first, second])
    #expect(cluster.replicating.allSatisfy { $0.worker == WorkerID(2) && $0.to.peer.worker == WorkerID(3) })
    #expect(cluster.replicating.allSatisfy { $0.ticket.writer == Cluster.incarnation(2) })
    #expect(cluster.machine.status(at: cluster.now).pipelines[0].state == .serving, "steps go on")
}

@Test func holder_dies_sourceForgetsItAndAnotherStandbyHolds() throws {
    var (cluster, sequence) = try Cluster.replicated(steps: 1, copied: 5)
    _ = cluster.takeActions()
    cluster.hear(.workerJoined(WorkerID(3), cluster.hello(3)))
    cluster.hear(.workerLost(WorkerID(2), reason: "gone"))
    let told = cluster.takeActions()
    #expect(
        told.contains {
            guard case .send(WorkerID(1), .endReplication(stageIndex: 0, let target)) = $0 else { return false }
            return target.peer.incarnation == Cluster.incarnation(2)
        })
    #expect(cluster.holds[WorkerID(3)]?.count == 1)
    #expect(cluster.machine.status(at: cluster.now).pipelines[0].state == .serving)
    cluster.replicating.removeAll()
    cluster.settleReplicas(of: 3)
    #expect(cluster.replicating.map(\.sequence) == [sequence])
}

@Test func sourceAndHolder_dieAtOnce_recordIsRunAgain() throws {
    var (cluster, _) = try Cluster.replicated(steps: 2, copied: 6)
    cluster.passes.removeAll()
    cluster.hear(.workerLost(WorkerID(2), reason: "gone"))
    cluster.hear(.workerLost(WorkerID(1), reason: "gone"))
    cluster.hear(.workerJoined(WorkerID(3), cluster.hello(3)))
    #expect(cluster.places[WorkerID(3)]?.replica == nil)
    cluster.settle([3])
    #expect(cluster.passes.first?.entries.map(\.first) == [0])
    #expect(cluster.machine.counters.positionsRunAgain == 6)
}

/// The cells go to others only when the holder, too, has said that nobody can write there.
@Test func release_replica_isWaitedFor() throws {
    var (cluster, sequence) = try Cluster.replicated(steps: 1, copied: 5)
    cluster.hear(.cancel(RequestID(1)))
    while !cluster.passes.isEmpty { cluster.complete() }
    cluster.releases.removeAll { $0.sequence != sequence }
    #expect(cluster.releases.map(\.worker).sorted() == [WorkerID(1), WorkerID(2)])
    cluster.say(1, .released(sequence, of: PipelineID(0)))
    #expect(cluster.machine.status(at: cluster.now).pipelines[0].cellsUsed == 256)
    cluster.say(2, .released(sequence, of: PipelineID(0)))
    #expect(cluster.machine.status(at: cluster.now).pipelines[0].cellsUsed == 0)
}

/// A taker that was told already keeps what it has when another stage dies before the first pass.
@Test func thirdStage_diesDuringTakeover_keepsTheMarks() throws {
    var cluster = try Cluster(stages: 2, replicasMax: 1)
    cluster.start(workers: 1...4)
    cluster.settleReplicas(of: 3)
    cluster.settleReplicas(of: 4)
    cluster.finishProbe()
    _ = cluster.submit(outputs: 100)
    cluster.settleReplicas(of: 3)
    for _ in 0..<3 { cluster.complete() }
    let sequence = try #require(cluster.replicating.last?.sequence)
    cluster.passes.removeAll()
    cluster.hear(.workerLost(WorkerID(1), reason: "gone"))
    try cluster.answer(3, [(sequence, 6)])
    cluster.hear(.workerLost(WorkerID(2), reason: "gone"))
    #expect(cluster.places[WorkerID(3)]?.replica == nil, "it has the stage already")
    #expect(cluster.places[WorkerID(4)]?.replica != nil)
    try cluster.answer(3, [(sequence, 6)])
    try cluster.answer(4, [(sequence, 5)])
    #expect(cluster.passes.first?.entries.map(\.first) == [5])
}

@Test func hold_fails_standbyRestsAndIsTriedAgain() throws {
    var cluster = try Cluster(replicasMax: 1)
    cluster.start(workers: 1...2)
    let hold = try #require(cluster.holds[WorkerID(2)]?.first)
    cluster.say(2, .holdFailed(hold.id, DejaVuError(.resourceExhausted, "no memory")))
    #expect(cluster.machine.status(at: cluster.now).workers[1].state == .resting)
    #expect(cluster.machine.status(at: cluster.now).pipelines[0].stages[0].holder == nil)
    cluster.holds.removeAll()
    cluster.wait(.seconds(11), beating: [1, 2])
    #expect(cluster.holds[WorkerID(2)]?.count == 1)
}

@Test func taker_holdsOthers_keepsThem() throws {
    var cluster = try Cluster(stages: 2, replicasMax: 2)
    cluster.start(workers: 1...3)
    cluster.settleReplicas(of: 3)
    _ = cluster.takeActions()
    let held = cluster.holds[WorkerID(3)] ?? []
    cluster.hear(.workerLost(WorkerID(2), reason: "gone"))
    #expect(cluster.places[WorkerID(3)]?.replica == held[1].id)
    cluster.settle([1, 3])
    #expect(
        cluster.machine.status(at: cluster.now).pipelines[0].stages[1].holder == nil,
        "a neighbour loads it when the first pass has crossed, not before")
    // The probe of before has to be forgotten first.
    cluster.finishProbe()
    cluster.wait(.milliseconds(200), beating: [1, 3])
    cluster.finishProbe()
    let stages = cluster.machine.status(at: cluster.now).pipelines[0].stages
    #expect(stages.map(\.holder) == [WorkerID(3), WorkerID(1)], "the other stage's copy stays, its own is made anew")
    #expect(cluster.holds[WorkerID(3)]?.contains(held[0]) == true)
}

// MARK: Without a standby

@Test func ring_noStandby_eachHoldsItsNeighboursReplica() throws {
    var cluster = try Cluster(stages: 3, replicasMax: 1)
    cluster.start(workers: 1...3)
    let stages = cluster.machine.status(at: cluster.now).pipelines[0].stages
    #expect(stages.map(\.worker) == [WorkerID(1), WorkerID(2), WorkerID(3)])
    #expect(stages.map(\.holder) == [WorkerID(2), WorkerID(3), WorkerID(1)])
}

@Test func ring_workerDies_neighbourRunsTwoStagesAndNothingIsRunAgain() throws {
    var cluster = try Cluster(stages: 2, replicasMax: 1)
    cluster.start(workers: 1...2)
    for id: UInt64 in 1...2 { cluster.settleReplicas(of: id) }
    cluster.finishProbe()
    _ = cluster.submit(outputs: 100)
    cluster.settleReplicas(of: 1)
    for _ in 0..<3 { cluster.complete() }
    let sequence = try #require(cluster.replicating.last?.sequence)
    cluster.passes.removeAll()
    cluster.hear(.workerLost(WorkerID(2), reason: "gone"))
    let seats = try #require(cluster.seats[WorkerID(1)])
    #expect(seats.map(\.stageIndex) == [0, 1] && seats[0].replica == nil && seats[1].replica != nil)
    #expect(seats[0].next?.worker == WorkerID(1))
    for seat in seats {
        cluster.say(
            1,
            .assigned(
                seat.pipeline, seat.epoch, stageIndex: seat.stageIndex,
                [SequenceMark(sequence: sequence, watermark: 6)]))
    }
    #expect(cluster.passes.first?.entries.map(\.first) == [6])
    cluster.complete()
    #expect(cluster.machine.counters.positionsRunAgain == 0 && cluster.machine.counters.takeovers == 1)
    // Who comes next holds both.
    cluster.hear(.workerJoined(WorkerID(3), cluster.hello(3) { $0 = $0.with(replicaBytesMax: $0.kvBytesMax * 2) }))
    #expect(cluster.holds[WorkerID(3)]?.map(\.stageIndex) == [0, 1])
}

@Test func ring_standbyJoins_takesTheReplicasOneAfterTheOther() throws {
    var cluster = try Cluster(stages: 2, replicasMax: 2)
    cluster.start(workers: 1...2)
    for id: UInt64 in 1...2 { cluster.settleReplicas(of: id) }
    cluster.hear(.workerJoined(WorkerID(3), cluster.hello(3)))
    func holders() -> [WorkerID?] { cluster.machine.status(at: cluster.now).pipelines[0].stages.map(\.holder) }
    #expect(holders() == [WorkerID(3), WorkerID(1)])
    cluster.settleReplicas(of: 3)
    #expect(holders() == [WorkerID(3), WorkerID(3)])
}

@Test func flapping_workerThatDied_getsAStageOnlyIfNobodyElseCan() throws {
    var cluster = try Cluster(stages: 1)
    cluster.start(workers: 1...1)
    cluster.hear(.workerLost(WorkerID(1), reason: "gone"))
    // The same name, another process.
    cluster.hear(.workerJoined(WorkerID(2), cluster.hello(2) { $0 = $0.with(name: "local-1") }))
    #expect(cluster.worker(stage: 0) == 2, "there is nobody else")
    cluster.hear(.workerLost(WorkerID(2), reason: "gone again"))
    cluster.hear(.workerJoined(WorkerID(3), cluster.hello(3) { $0 = $0.with(name: "local-1") }))
    cluster.hear(.workerJoined(WorkerID(4), cluster.hello(4) { $0 = $0.with(name: "local-1") }))
    cluster.hear(.workerJoined(WorkerID(5), cluster.hello(5)))
    #expect(cluster.worker(stage: 0) == 3)
    cluster.hear(.workerLost(WorkerID(3), reason: "gone"))
    #expect(cluster.worker(stage: 0) == 5, "one that has not died comes before one that has")
}
