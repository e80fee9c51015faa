import DejaVuCore
import DejaVuSimulation
import Testing

private func input(machines: Int, prompt: Double, step: Double, generated: Double) -> PaperPlan.Input {
    .init(
        machineCount: machines, layerCount: 64, memoryBytes: 160e9, weightBytesPerLayer: 2e9,
        promptKVBytesPerLayer: 295e6, generatedKVBytesPerLayer: 15e6, promptTime: prompt, stepTime: step,
        generatedCount: generated)
}

// The ideal split and its speed-up, equation by equation.
@Test(arguments: [
    (4, 28.0, 50.0, 1.44, 1.260), (4, 28, 100, 0.88, 1.158), (4, 28, 200, 0.49, 1.089), (8, 106, 100, 4.12, 1.446),
])
func paperPlan_ratioAndLength_giveThePapersSplit(
    machines: Int, ratio: Double, generated: Double, ideal: Double, speedUp: Double
) throws {
    let plan = try PaperPlan(input(machines: machines, prompt: ratio, step: 1, generated: generated))
    #expect(abs(plan.idealPromptStages - ideal) < 0.0051)
    #expect(abs(plan.idealPromptStages + plan.idealTokenStages - Double(machines)) < 1e-9)
    #expect(abs(plan.idealSpeedUp - speedUp) < 0.0005)
    let isSplit = if case .disaggregate = plan.decision { true } else { false }
    #expect(isSplit == (ideal >= 1))
}

// The authors' example: OPT-66B on eight machines of 2 x 80 GB, prompts of 1000, 50 tokens, batch 8, fp16.
@Test(arguments: [(1.0, 2, 6), (1.1, 3, 5)])
func paperPlan_authorsExample_givesTheirMachines(slowdown: Double, promptStages: Int, tokenStages: Int) throws {
    let example = PaperPlan.Input(
        machineCount: 8, layerCount: 64, memoryBytes: 160e9, weightBytesPerLayer: 1_019_215_872 * 2,
        promptKVBytesPerLayer: 8 * 1000 * 4 * 9216, generatedKVBytesPerLayer: 8 * 50 * 4 * 9216, promptTime: 1680,
        stepTime: 60, generatedCount: 50, promptSlowdown: slowdown)
    let plan = try PaperPlan(example)
    #expect(plan.decision == .disaggregate(promptStages: promptStages, tokenStages: tokenStages))
    #expect(plan.promptStagesMin == 1 && plan.tokenStagesMin == 1)
    // What the rounding costs: of the two, only 3 + 5 beats one pipeline of all.
    let whole = try #require(plan.wholeMachineTime)
    #expect((whole < plan.colocatedTime) == (promptStages == 3))
}

@Test func paperPlan_memoryTooSmall_asksForMoreMachinesOrStays() throws {
    var small = input(machines: 8, prompt: 28, step: 1, generated: 50)
    // Room for 17 layers of weights and prompt KV, and for ten of weights beside the KV of all token stages.
    small.memoryBytes = 40e9
    let plan = try PaperPlan(small)
    #expect(plan.promptStagesMin == 4)
    #expect(plan.tokenStagesMin == 7)
    guard case .stayColocated = plan.decision else {
        Issue.record("\(plan.decision)")
        return
    }
    small.memoryBytes = 1e9
    #expect(try PaperPlan(small).promptStagesMin == nil)
    // The ideal of 2.87 is rounded to 2, which memory makes 3.
    small.memoryBytes = 70e9
    #expect(try PaperPlan(small).decision == .disaggregate(promptStages: 3, tokenStages: 5))
}

@Test func paperPlan_breakEven_isWhereBothTakeTheSame() throws {
    var slowed = input(machines: 4, prompt: 0, step: 1, generated: 100)
    slowed.promptSlowdown = 1.3
    slowed.promptTime = 1
    let ratio = try #require(try PaperPlan(slowed).breakEvenRatio)
    #expect(abs(ratio - 3 / (4 * 0.7 - 1)) < 1e-12)
    slowed.promptTime = ratio
    let plan = try PaperPlan(slowed)
    #expect(abs(plan.colocatedTime - plan.disaggregatedTime) < 1e-9)
    slowed.promptSlowdown = 1.8
    #expect(try PaperPlan(slowed).breakEvenRatio == nil)
}

@Test func paperPlan_answersOfNoLength_speedUpIsTheBound() throws {
    let plan = try PaperPlan(input(machines: 8, prompt: 1e6, step: 1, generated: 0))
    #expect(abs(plan.idealSpeedUp - 15.0 / 8) < 1e-5)
}

@Test func paperPlan_swapping_paysUntilCopiesTakeTwiceTheSteps() {
    func pays(_ rate: Double) -> Bool {
        PaperPlan.swappingPays(
            generatedCount: 100, stepSeconds: 0.01, batch: 8, kvBytesPerStep: 1e6, bytesPerSecond: rate)
    }
    // 8 MB x i / rate against 10 ms: the sum of 100 steps is twice theirs where the rate is 21 GB/s.
    #expect(pays(2.2e10))
    #expect(!pays(2e10))
    #expect(!pays(0))
}

private func jobs(_ count: Int, prompt: Int, outputs: Int) -> [PerformanceScenario.Job] {
    [PerformanceScenario.Job](repeating: .init(promptCount: prompt, outputCount: outputs), count: count)
}

@Test func planner_wholeMicrobatchesWithShortAnswers_disaggregates() throws {
    var profile = ModelProfile.opt66B
    profile.linkBytesPerSecond = 50e9
    var planner = try Planner(
        profile: profile, machineCount: 8, jobs: jobs(512, prompt: 1000, outputs: 84), objective: .throughput)
    planner.batching = .paper(sequences: 8)
    let plan = planner.plan()
    let choice = try #require(plan.choice)
    // Against pipelines of its own kind; several short ones may do better still.
    let pipeline = try #require(plan.candidates.first { $0.topology == .colocated(stages: 8, pipelines: 1) })
    let split = try #require(
        planner.best(plan.candidates.filter { $0.topology.isDisaggregated }))
    #expect(planner.advantage(of: split, over: pipeline) > 1)
    #expect(planner.advantage(of: choice, over: split) > 0.97)
}

@Test func planner_longAnswersInContinuousBatches_staysColocatedAndSaysSo() throws {
    let planner = try Planner(
        profile: .opt66B, machineCount: 4, jobs: jobs(32, prompt: 100, outputs: 200), objective: .throughput)
    let plan = planner.plan()
    let choice = try #require(plan.choice)
    #expect(!choice.topology.isDisaggregated && !choice.swaps)
    #expect(plan.reasons.contains { $0.hasPrefix("Do not disaggregate") })
    #expect(plan.reasons.contains { $0.hasPrefix("Do not swap") })
    #expect(plan.serveOptions != nil)
}

@Test func planner_linkThatIsTooSlow_doesNotDisaggregate() throws {
    var profile = ModelProfile.opt66B
    profile.linkBytesPerSecond = 1e7
    let planner = try Planner(
        profile: profile, machineCount: 3, jobs: jobs(16, prompt: 1000, outputs: 20), objective: .latency)
    let choice = try #require(planner.plan().choice)
    #expect(!choice.topology.isDisaggregated)
}

@Test func planner_oneMachine_hasOneAnswer() throws {
    let planner = try Planner(
        profile: .opt13B, machineCount: 1, jobs: jobs(4, prompt: 50, outputs: 5), objective: .throughput)
    let plan = planner.plan()
    #expect(plan.choice?.topology == .colocated(stages: 1, pipelines: 1))
    #expect(plan.serveOptions == [])
    #expect(planner.gains(outputCounts: [10]) == [])
}

@Test func planner_nothingFits_saysWhy() throws {
    let planner = try Planner(
        profile: .bloom176B, machineCount: 1, jobs: jobs(1, prompt: 10, outputs: 1), objective: .throughput)
    let plan = planner.plan()
    #expect(plan.choice == nil)
    #expect(plan.reasons.first?.hasPrefix("Nothing fits: ") == true)
}

@Test func planner_memoryForTwoMicrobatches_swapsOverFastCopiesOnly() throws {
    var profile = ModelProfile.opt66B
    let layers = profile.layerCount / 4
    // Weights, and KV of four requests of 1000 + 200.
    profile.deviceMemoryBytes = (profile.weightBytesPerLayer + 4 * 1200 * profile.kvBytesPerPositionAndLayer) * layers
    profile.hostMemoryBytes = 1 << 40
    func plan(copy: Double) throws -> Plan {
        var machine = profile
        machine.copyBytesPerSecond = copy
        return try Planner(
            profile: machine, machineCount: 4, jobs: jobs(48, prompt: 1000, outputs: 200), objective: .throughput
        ).plan()
    }
    let slow = try plan(copy: 1e8)
    #expect(slow.choice?.swaps == false)
    #expect(slow.candidates.contains { $0.swaps })
    let fast = try plan(copy: 1e13)
    #expect(fast.choice?.swaps == true)
    let options = try #require(fast.serveOptions)
    #expect(options.contains("--host-memory") && options.contains("\(1 << 40)"))
    #expect(options.contains("\(4 * 1200 * profile.kvBytesPerPositionAndLayer * layers)"))
    #expect(slow.serveOptions?.contains("--host-memory") == false)
    #expect(fast.reasons.contains { $0.hasPrefix("Swap") })
}

@Test func planner_profileWithoutTimes_isRefused() {
    #expect {
        try Planner(profile: .instant, machineCount: 1, jobs: jobs(1, prompt: 1, outputs: 1), objective: .latency)
    } throws: { ($0 as? DejaVuError)?.subject == "stepTimes" }
}
