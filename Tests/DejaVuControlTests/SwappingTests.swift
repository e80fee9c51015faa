import DejaVuControl
import DejaVuCore
import DejaVuKV
import Testing

extension Cluster {
    /// Devices of four runs, and memory below them for sixteen; one run holds a sequence.
    fileprivate static func swapping(stages: Int = 1, _ swapping: Swapping = .on) throws -> Cluster {
        var cluster = try Cluster(
            stages: stages, cells: 16 * 256, deviceCells: 4 * 256, swapping: swapping, context: 1024)
        cluster.start(workers: 1...UInt64(stages))
        cluster.finishProbe()
        cluster.actions = []
        return cluster
    }

    fileprivate var announced: [(worker: WorkerID, pass: PassID, sequences: [SequenceID])] {
        actions.compactMap {
            if case .send(let worker, .announce(_, _, _, let pass, let sequences)) = $0 {
                (worker, pass, sequences)
            } else {
                nil
            }
        }
    }

    fileprivate var swap: SwapStatus? { machine.status(at: now).pipelines[0].swap }

    /// The worker says how long it has taken to bring in how much.
    fileprivate mutating func sayFetched(_ id: UInt64, bytes: Int, in time: TimeSpan) {
        var usage = SwapUsage()
        usage.fetches = 10
        usage.bytesIn = bytes
        usage.fetching = time
        say(id, .heartbeat(WorkerHeartbeat(progress: UInt64(now.nanoseconds), busy: true, swap: usage)))
    }
}

@Test func swapping_placement_saysHowManyCellsAreOnTheDevice() throws {
    let cluster = try Cluster.swapping(stages: 2)
    #expect(cluster.places.values.allSatisfy { $0.cellCount == 16 * 256 && $0.residentCellCount == 4 * 256 })
    #expect(cluster.swap?.isOn == true && cluster.swap?.isNeeded == false)
}

/// "The device holds the current and the next microbatch": a pass has half of it.
@Test func swapping_moreThanTheDeviceHolds_passesAreOfHalfADevice() throws {
    var cluster = try Cluster.swapping()
    for _ in 0..<10 { _ = cluster.submit(prompt: 4, outputs: 60) }
    for _ in 0..<12 { cluster.complete() }
    var turns: [SequenceID: Int] = [:]
    for _ in 0..<40 {
        #expect(cluster.passes.count == 2, "one computes, the rows of the other are brought in")
        #expect(cluster.passes.allSatisfy { $0.entries.count == 2 })
        for entry in cluster.passes[0].entries { turns[entry.sequence, default: 0] += 1 }
        cluster.complete()
    }
    #expect(turns.count == 10 && turns.values.allSatisfy { $0 == 8 }, "everybody has a turn")
}

@Test func swapping_severalStages_theLaterOnesHearWhatComes() throws {
    var cluster = try Cluster.swapping(stages: 3)
    for _ in 0..<12 { _ = cluster.submit(prompt: 4, outputs: 60) }
    for _ in 0..<20 { cluster.complete() }
    cluster.actions = []
    let pass = try #require(cluster.passes.first)
    cluster.complete()
    let next = try #require(cluster.passes.last)
    #expect(pass.id != next.id && cluster.passes.count == 4)
    #expect(cluster.announced.map(\.worker.rawValue) == [cluster.worker(stage: 1), cluster.worker(stage: 2)])
    #expect(cluster.announced.allSatisfy { $0.pass == next.id && $0.sequences == next.entries.map(\.sequence) })
}

@Test func swapping_allFits_nothingIsAnnouncedAndPassesAreWhole() throws {
    var cluster = try Cluster.swapping(stages: 2)
    for _ in 0..<4 { _ = cluster.submit(prompt: 4, outputs: 60) }
    for _ in 0..<8 { cluster.complete() }
    #expect(cluster.passes.map(\.entries.count) == [2, 2])
    #expect(cluster.announced.isEmpty)
}

/// "What can never fit is refused with the numbers."
@Test func swapping_largerThanADevice_isRefusedWithTheNumbers() throws {
    var cluster = try Cluster(cells: 16 * 256, deviceCells: 2 * 256, context: 2048)
    cluster.start(workers: 1...1)
    cluster.finishProbe()
    cluster.actions = []
    _ = cluster.submit(prompt: 500, outputs: 100)
    let message = try #require(cluster.actions.refusals.first?.error.message)
    #expect(message.contains("768") && message.contains("512"), "\(message)")
    _ = cluster.submit(prompt: 400, outputs: 100)
    #expect(cluster.actions.admitted.count == 1)
}

/// "More requests than all tiers hold wait in the queue; none is dropped."
@Test func swapping_moreThanAllHold_waitInTheQueue() throws {
    var cluster = try Cluster.swapping()
    for _ in 0..<20 { _ = cluster.submit(prompt: 4, outputs: 3) }
    #expect(cluster.actions.admitted.count == 16)
    for _ in 0..<200 where !cluster.passes.isEmpty {
        cluster.complete()
        cluster.releaseAll()
    }
    #expect(cluster.actions.finished.count == 20 && cluster.machine.counters.replayRows == 0)
}

@Test func swapping_off_theDevicesAreAllThereIs() throws {
    var cluster = try Cluster.swapping(.off)
    #expect(cluster.swap == nil && cluster.places.values.allSatisfy { $0.cellCount == 4 * 256 })
    for _ in 0..<6 { _ = cluster.submit(prompt: 4, outputs: 60) }
    #expect(cluster.actions.admitted.count == 4)
}

/// Copies that take longer than the steps they would fill: the devices keep the oldest, the others wait below.
@Test func swapping_auto_slowCopies_turnsItOffAndKeepsWhatIsThere() throws {
    var cluster = try Cluster.swapping(stages: 4, .auto)
    for _ in 0..<10 { _ = cluster.submit(prompt: 100, outputs: 100) }
    for _ in 0..<30 { cluster.complete() }
    #expect(cluster.swap?.isOn == true && cluster.swap?.reason == "it has not been needed")
    // Two sequences of 100 positions and 24 bytes take 48 ms, their step 5.
    cluster.sayFetched(1, bytes: 100_000, in: .seconds(1))
    cluster.wait(.milliseconds(200), beating: [])
    let swap = try #require(cluster.swap)
    #expect(!swap.isOn && swap.sequencesWaiting == 6 && swap.reason.contains("not swapping"), "\(swap.reason)")
    // What is in flight ends; then the oldest four have their turns alone.
    for _ in 0..<8 { cluster.complete() }
    var seen: Set<SequenceID> = []
    for _ in 0..<40 {
        for entry in cluster.passes[0].entries { seen.insert(entry.sequence) }
        cluster.complete()
    }
    #expect(seen.count == 4)
    _ = cluster.submit(prompt: 4, outputs: 4)
    #expect(cluster.machine.status(at: cluster.now).queue.requests == 1)
    // When one of them ends the next has its turn, with all that it has.
    cluster.hear(.cancel(RequestID(1)))
    for _ in 0..<6 { cluster.complete() }
    cluster.releaseAll()
    for _ in 0..<12 { cluster.complete() }
    #expect(Set(cluster.passes.flatMap { $0.entries.map(\.sequence) }).subtracting(seen).count == 1)
    #expect(cluster.machine.counters.replayRows == 0)
}

@Test func swapping_auto_fastCopies_staysOn() throws {
    var cluster = try Cluster.swapping(stages: 4, .auto)
    for _ in 0..<10 { _ = cluster.submit(prompt: 100, outputs: 100) }
    for _ in 0..<30 { cluster.complete() }
    cluster.sayFetched(1, bytes: 1_000_000_000, in: .seconds(1))
    cluster.wait(.milliseconds(200), beating: [])
    let swap = try #require(cluster.swap)
    #expect(swap.isOn && swap.reason.contains("swapping gives more") && swap.estimate?.sequencesWith == 2)
}

/// Copies of what there is now would be hidden by the steps, those of what there will be would not.
@Test func swapping_auto_sequencesThatGrow_areJudgedByWhatTheyGet() throws {
    func fetch(outputs: Int) throws -> TimeSpan {
        var cluster = try Cluster.swapping(stages: 4, .auto)
        for _ in 0..<10 { _ = cluster.submit(prompt: 100, outputs: outputs) }
        for _ in 0..<30 { cluster.complete() }
        cluster.sayFetched(1, bytes: 100_000, in: .seconds(1))
        cluster.wait(.milliseconds(200), beating: [])
        return try #require(cluster.swap?.estimate?.fetch)
    }
    // Of ten sequences four fit, two of them in a pass: of the eight that do not compute six have to be brought in.
    let (short, long) = (try fetch(outputs: 20), try fetch(outputs: 150))
    #expect(long.seconds / short.seconds > 1.2 && long < short * 2, "\(short), \(long)")
}

/// One stage has all of its device for itself: turns on it bring nothing.
@Test func swapping_auto_oneStage_turnsItOff() throws {
    var cluster = try Cluster.swapping(.auto)
    for _ in 0..<10 { _ = cluster.submit(prompt: 100, outputs: 100) }
    for _ in 0..<20 {
        let pass = try #require(cluster.passes.first)
        // As workers do: tokens first.
        cluster.complete()
        cluster.say(
            1,
            .passed(
                PassTiming(
                    pass: pass.id, pipeline: pass.pipeline, epoch: pass.epoch, stageIndex: 0,
                    computed: .milliseconds(5), idleBefore: .zero)))
    }
    cluster.sayFetched(1, bytes: 1_000_000_000, in: .seconds(1))
    cluster.wait(.milliseconds(200), beating: [])
    #expect(cluster.swap?.isOn == false)
}

/// Five sequences, of which two fit into a pass: nobody is left out.
@Test func swapping_cellsLimitThePass_everybodyHasATurn() throws {
    var cluster = try Cluster.swapping()
    for _ in 0..<5 { _ = cluster.submit(prompt: 4, outputs: 60) }
    for _ in 0..<10 { cluster.complete() }
    var turns: [SequenceID: Int] = [:]
    for _ in 0..<50 {
        for entry in cluster.passes[0].entries { turns[entry.sequence, default: 0] += 1 }
        cluster.complete()
    }
    #expect(turns.count == 5 && turns.values.allSatisfy { (18...22).contains($0) }, "\(turns)")
}

/// A prompt with more cells than half a device does not fit beside any step.
@Test func swapping_aLargePromptAmongManySteps_runsAloneEveryOtherTime() throws {
    var cluster = try Cluster.swapping()
    for _ in 0..<8 { _ = cluster.submit(prompt: 4, outputs: 200) }
    for _ in 0..<16 { cluster.complete() }
    let large = cluster.submit(prompt: 500, outputs: 200)
    var tokens = 0
    for _ in 0..<40 {
        for case .emit(let request, _, _) in cluster.complete() where request == large { tokens += 1 }
    }
    #expect(tokens >= 2, "it has begun, and goes on")
    #expect(cluster.passes.contains { $0.entries.count == 2 }, "the others' passes are as large as ever")
}

/// Off, and a request whose choices the devices do not hold together: it is let in when nobody else is there.
@Test func swapping_off_severalChoices_areLetInAlone() throws {
    var cluster = try Cluster.swapping(stages: 4, .auto)
    for _ in 0..<10 { _ = cluster.submit(prompt: 100, outputs: 20) }
    for _ in 0..<30 { cluster.complete() }
    cluster.sayFetched(1, bytes: 100_000, in: .seconds(1))
    cluster.wait(.milliseconds(200), beating: [])
    #expect(cluster.swap?.isOn == false)
    let many = cluster.submit(prompt: 100, outputs: 20, choices: 6)
    for _ in 0..<3000 where !cluster.passes.isEmpty {
        cluster.complete()
        cluster.releaseAll()
    }
    #expect(cluster.takeActions().admitted.contains(many))
    #expect(cluster.machine.status(at: cluster.now).queue.requests == 0)
}
