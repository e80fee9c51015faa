import DejaVuControl
import DejaVuCore
import Foundation
import Testing

/// "`ready` means that a token crossed all stages recently … not that a process exists."
@Test func ready_workersThereButNoTokenYet_isNot() throws {
    var cluster = try Cluster(stages: 2)
    func reason() -> String? { cluster.machine.status(at: cluster.now).reason }
    #expect(reason() == "2 of 2 stages have no worker")
    cluster.hear(.workerJoined(WorkerID(1), cluster.hello(1)))
    cluster.hear(.workerJoined(WorkerID(2), cluster.hello(2)))
    #expect(reason() == "workers load their layers")
    cluster.settle([1, 2])
    #expect(reason() == "no token has crossed all stages yet")
    cluster.finishProbe()
    #expect(reason() == nil && cluster.machine.status(at: cluster.now).ready)
    cluster.hear(.drain(deadline: cluster.now + .seconds(1)))
    #expect(cluster.machine.status(at: cluster.now).ready == false)
}

/// "When idle, a one-token probe every 10 s"; clients never see it.
@Test func probe_idlePipeline_runsEveryTenSeconds() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    #expect(cluster.machine.counters.probes == 1)
    cluster.wait(.milliseconds(9500), beating: [1])
    #expect(cluster.passes.isEmpty)
    cluster.wait(.seconds(1), beating: [1])
    #expect(cluster.passes.count == 1 && cluster.machine.counters.probes == 2)
    cluster.finishProbe()
    #expect(cluster.actions.emitted.isEmpty && cluster.actions.finished.isEmpty)
    #expect(cluster.machine.status(at: cluster.now).pipelines[0].cellsUsed == 0)
    #expect(cluster.machine.status(at: cluster.now).ready)
}

@Test func ready_noTokenForLong_isNotAnyMore() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    cluster.wait(.seconds(16), beating: [1])
    let status = cluster.machine.status(at: cluster.now)
    #expect(!status.ready && status.reason?.hasPrefix("no token has crossed all stages for 1") == true)
}

@Test func status_runningCluster_namesItsParts() throws {
    var cluster = try Cluster(stages: 2)
    cluster.start(workers: 1...3)
    cluster.finishProbe()
    _ = cluster.submit(prompt: 300, outputs: 10)
    cluster.complete()
    let status = cluster.machine.status(at: cluster.now)
    #expect(status.workers.map(\.state) == [.serving, .serving, .standby])
    #expect(status.pipelines[0].stages.map(\.layers) == [LayerRange(0, 6), LayerRange(6, 12)])
    #expect(status.pipelines[0].stages[0].computed > .zero && status.pipelines[0].stages[0].busyShare > 0)
    #expect(status.pipelines[0].cellsUsed == 512 && status.pipelines[0].cellsTotal == 4096)
    #expect(status.pipelines[0].kvBytesUsed == 512 * 12 * 8)
    #expect(status.pipelines[0].microbatches.count == 1 && status.sequencesRunning == 1)
    let copy = try JSONDecoder().decode(ClusterStatus.self, from: JSONEncoder().encode(status))
    #expect(copy == status)
}

@Test func configuration_encoded_isTheSameAgain() throws {
    let configuration = try Cluster(stages: 3).machine.configuration
    let copy = try JSONDecoder().decode(ControllerConfiguration.self, from: JSONEncoder().encode(configuration))
    #expect(copy == configuration)
}

@Test func heartbeat_rewriteMismatches_areAddedUpOverWorkersOnce() throws {
    var cluster = try Cluster(stages: 2)
    cluster.start(workers: 1...2)
    for (worker, count) in [(1, 3), (1, 3), (2, 5), (1, 4), (2, 2)] as [(UInt64, UInt64)] {
        cluster.say(
            worker, .heartbeat(WorkerHeartbeat(progress: 1, busy: false, rewriteMismatches: count)))
    }
    #expect(cluster.machine.status(at: cluster.now).counters.rewriteMismatches == 4 + 5)
}
