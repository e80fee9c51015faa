import DejaVuControl
import DejaVuCore
import DejaVuKV
import Testing

/// "Reserve cells for prompt + `max_tokens`, all or nothing."
@Test func admission_cellsForSomeChoicesOnly_waitsForAll() throws {
    var cluster = try Cluster(cells: 1024)
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    let first = cluster.submit(prompt: 10, outputs: 10, choices: 2)
    let second = cluster.submit(prompt: 10, outputs: 10, choices: 3)
    #expect(cluster.actions.admitted == [first])
    #expect(cluster.machine.status(at: cluster.now).pipelines[0].cellsUsed == 512)
    cluster.hear(.cancel(first))
    cluster.complete()
    cluster.releaseAll()
    #expect(cluster.actions.admitted == [first, second])
    #expect(cluster.machine.status(at: cluster.now).pipelines[0].cellsUsed == 768)
}

@Test func admission_smallRequestBehindALargeOne_doesNotOvertake() throws {
    var cluster = try Cluster(cells: 1024)
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    let running = cluster.submit(prompt: 200, outputs: 100)
    let large = cluster.submit(prompt: 400, outputs: 100, choices: 2)
    let small = cluster.submit(prompt: 4, outputs: 4)
    #expect(cluster.actions.admitted == [running])
    cluster.hear(.cancel(running))
    cluster.complete()
    cluster.releaseAll()
    #expect(cluster.actions.admitted == [running, large])
    cluster.hear(.cancel(large))
    while !cluster.passes.isEmpty { cluster.complete() }
    cluster.releaseAll()
    #expect(cluster.actions.admitted == [running, large, small])
}

/// "`context_length_exceeded` with both numbers."
@Test func admission_moreThanTheContext_isRefusedWithBothNumbers() throws {
    var cluster = try Cluster(context: 100)
    cluster.start(workers: 1...1)
    _ = cluster.submit(prompt: 60, outputs: 41)
    let refusal = try #require(cluster.actions.refusals.first)
    #expect(refusal.error.code == .invalidArgument && refusal.error.subject == "context_length")
    #expect(refusal.error.message.contains("101") && refusal.error.message.contains("100"))
    #expect(refusal.retryAfter == nil)
    _ = cluster.submit(prompt: 60, outputs: 40)
    _ = cluster.submit(prompt: 99, outputs: nil)
    #expect(cluster.actions.refusals.count == 1)
    _ = cluster.submit(prompt: 100, outputs: nil)
    _ = cluster.submit(prompt: 100, outputs: .max)
    #expect(cluster.actions.refusals.count == 3)
}

@Test func admission_moreThanTheWorkersHold_isRefusedWithTheNumbers() throws {
    var cluster = try Cluster(cells: 512, context: 5000)
    let early = cluster.submit(prompt: 600, outputs: 10)
    cluster.start(workers: 1...1)
    #expect(cluster.actions.contains { if case .refused(early, _) = $0 { true } else { false } })
    _ = cluster.submit(prompt: 200, outputs: 10, choices: 3)
    let refusal = try #require(cluster.actions.refusals.last)
    #expect(refusal.error.message.contains("768") && refusal.error.message.contains("512"))
}

/// "Or queue; or refuse with 429 and a reason."
@Test func admission_queueFull_isRefusedWithATimeToComeBack() throws {
    var cluster = try Cluster { $0.queueRequestsMax = 2 }
    _ = cluster.submit()
    _ = cluster.submit()
    _ = cluster.submit()
    let refusal = try #require(cluster.actions.refusals.first)
    #expect(refusal.error.code == .resourceExhausted)
    let wait = try #require(refusal.retryAfter)
    #expect(wait >= .seconds(1) && wait <= .seconds(60))
}

@Test func admission_queueOfTokensFull_isRefused() throws {
    var cluster = try Cluster { $0.queueTokensMax = 512 }
    _ = cluster.submit(prompt: 300, outputs: 100)
    _ = cluster.submit(prompt: 300, outputs: 100)
    #expect(cluster.actions.refusals.map(\.error.code) == [.resourceExhausted])
    #expect(cluster.machine.status(at: cluster.now).queue.tokens == 399)
}

/// "Released memory is used again only when it is quiet."
@Test func cells_releasedByOneStageOnly_areNotGivenToAnother() throws {
    var cluster = try Cluster(stages: 2, cells: 256)
    cluster.start(workers: 1...2)
    cluster.finishProbe()
    let first = cluster.submit()
    let second = cluster.submit()
    cluster.hear(.cancel(first))
    #expect(cluster.releases.isEmpty, "a pass that contains the sequence is in flight")
    cluster.complete()
    #expect(cluster.releases.map(\.worker) == [WorkerID(1), WorkerID(2)])
    let sequence = cluster.releases[0].sequence
    cluster.say(1, .released(sequence, of: PipelineID(0)))
    cluster.say(1, .released(sequence, of: PipelineID(0)))
    #expect(cluster.actions.admitted == [first])
    cluster.say(2, .released(sequence, of: PipelineID(0)))
    #expect(cluster.actions.admitted == [first, second])
}

@Test func tickets_ofEverySequenceAndStage_haveNumbersThatAreNeverUsedAgain() throws {
    var cluster = try Cluster(stages: 2)
    cluster.start(workers: 1...3)
    cluster.finishProbe()
    _ = cluster.submit(prompt: 10, outputs: 5, choices: 2)
    cluster.hear(.workerLost(WorkerID(2), reason: "gone"))
    cluster.settle([1, 3])
    let numbers = cluster.opened.map(\.ticket.number)
    #expect(numbers == numbers.sorted() && Set(numbers).count == numbers.count)
    for (worker, record, cells, ticket) in cluster.opened where record.request != RequestID(.max) {
        #expect(ticket.sequence == record.id && ticket.positionLimit == 14 && cells.count == 256)
        #expect(ticket.writer == Cluster.incarnation(worker.rawValue))
    }
}

@Test func choices_ofOneRequest_haveTheirOwnSeeds() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    _ = cluster.submit(choices: 3)
    let seeds = cluster.opened.filter { $0.record.request != RequestID(.max) }.map(\.record.sampling.seed)
    #expect(seeds.count == 3 && seeds[0] == 0 && Set(seeds).count == 3)
}

@Test func drain_requestsRunning_letsThemEndAndRefusesOthers() throws {
    var cluster = try Cluster(cells: 256)
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    _ = cluster.submit(outputs: 2)
    let queued = cluster.submit()
    cluster.hear(.drain(deadline: cluster.now + .seconds(10)))
    let late = cluster.submit()
    let refused = cluster.actions.compactMap { if case .refused(let id, _) = $0 { id } else { nil } }
    #expect(refused == [queued, late])
    #expect(!cluster.actions.contains(.stopped))
    cluster.complete()
    cluster.complete()
    #expect(cluster.actions.contains(.stopped) && cluster.actions.contains(.send(WorkerID(1), .shutdown)))
    #expect(cluster.actions.finished == [.length])
}

@Test func drain_deadlinePassed_endsWhatRuns() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    _ = cluster.submit()
    cluster.hear(.drain(deadline: cluster.now + .milliseconds(300)))
    cluster.wait(.milliseconds(500), beating: [1])
    #expect(cluster.actions.finished == [.shutdown] && cluster.actions.contains(.stopped))
}
