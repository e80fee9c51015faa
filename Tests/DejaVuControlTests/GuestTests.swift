import DejaVuControl
import DejaVuCore
import DejaVuKV
import Testing

extension Cluster {
    /// One prompt stage (worker 2) and one token stage (worker 1), which have done their probes. Prompts of more than
    /// 16 tokens are disaggregated.
    static func disaggregated(cells: Int = 4096, _ change: (inout ControllerLimits) -> Void = { _ in }) throws
        -> Cluster
    {
        var cluster = try Cluster(promptStages: 1, cells: cells, change)
        cluster.start(workers: 1...2)
        cluster.finishProbe()
        cluster.actions = []
        return cluster
    }

    /// Token stages say that they let the prompt stages in.
    mutating func answerShares() {
        let due = shares
        shares = []
        for (worker, ticket) in due {
            say(worker.rawValue, .shared(ticket.sequence, ticket: ticket.number, watermark: 0))
        }
    }

    mutating func land(_ sequence: SequenceID, _ watermark: Int) {
        say(1, .landed(PipelineID(0), stageIndex: 0, [SequenceMark(sequence: sequence, watermark: watermark)]))
    }
}

@Test func guest_longPrompt_runsInThePromptPipelineAndJoinsWhenItsRowsAreThere() throws {
    var cluster = try Cluster.disaggregated()
    _ = cluster.submit(prompt: 40)
    let pass = try #require(cluster.passes.first)
    #expect(pass.pipeline == PipelineID(1) && pass.rowCount == 40)
    let sequence = pass.entries[0].sequence
    // The token stage lets the prompt stage in before that is told to send.
    #expect(cluster.shares.map(\.worker) == [WorkerID(1)] && cluster.replicating.isEmpty)
    #expect(cluster.shares[0].ticket.writer == Cluster.incarnation(2) && cluster.shares[0].ticket.positionLimit == 40)
    cluster.answerShares()
    let told = try #require(cluster.replicating.last)
    #expect(told.worker == WorkerID(2) && told.to.peer.worker == WorkerID(1) && told.to.pipeline == PipelineID(0))
    #expect(cluster.complete().emitted == [40], "the prompt pipeline samples the first token")
    #expect(cluster.passes.isEmpty, "its rows are on their way")
    cluster.land(sequence, 39)
    #expect(cluster.passes.isEmpty)
    cluster.land(sequence, 40)
    let step = try #require(cluster.passes.first)
    #expect(step.pipeline == PipelineID(0) && step.entries.map(\.first) == [40])
    // Nobody has a copy, so nobody is waited for.
    #expect(cluster.releases.map(\.pipeline) == [PipelineID(1)])
    cluster.releaseAll()
    #expect(cluster.machine.status(at: cluster.now).pipelines[1].cellsUsed == 0)
    #expect(cluster.complete().emitted == [41])
}

@Test func guest_shortPrompt_runsWhereItsTokensAreMade() throws {
    var cluster = try Cluster.disaggregated()
    _ = cluster.submit(prompt: 16)
    #expect(cluster.passes.map(\.pipeline) == [PipelineID(0)] && cluster.shares.isEmpty)
}

/// A full landing zone makes prompts wait, never tokens.
@Test func guest_tokenCellsAreFull_promptsWaitAndStepsGoOn() throws {
    var cluster = try Cluster.disaggregated(cells: 256)
    _ = cluster.submit(prompt: 4, outputs: 100)
    #expect(cluster.complete().emitted == [4])
    let long = cluster.submit(prompt: 100, outputs: 100)
    #expect(cluster.machine.status(at: cluster.now).queue.requests == 1)
    for position in 5..<50 { #expect(cluster.complete().emitted == [position]) }
    cluster.hear(.cancel(RequestID(1)))
    while !cluster.passes.isEmpty { cluster.complete() }
    cluster.releaseAll()
    #expect(cluster.takeActions().admitted.contains(long))
    #expect(cluster.passes.map(\.pipeline) == [PipelineID(1)])
}

@Test func guest_tokenCellsForTwo_theThirdPromptWaitsInTheQueue() throws {
    var cluster = try Cluster.disaggregated(cells: 512)
    for _ in 0..<3 { _ = cluster.submit(prompt: 100, outputs: 20) }
    let status = cluster.machine.status(at: cluster.now)
    #expect(status.prompts?.running == 2 && status.queue.requests == 1, "the token stage has cells for two")
}

@Test func guest_clientLeaves_everythingComesBackOnBothSides() throws {
    var cluster = try Cluster.disaggregated { $0.promptRowsMax = 10 }
    let request = cluster.submit(prompt: 40)
    cluster.answerShares()
    cluster.complete()
    cluster.hear(.cancel(request))
    while !cluster.passes.isEmpty { cluster.complete() }
    #expect(cluster.releases.map(\.pipeline).sorted() == [PipelineID(0), PipelineID(1)])
    cluster.releaseAll()
    #expect(cluster.machine.isAtRest)
    #expect(cluster.machine.status(at: cluster.now).pipelines.allSatisfy { $0.cellsUsed == 0 })
}

@Test func guest_promptWorkerDiesWithoutAnother_tokenPipelineRunsThePrompt() throws {
    var cluster = try Cluster.disaggregated { $0.promptRowsMax = 10 }
    _ = cluster.submit(prompt: 40)
    cluster.answerShares()
    let sequence = try #require(cluster.passes.first?.entries.first?.sequence)
    cluster.complete()
    cluster.land(sequence, 10)
    cluster.passes = []
    cluster.hear(.workerLost(WorkerID(2), reason: "gone"))
    let pass = try #require(cluster.passes.first)
    #expect(pass.pipeline == PipelineID(0) && pass.entries.map(\.first) == [10], "what has arrived is not run again")
    #expect(!cluster.machine.status(at: cluster.now).warnings.isEmpty)
    #expect(cluster.complete().emitted == [40])
}

@Test func guest_tokenWorkerDies_promptWorkerTakesItsStage() throws {
    var cluster = try Cluster.disaggregated()
    _ = cluster.submit(prompt: 40)
    cluster.answerShares()
    cluster.hear(.workerLost(WorkerID(1), reason: "gone"))
    let place = try #require(cluster.places[WorkerID(2)])
    #expect(place.pipeline == PipelineID(0), "tokens can do without a prompt pipeline, not the other way round")
    cluster.passes = []
    cluster.settle([2])
    cluster.releaseAll()
    #expect(cluster.passes.first?.pipeline == PipelineID(0))
}

/// "`/metrics` and `/ready` say so when the link between prompt and token workers stalls", and tokens go on.
@Test func guest_rowsDoNotArrive_isReportedAndStepsGoOn() throws {
    var cluster = try Cluster.disaggregated()
    _ = cluster.submit(prompt: 40, outputs: 100)
    cluster.answerShares()
    cluster.complete()
    _ = cluster.submit(prompt: 4, outputs: 100)
    #expect(cluster.complete().emitted == [4])
    cluster.wait(.seconds(3), beating: [1, 2])
    let status = cluster.machine.status(at: cluster.now)
    #expect(status.prompts?.stalled == 1 && status.warnings.count == 1 && status.prompts?.positionsBehind == 40)
    #expect(cluster.complete().emitted == [5])
}
