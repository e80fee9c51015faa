import DejaVuControl
import DejaVuCore
import DejaVuKV
import Testing

/// "Subscribe the new place in the background; when its lag is at most one step, change the epoch between two steps."
@Test func drainWorker_replicaAtAStandby_movesBetweenTwoStepsAndRunsNothingAgain() throws {
    var (cluster, sequence) = try Cluster.replicated(steps: 3, copied: 3)
    _ = cluster.takeActions()
    cluster.hear(.drainWorker(WorkerID(1)))
    #expect(cluster.machine.status(at: cluster.now).workers[0].state == .leaving)
    let hold = try #require(cluster.holds[WorkerID(2)]?.first)
    #expect(cluster.passes.count == 1, "the replica lags: work goes on")
    cluster.complete()
    #expect(cluster.passes.count == 1)
    cluster.say(2, .replicated(hold.id, [SequenceMark(sequence: sequence, watermark: 7)]))
    cluster.complete()
    #expect(cluster.passes.isEmpty, "nothing is sent any more")
    #expect(cluster.places[WorkerID(2)] == nil, "its rows are not all there")
    cluster.say(2, .replicated(hold.id, [SequenceMark(sequence: sequence, watermark: 9)]))
    #expect(cluster.places[WorkerID(2)]?.replica == hold.id)
    let told = cluster.takeActions()
    #expect(told.contains(.send(WorkerID(1), .retire(PipelineID(0), stageIndex: 0))))
    #expect(told.contains(.send(WorkerID(1), .shutdown)))
    try cluster.answer(2, [(sequence, 9)])
    #expect(cluster.passes.first?.entries.map(\.first) == [9])
    cluster.hear(.workerLost(WorkerID(1), reason: "ended"))
    let counters = cluster.machine.counters
    #expect(counters.positionsRunAgain == 0 && counters.replayRows == 0 && counters.recoveries == 0)
    #expect(counters.moves == 1 && counters.workersLeft == 1 && counters.workersLost == 0)
}

@Test func drainWorker_nobodyToTakeOver_waitsForOne() throws {
    var cluster = try Cluster(replicasMax: 1)
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    cluster.say(1, .leaving)
    #expect(!cluster.takeActions().contains(.send(WorkerID(1), .shutdown)))
    cluster.hear(.workerJoined(WorkerID(2), cluster.hello(2)))
    cluster.settleReplicas(of: 2)
    #expect(cluster.places[WorkerID(2)]?.replica != nil)
    #expect(cluster.takeActions().contains(.send(WorkerID(1), .shutdown)))
}

@Test func drainWorker_standby_endsAtOnceAndAnotherHolds() throws {
    var cluster = try Cluster(replicasMax: 1)
    cluster.start(workers: 1...3)
    cluster.settleReplicas(of: 2)
    _ = cluster.takeActions()
    cluster.hear(.drainWorker(WorkerID(2)))
    #expect(cluster.takeActions().contains(.send(WorkerID(2), .shutdown)))
    #expect(cluster.machine.status(at: cluster.now).pipelines[0].stages[0].holder == WorkerID(3))
}

/// Rows that do not arrive must not keep clients waiting.
@Test func move_rowsDoNotArrive_isGivenUpAndWorkGoesOn() throws {
    var (cluster, sequence) = try Cluster.replicated(steps: 3, copied: 7)
    let hold = try #require(cluster.holds[WorkerID(2)]?.first)
    cluster.hear(.drainWorker(WorkerID(1)))
    cluster.complete()
    #expect(cluster.passes.isEmpty)
    cluster.wait(.milliseconds(800), beating: [1, 2])
    #expect(cluster.passes.count == 1, "it waits no longer")
    cluster.say(2, .replicated(hold.id, [SequenceMark(sequence: sequence, watermark: 8)]))
    cluster.complete()
    #expect(cluster.passes.count == 1, "not again at once")
}

/// A worker that took a second stage gives it to the standby that comes.
@Test func balance_standbyJoins_takesOneOfTwoStages() throws {
    var cluster = try Cluster(stages: 2, replicasMax: 2)
    cluster.start(workers: 1...2)
    for id: UInt64 in 1...2 { cluster.settleReplicas(of: id) }
    cluster.finishProbe()
    cluster.hear(.workerLost(WorkerID(2), reason: "gone"))
    cluster.settle([1])
    #expect((0...1).map { cluster.worker(stage: $0) } == [1, 1])
    cluster.finishProbe()
    cluster.hear(.workerJoined(WorkerID(3), cluster.hello(3)))
    cluster.settleReplicas(of: 3)
    cluster.settle([1, 3])
    #expect(Set((0...1).map { cluster.worker(stage: $0) }) == [1, 3])
    #expect(cluster.machine.counters.moves == 1)
}
