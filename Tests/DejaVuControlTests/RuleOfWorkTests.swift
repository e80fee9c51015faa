import DejaVuControl
import DejaVuCore
import Testing

/// "The sequence's next work is always: run `w..<k`, under the token budget, sample after k-1 only."
@Test func ruleOfWork_promptLongerThanTheBudget_runsInChunksAndSamplesAfterTheLastOnly() throws {
    var cluster = try Cluster {
        $0.passRowsMax = 10; $0.chunkRowsMax = 10; $0.microbatchSequencesMax = 10
    }
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    _ = cluster.submit(prompt: 24, outputs: 3)
    var ranges: [Range<Int>] = []
    var samples: [Bool] = []
    while let pass = cluster.passes.first {
        ranges.append(pass.entries[0].first..<pass.entries[0].end)
        samples.append(pass.entries[0].samples)
        cluster.complete()
    }
    #expect(ranges == [0..<10, 10..<20, 20..<24, 24..<25, 25..<26])
    #expect(samples == [false, false, true, true, true])
    #expect(cluster.actions.emitted == [24, 25, 26] && cluster.actions.finished == [.length])
}

/// "A sampled token is accepted iff its position is k; any other is a duplicate and dropped."
@Test func ruleOfWork_sampledTwice_emitsOnce() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    _ = cluster.submit()
    let pass = try #require(cluster.passes.first)
    cluster.complete()
    let again = cluster.say(1, .sampled(pass.id, pass.pipeline, pass.epoch, cluster.tokens(for: pass, 9)))
    #expect(again.isEmpty)
    #expect(cluster.actions.emitted == [4])
}

/// "No replica at all means w = 0: slower, never wrong."
@Test func ruleOfWork_stageLost_runsAllKnownTokensAgainAndGoesOn() throws {
    var cluster = try Cluster(stages: 2)
    cluster.start(workers: 1...3)
    cluster.finishProbe()
    _ = cluster.submit(prompt: 5, outputs: 6)
    for _ in 0..<3 { cluster.complete() }
    #expect(cluster.takeActions().emitted == [5, 6, 7])
    let former = try #require(cluster.passes.first)
    cluster.passes = []
    cluster.hear(.workerLost(WorkerID(2), reason: "gone"))
    cluster.settle([1, 3])
    let replay = try #require(cluster.passes.first)
    #expect(replay.epoch > former.epoch)
    #expect(replay.entries[0].first == 0 && replay.entries[0].end == 8 && replay.entries[0].samples)
    let reopened = try #require(cluster.opened.last)
    #expect(reopened.worker == WorkerID(3) && reopened.record.outputs == [7, 7, 7], "only who lost it opens it again")
    cluster.complete()
    #expect(cluster.actions.emitted == [8])
    while !cluster.passes.isEmpty { cluster.complete() }
    #expect(cluster.actions.emitted == [8, 9, 10] && cluster.actions.finished == [.length])
}

/// "Epoch: it fences passes, results and routing, never committed KV."
@Test func epoch_resultOfThePast_isIgnoredAndCounted() throws {
    var cluster = try Cluster(stages: 2)
    cluster.start(workers: 1...3)
    cluster.finishProbe()
    _ = cluster.submit()
    let former = cluster.passes.removeFirst()
    cluster.hear(.workerLost(WorkerID(1), reason: "gone"))
    cluster.settle([2, 3])
    let stale = cluster.machine.counters.messagesStale
    let answer = cluster.say(2, .sampled(former.id, former.pipeline, former.epoch, cluster.tokens(for: former, 7)))
    #expect(answer.isEmpty && cluster.actions.emitted.isEmpty)
    #expect(cluster.machine.counters.messagesStale == stale + 1)
}

@Test func epoch_readinessOfThePast_doesNotStartThePipeline() throws {
    var cluster = try Cluster(stages: 2)
    for id in UInt64(1)...3 { cluster.hear(.workerJoined(WorkerID(id), cluster.hello(id))) }
    let former = try #require(cluster.places[WorkerID(1)])
    cluster.say(2, .assigned(former.pipeline, former.epoch, stageIndex: 1, []))
    cluster.hear(.workerLost(WorkerID(2), reason: "gone"))
    cluster.settle([3])
    cluster.say(1, .assigned(former.pipeline, former.epoch, stageIndex: 0, []))
    #expect(cluster.machine.status(at: cluster.now).pipelines[0].state == .loading)
    cluster.settle([1])
    #expect(cluster.machine.status(at: cluster.now).pipelines[0].state == .serving)
}

/// "Term: a worker obeys only the greatest it has seen"; "Incarnation: random id of a worker process". What comes under
/// another one is not of this worker or not for this controller.
@Test func fencing_otherTermOrIncarnation_isIgnoredAndCounted() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    _ = cluster.submit()
    let pass = try #require(cluster.passes.first)
    let message = WorkerMessage.sampled(pass.id, pass.pipeline, pass.epoch, cluster.tokens(for: pass, 7))
    let stale = cluster.machine.counters.messagesStale
    cluster.hear(.message(WorkerID(1), Incarnation(77), Cluster.term, message))
    cluster.hear(.message(WorkerID(1), Cluster.incarnation(1), Term(number: 2, nonce: 0), message))
    cluster.hear(.message(WorkerID(9), Cluster.incarnation(1), Cluster.term, message))
    #expect(cluster.actions.emitted.isEmpty && cluster.machine.counters.messagesStale == stale + 3)
    cluster.complete()
    #expect(cluster.actions.emitted == [4])
}

/// "Non-finite logits, a token out of range … count too."
@Test(arguments: [TokenID(-1), 1000])
func worker_tokenOutOfRange_isDismissed(token: TokenID) throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    _ = cluster.submit()
    cluster.complete(token: token)
    #expect(cluster.actions.dismissed == [WorkerID(1)] && cluster.actions.emitted.isEmpty)
}

@Test func finish_eachPath_hasItsReason() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    _ = cluster.submit(stop: [3, 7])
    cluster.complete()
    #expect(cluster.takeActions().finished == [.stop])
    let second = cluster.submit()
    cluster.complete()
    cluster.hear(.finish(second, choice: 0))
    #expect(cluster.takeActions().finished == [.stop])
    let third = cluster.submit()
    cluster.hear(.cancel(third))
    cluster.hear(.cancel(third))
    #expect(cluster.takeActions().finished == [.cancelled])
    cluster.complete()
    #expect(cluster.takeActions().emitted.isEmpty, "nothing is emitted after the end")
    _ = cluster.submit(outputs: 1)
    cluster.complete()
    #expect(cluster.takeActions().finished == [.length])
    _ = cluster.submit(outputs: 100, deadline: .milliseconds(250))
    cluster.complete()
    cluster.wait(.milliseconds(400), beating: [1])
    #expect(cluster.takeActions().finished == [.deadline])
}
