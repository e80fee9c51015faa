import DejaVuControl
import DejaVuCore
import Testing

/// "A worker of another class is refused"; "a model mismatch names both sides".
@Test func join_anotherModelLayersOrClass_isRefusedWithBothSides() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    let hellos = [
        cluster.hello(2) { $0 = $0.with(model: ModelID(digest: "ffeeddccbbaa99887766")) },
        cluster.hello(3) { $0 = $0.with(layerCount: 30) },
        cluster.hello(4) { $0 = $0.with(numericClass: NumericClass(hash: 0xABC)) },
    ]
    let sides = [["0011223344556677", "ffeeddccbbaa9988"], ["12", "30"], ["5", "abc"]]
    for (index, hello) in hellos.enumerated() {
        let id = WorkerID(UInt64(index) + 2)
        let answer = cluster.hear(.workerJoined(id, hello))
        #expect(answer.dismissed == [id])
        let errors = answer.compactMap { if case .send(id, .refused(let error)) = $0 { error } else { nil } }
        let error = try #require(errors.first)
        #expect(error.code == .mismatch)
        for side in sides[index] { #expect(error.message.contains(side)) }
    }
    #expect(cluster.machine.status(at: cluster.now).workers.count == 1)
}

/// "An old controller that is refused exits."
@Test func join_workerOfALaterTerm_deposesTheController() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    _ = cluster.submit()
    let answer = cluster.hear(
        .workerJoined(WorkerID(2), cluster.hello(2) { $0 = $0.with(term: Term(number: 4, nonce: 0)) }))
    #expect(answer.finished == [.shutdown])
    guard case .deposed(let reason)? = answer.last else {
        Issue.record("the controller reigns on: \(answer)")
        return
    }
    #expect(reason.contains("t4") && reason.contains("t3"))
    #expect(!answer.contains { if case .send(_, .shutdown) = $0 { true } else { false } }, "workers are not its own")
}

/// "A silent worker is dead after 500 ms."
@Test func silence_halfASecond_isDeath() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...2)
    cluster.wait(.milliseconds(400), beating: [2])
    #expect(cluster.actions.dismissed.isEmpty)
    cluster.wait(.milliseconds(300), beating: [2])
    #expect(cluster.actions.dismissed == [WorkerID(1)])
    #expect(cluster.worker(stage: 0) == 2, "the standby has the stage")
}

/// "If the controller's own tick was late, all deadlines move by that much."
@Test func silence_controllerItselfLate_isForgiven() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    cluster.wait(.milliseconds(300), beating: [1])
    cluster.hear(.timer(TimerID(1)), after: .seconds(5))
    #expect(cluster.actions.dismissed.isEmpty)
    cluster.wait(.milliseconds(700), beating: [])
    #expect(cluster.actions.dismissed == [WorkerID(1)])
}

/// "Beating without progress for max(2 s, 10 x recent p99) is a hang; slow but progressing is not."
@Test func hang_beatingWithoutProgress_isDeath() throws {
    for progress in [true, false] {
        var cluster = try Cluster()
        cluster.start(workers: 1...1)
        cluster.finishProbe()
        _ = cluster.submit()
        cluster.wait(.milliseconds(1800), beating: [1], progress: progress)
        #expect(cluster.actions.dismissed.isEmpty)
        cluster.wait(.milliseconds(500), beating: [1], progress: progress)
        #expect(cluster.actions.dismissed == (progress ? [] : [WorkerID(1)]))
    }
}

@Test func hang_idleWorkerWithoutProgress_isNone() throws {
    var cluster = try Cluster()
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    cluster.wait(.seconds(8), beating: [1], progress: false)
    #expect(cluster.actions.dismissed.isEmpty)
}

@Test func pass_failed_costsItsWorkerTheStage() throws {
    var cluster = try Cluster(stages: 2)
    cluster.start(workers: 1...3)
    cluster.finishProbe()
    _ = cluster.submit(outputs: 2)
    let pass = cluster.passes.removeFirst()
    cluster.say(2, .passFailed(pass.id, pass.pipeline, pass.epoch, DejaVuError(.internalError, "not finite")))
    #expect(cluster.actions.dismissed == [WorkerID(2)])
    cluster.settle([1, 3])
    cluster.complete()
    cluster.complete()
    #expect(cluster.actions.emitted == [4, 5] && cluster.actions.finished == [.length])
}

/// "With one it runs alone in its pass; with three it ends with an error that names the cause, and the workers live
/// on."
@Test func poison_threeDeaths_endsItAloneAndNobodyElse() throws {
    var cluster = try Cluster(cells: 8192)
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    let poison = cluster.submit(prompt: 4, outputs: 30)
    let other = cluster.submit(prompt: 4, outputs: 3)
    cluster.complete()
    let suspect = try #require(cluster.opened.first { $0.record.request == poison }).record.id
    var worker: UInt64 = 1
    var deaths = 0
    for _ in 0..<40 {
        guard let pass = cluster.passes.first else { break }
        if pass.entries.contains(where: { $0.sequence == suspect && $0.end > 4 }) {
            if deaths > 0 { #expect(pass.entries.count == 1, "with a strike it runs alone") }
            deaths += 1
            cluster.passes = []
            cluster.hear(.workerLost(WorkerID(worker), reason: "killed"))
            worker += 1
            cluster.hear(.workerJoined(WorkerID(worker), cluster.hello(worker)))
            cluster.settle([worker])
        } else {
            cluster.complete()
        }
        cluster.releaseAll()
    }
    #expect(deaths == 3)
    let ends = cluster.actions.compactMap { action -> String? in
        if case .finished(let id, _, let reason) = action { "\(id) \(reason.rawValue)" } else { nil }
    }
    #expect(Set(ends) == ["\(poison) poisoned", "\(other) length"])
    #expect(cluster.machine.status(at: cluster.now).workers.count == 1)
}

/// Its neighbour may miss a worker before its death is heard of.
@Test func poison_linkBreaksBeforeTheDeathIsHeard_countsAllTheSame() throws {
    var cluster = try Cluster(stages: 2) { $0.linkFailuresMax = 100 }
    cluster.start(workers: 1...2)
    cluster.finishProbe()
    let poison = cluster.submit(prompt: 4, outputs: 30)
    for worker in 2...4 as ClosedRange<UInt64> {
        let pass = try #require(cluster.passes.first)
        cluster.passes = []
        cluster.say(
            1,
            .passed(
                PassTiming(
                    pass: pass.id, pipeline: pass.pipeline, epoch: pass.epoch, stageIndex: 0,
                    computed: .milliseconds(5), idleBefore: .zero)))
        cluster.say(1, .peerLost(WorkerID(worker)))
        cluster.hear(.workerLost(WorkerID(worker), reason: "killed"))
        cluster.hear(.workerJoined(WorkerID(worker + 1), cluster.hello(worker + 1)))
        cluster.settle([1, worker + 1])
    }
    let ends = cluster.actions.compactMap { action -> String? in
        if case .finished(let id, _, let reason) = action { "\(id) \(reason.rawValue)" } else { nil }
    }
    #expect(ends == ["\(poison) poisoned"])
}

/// "Library link events: a link lost between two living workers is retried."
@Test func peerLink_brokenBetweenLivingWorkers_beginsANewEpochWithTheSameWorkers() throws {
    var cluster = try Cluster(stages: 2)
    cluster.start(workers: 1...2)
    cluster.finishProbe()
    _ = cluster.submit(outputs: 1)
    let former = cluster.passes.removeFirst()
    cluster.say(1, .peerLost(WorkerID(2)))
    #expect(cluster.actions.dismissed.isEmpty)
    cluster.settle([1, 2])
    #expect(cluster.passes.first?.epoch == former.epoch.next)
    #expect(cluster.opened.filter { $0.record.request != RequestID(.max) }.count == 2, "both kept their KV")
    cluster.complete()
    #expect(cluster.actions.emitted == [4])
    for _ in 0..<3 {
        cluster.say(1, .peerLost(WorkerID(2)))
        cluster.settle([1, 2])
    }
    #expect(
        cluster.actions.dismissed == [WorkerID(2)], "a link that breaks again and again costs the receiver its stage")
}

/// "When memory shrinks: … *park* the youngest: record kept, KV dropped, back later with w = 0."
@Test func memory_smallerTaker_parksSequencesAndTakesThemBack() throws {
    var cluster = try Cluster(cells: 1024)
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    for _ in 0..<4 { _ = cluster.submit(prompt: 4, outputs: 4) }
    cluster.complete()
    cluster.complete()
    let half = cluster.hello(2) { $0 = $0.with(kvBytesMax: $0.kvBytesMax / 2) }
    cluster.passes = []
    cluster.hear(.workerLost(WorkerID(1), reason: "gone"))
    cluster.hear(.workerJoined(WorkerID(2), half))
    cluster.settle([2])
    let status = cluster.machine.status(at: cluster.now)
    #expect(status.sequencesRunning == 2 && status.sequencesParked == 2)
    while !cluster.passes.isEmpty {
        cluster.complete()
        cluster.releaseAll()
    }
    #expect(cluster.actions.finished == [.length, .length, .length, .length])
    #expect(cluster.actions.emitted.sorted() == [4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7])
}

@Test func pipeline_brokenBesideAnother_givesItsSequencesToIt() throws {
    var cluster = try Cluster(pipelines: 2)
    cluster.start(workers: 1...2)
    cluster.finishProbe()
    for _ in 0..<4 { _ = cluster.submit(outputs: 2) }
    cluster.passes.removeAll { $0.pipeline == PipelineID(0) }
    cluster.hear(.workerLost(WorkerID(1), reason: "gone"))
    #expect(cluster.machine.status(at: cluster.now).pipelines.map(\.sequencesRunning) == [0, 4])
    while !cluster.passes.isEmpty { cluster.complete() }
    #expect(cluster.actions.finished.count == 4)
}

@Test func load_failed_restsAndIsTriedAgain() throws {
    var cluster = try Cluster {
        $0.restMin = .seconds(1); $0.restMax = .seconds(4)
    }
    cluster.hear(.workerJoined(WorkerID(1), cluster.hello(1)))
    let place = try #require(cluster.places[WorkerID(1)])
    cluster.say(
        1,
        .assignFailed(
            place.pipeline, place.epoch, stageIndex: place.stageIndex,
            DejaVuError(.invalidFile, "the file is cut short")))
    let worker = cluster.machine.status(at: cluster.now).workers[0]
    #expect(worker.state == .resting && worker.error == "the file is cut short")
    #expect(cluster.actions.dismissed.isEmpty)
    cluster.places = [:]
    cluster.wait(.milliseconds(800), beating: [1])
    #expect(cluster.places.isEmpty)
    cluster.wait(.milliseconds(400), beating: [1])
    #expect(cluster.places[WorkerID(1)]?.epoch == place.epoch.next)
}

extension WorkerHello {
    func with(
        term: Term? = nil, model: ModelID? = nil, layerCount: Int? = nil, kvBytesMax: Int? = nil,
        replicaBytesMax: Int? = nil, numericClass: NumericClass? = nil, name: String? = nil
    ) -> WorkerHello {
        WorkerHello(
            incarnation: incarnation, term: term ?? self.term, model: model ?? self.model, peerAddress: peerAddress,
            bulkAddress: bulkAddress,
            layerCount: layerCount ?? self.layerCount, kvBytesPerPositionAndLayer: kvBytesPerPositionAndLayer,
            kvBytesMax: kvBytesMax ?? self.kvBytesMax, replicaBytesMax: replicaBytesMax ?? self.replicaBytesMax,
            numericClass: numericClass ?? self.numericClass, processID: processID, name: name ?? self.name)
    }
}
