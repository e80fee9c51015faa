import DejaVuControl
import DejaVuCore
import Testing

/// "The controller … meanwhile runs the other microbatches. Microbatches = stages, regrouped between steps."
@Test func microbatches_threeStagesAndNineSequences_areThreeEqualOnesInFlight() throws {
    var cluster = try Cluster(stages: 3)
    cluster.start(workers: 1...3)
    cluster.finishProbe()
    for _ in 0..<9 { _ = cluster.submit(prompt: 4, outputs: 50) }
    for _ in 0..<12 { cluster.complete() }
    for _ in 0..<20 {
        #expect(cluster.passes.count == 3)
        #expect(cluster.passes.map(\.entries.count) == [3, 3, 3])
        #expect(Set(cluster.passes.flatMap { $0.entries.map(\.sequence) }).count == 9)
        cluster.complete()
    }
}

/// With one stage all sequences make their step together: weights are read once for all of them.
@Test func microbatches_oneStage_isOnePassWithAllSequences() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    for _ in 0..<8 { _ = cluster.submit(prompt: 4, outputs: 50) }
    for _ in 0..<3 { cluster.complete() }
    #expect(cluster.passes.map(\.entries.count) == [8])
}

/// "Prompt chunks interleaved under a token budget": steps never wait behind more than one chunk.
@Test func budget_promptBesideSteps_mixesStepsWithOneChunk() throws {
    var cluster = try Cluster {
        $0.passRowsMax = 100; $0.chunkRowsMax = 30; $0.microbatchSequencesMax = 50
    }
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    for _ in 0..<4 { _ = cluster.submit(prompt: 4, outputs: 50) }
    cluster.complete()
    cluster.complete()
    _ = cluster.submit(prompt: 70, outputs: 5)
    cluster.complete()
    var chunks: [Int] = []
    for _ in 0..<4 {
        let pass = try #require(cluster.passes.first)
        #expect(pass.entries.filter { $0.tokens.count == 1 && $0.samples }.count >= 4, "every step is in every pass")
        chunks.append(pass.entries.map(\.tokens.count).max() ?? 0)
        cluster.complete()
    }
    #expect(chunks == [30, 30, 10, 1])
}

@Test func budget_promptsAlone_fillWholePasses() throws {
    var cluster = try Cluster {
        $0.passRowsMax = 100; $0.chunkRowsMax = 30; $0.microbatchSequencesMax = 50
    }
    cluster.start(workers: 1...1)
    _ = cluster.submit(prompt: 150, outputs: 5)
    cluster.finishProbe()
    #expect(cluster.passes.first?.rowCount == 100)
}

@Test func prompts_several_theOldestGoesFirst() throws {
    var cluster = try Cluster(cells: 8192) {
        $0.passRowsMax = 20; $0.chunkRowsMax = 20; $0.microbatchSequencesMax = 8
    }
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    let first = cluster.submit(prompt: 30, outputs: 1)
    _ = cluster.submit(prompt: 25, outputs: 1)
    _ = cluster.submit(prompt: 5, outputs: 1)
    let order = Set(cluster.opened.map(\.record.id)).sorted()
    var served: [[Int]] = []
    while let pass = cluster.passes.first {
        served.append(pass.entries.map { order.firstIndex(of: $0.sequence) ?? -1 })
        cluster.complete()
    }
    #expect(served == [[1], [1, 2], [2, 3]])
    #expect(first == RequestID(1))
}

/// The chunks of one prompt follow each other through the stages, in order.
@Test func prompt_twoStages_sendsTheNextChunkWhileTheFirstIsInTheSecondStage() throws {
    var cluster = try Cluster(stages: 2) {
        $0.passRowsMax = 10; $0.chunkRowsMax = 10; $0.microbatchSequencesMax = 4
    }
    cluster.start(workers: 1...2)
    cluster.finishProbe()
    _ = cluster.submit(prompt: 35, outputs: 2)
    #expect(cluster.passes.map { $0.entries[0].first } == [0, 10])
    cluster.complete()
    #expect(cluster.passes.map { $0.entries[0].first } == [10, 20])
    cluster.complete()
    #expect(cluster.passes.map { $0.entries[0].first } == [20, 30])
    cluster.complete()
    #expect(cluster.passes.map { $0.entries[0].samples } == [true], "no step before the prompt's last row is sampled")
}

/// "Cancellation within one step": no further pass contains the sequence.
@Test func cancel_sequenceInFlight_isInNoFurtherPass() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    let first = cluster.submit(outputs: 50)
    cluster.complete()
    _ = cluster.submit(outputs: 50)
    cluster.complete()
    cluster.complete()
    let both = try #require(cluster.passes.first)
    #expect(both.entries.count == 2)
    cluster.hear(.cancel(first))
    #expect(cluster.actions.finished == [.cancelled])
    cluster.complete()
    #expect(cluster.passes.map(\.entries.count) == [1])
    #expect(cluster.passes[0].entries[0].sequence == both.entries[1].sequence)
    #expect(cluster.releases.map(\.sequence) == [both.entries[0].sequence])
}

/// More sequences than a microbatch takes: those that have waited longest come next.
@Test func microbatch_moreSequencesThanItTakes_servesAllInTurn() throws {
    var cluster = try Cluster(cells: 8192) { $0.microbatchSequencesMax = 4 }
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    for _ in 0..<10 { _ = cluster.submit(prompt: 2, outputs: 400) }
    for _ in 0..<4 { cluster.complete() }
    var served: [SequenceID: Int] = [:]
    for _ in 0..<50 {
        for entry in cluster.passes[0].entries { served[entry.sequence, default: 0] += 1 }
        #expect(cluster.passes[0].entries.count <= 4)
        cluster.complete()
    }
    let counts = served.values.sorted()
    #expect(counts.count == 10 && (counts.last ?? 0) - (counts.first ?? 0) <= 1)
}

@Test func pipelines_two_shareTheLoad() throws {
    var cluster = try Cluster(pipelines: 2)
    cluster.start(workers: 1...2)
    cluster.finishProbe()
    for _ in 0..<6 { _ = cluster.submit(outputs: 30) }
    #expect(cluster.machine.status(at: cluster.now).pipelines.map(\.sequencesRunning) == [3, 3])
}

/// In a pipeline of several stages a prompt is spread over the passes in flight: no stage waits for one that has all.
@Test func budget_severalStages_promptIsSpreadOverThePassesInFlight() throws {
    var cluster = try Cluster(stages: 2)
    cluster.start(workers: 1...2)
    cluster.finishProbe()
    _ = cluster.submit(prompt: 200, outputs: 5)
    #expect(cluster.passes.map(\.rowCount) == [100, 100])
    _ = cluster.submit(prompt: 40, outputs: 5)
    cluster.complete()
    // What is left is no more than the least that is worth a pass.
    #expect(cluster.passes.map(\.rowCount) == [100, 40])
}

@Test func budget_oneStage_promptsStayWhole() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    _ = cluster.submit(prompt: 200, outputs: 5)
    #expect(cluster.passes.map(\.rowCount) == [200])
}
