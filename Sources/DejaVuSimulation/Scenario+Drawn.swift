import DejaVuControl
import DejaVuCore

extension Scenario {
    /// How wild a random scenario may be.
    package enum Weather: String, Hashable, Codable, Sendable, CaseIterable {
        /// Nothing breaks.
        case calm
        /// Workers crash, hang, slow down and lose links.
        case stormy
        /// One request brings down every worker that runs it.
        case poisoned
    }

    /// What is drawn for a seed. Each adds to the one before, so that seeds that were kept stay what they were.
    package enum Rules: Int, Hashable, Codable, Sendable {
        /// Load and faults by chance.
        case plain
        /// Stormy ones get faults that reach what chance alone seldom does.
        case aimed
        /// At least 20 requests, and in storms at least 3 faults.
        case crowded
    }

    /// The scenario of a seed: the same in every process.
    package static func drawn(seed: UInt64, by rules: Rules = .crowded) -> Scenario {
        var random = SeededGenerator(seed: seed)
        let weather: Weather = random.chance(0.35) ? .calm : random.chance(0.85) ? .stormy : .poisoned
        var scenario = Scenario.drawn(seed: seed, weather: weather)
        if rules == .crowded { crowd(&scenario) }
        if rules != .plain, weather == .stormy { addAimedFaults(&scenario, rules) }
        return scenario
    }

    package static func drawn(seed: UInt64, weather: Weather) -> Scenario {
        var random = SeededGenerator(seed: mix64(seed))
        var configuration = configuration(&random)
        let spares = random.next(below: 3)
        disaggregate(&configuration, seed: seed)
        let topology = configuration.topology
        let needed = topology.workerCount
        let fewest =
            topology.isDisaggregated ? min(topology.stageCount, topology.promptStageCount) : topology.stageCount
        let layersMax = (configuration.layerCount + fewest - 1) / fewest
        let cells = random.next(in: 2...12) * CellRun.granularity
        let uneven = random.chance(0.3)
        let workers = (0..<(needed + spares)).map { _ in
            let factor = uneven ? random.next(in: 2...4) : 2
            var worker = Worker(
                kvBytesMax: cells * layersMax * kvBytesPerPositionAndLayer * factor / 2,
                passCost: .microseconds(Int64(random.next(in: 500...5000))),
                rowCost: .microseconds(Int64(random.next(in: 10...300))),
                loadTime: .milliseconds(Int64(random.next(in: 10...800))), isLocal: random.chance(0.7),
                restartDelay: .milliseconds(Int64(random.next(in: 50...3000))))
            // Nothing, as much as a stage, or as much as all of them.
            worker.replicaBytesMax =
                random.chance(0.15) ? 0 : worker.kvBytesMax * (random.chance(0.5) ? 1 : needed)
            return worker
        }
        var scenario = Scenario(
            seed: seed, configuration: configuration, workers: workers, clients: [],
            latency: .microseconds(Int64(random.next(in: 5...2000))),
            jitter: .microseconds(Int64(random.next(in: 1...2000))))
        scenario.clients = clients(&random, configuration, weather)
        let span = scenario.clients.map { Int($0.at.nanoseconds / 1_000_000) }.max() ?? 0
        if weather != .calm { scenario.faults = faults(&random, workers: workers.count, span: span) }
        if weather == .poisoned { scenario.faults.removeAll() }
        if random.chance(0.1) {
            scenario.drainAt = Instant.zero + .milliseconds(Int64(random.next(in: 500...12_000)))
        }
        addControllerCrashes(&scenario, weather)
        shrinkDevices(&scenario)
        return scenario
    }

    /// From numbers of their own, so that what else is drawn is as it was before there were any.
    private static func addControllerCrashes(_ scenario: inout Scenario, _ weather: Weather) {
        var random = SeededGenerator(seed: mix64(scenario.seed ^ 0xC0FFEE))
        scenario.configuration.limits.endedKept = .seconds(60)
        for index in scenario.clients.indices where random.chance(0.1) { scenario.clients[index].wantsLogprobs() }
        guard weather != .calm, random.chance(weather == .stormy ? 0.5 : 0.3) else { return }
        if random.chance(0.1) { scenario.orphanGrace = .seconds(2) }
        let span = max(scenario.clients.map { Int($0.at.nanoseconds / 1_000_000) }.max() ?? 0, 1)
        for _ in 0..<random.next(in: 1...3) {
            let away = random.chance(0.7) ? random.next(in: 20...1000) : random.next(in: 1000...6000)
            var at = Instant.zero + .milliseconds(Int64(random.next(below: span + 2000)))
            if let fault = scenario.faults.first, random.chance(0.5) {
                // In the middle of what another fault has begun.
                at = fault.at + .milliseconds(Int64(random.next(below: 700)))
            }
            var crash = Fault(
                at: at, worker: random.next(below: scenario.workers.count),
                kind: .crashController(.milliseconds(Int64(away))))
            if random.chance(0.4) {
                crash.target = Role.allCases[random.next(below: Role.allCases.count)]
                crash.wait = wait(&random)
            }
            scenario.faults.append(crash)
        }
        if random.chance(0.2) {
            scenario.faults.removeAll { if case .crashController = $0.kind { false } else { true } }
        }
    }

    /// A third has more memory below its devices than on them. Drawn apart, so that the others stay what they were.
    private static func shrinkDevices(_ scenario: inout Scenario) {
        var random = SeededGenerator(seed: mix64(scenario.seed ^ 0x73_7761_70))
        scenario.configuration.limits.chunkRowsMin = random.next(in: 1...40)
        guard random.chance(0.35) else { return }
        scenario.configuration.swapping = [.auto, .auto, .on, .off][random.next(below: 4)]
        let isUneven = random.chance(0.3)
        let divisor = random.next(in: 2...5)
        let cost = TimeSpan(nanoseconds: Int64(random.next(in: 10...20_000)))
        for index in scenario.workers.indices {
            let share = isUneven ? random.next(in: 1...5) : divisor
            // Room for the least that a stage can be given.
            let least = CellRun.granularity * scenario.configuration.layerCount * kvBytesPerPositionAndLayer
            scenario.workers[index].deviceBytesMax = max(scenario.workers[index].kvBytesMax / share, least)
            scenario.workers[index].fetchCost = cost
        }
    }

    /// More of the same clients, within the same time.
    private static func crowd(_ scenario: inout Scenario) {
        var random = SeededGenerator(seed: mix64(scenario.seed ^ 0x63_726F_7764))
        let span = max(scenario.clients.map { Int($0.at.nanoseconds / 1_000_000) }.max() ?? 0, 1)
        while scenario.clients.count < requestCountMin {
            scenario.clients.append(
                client(&random, scenario.clients.count, within: span, scenario.configuration))
        }
    }

    private static let requestCountMin = 20
    private static let faultCountMin = 3

    /// Any kind upon any role. Drawn apart, so that the rest stays what it was.
    private static func addAimedFaults(_ scenario: inout Scenario, _ rules: Rules) {
        var random = SeededGenerator(seed: mix64(scenario.seed ^ 0x61_696D_6564))
        let span = max(scenario.clients.map { Int($0.at.nanoseconds / 1_000_000) }.max() ?? 0, 1)
        // What is short or rare is aimed at more often.
        func times(_ count: Int, _ role: Role) -> [Role] { [Role](repeating: role, count: count) }
        var roles = Role.allCases + times(4, .filling) + times(2, .holder) + [.loading, .sourceOfNew]
        if rules == .crowded {
            roles += times(3, .filling) + times(2, .promptStage) + times(2, .holder) + times(3, .loading)
            roles += times(3, .taker) + times(7, .sourceOfNew)
        }
        let drawn = random.next(below: rules == .crowded ? 14 : 8)
        let count = rules == .aimed ? drawn : max(drawn, faultCountMin - scenario.faults.count)
        for _ in 0..<count {
            var fault = Fault(
                at: Instant.zero + .milliseconds(Int64(random.next(below: span + 500))), worker: 0,
                kind: kind(random.next(below: FaultKind.drawnCount), &random),
                target: roles[random.next(below: roles.count)], wait: wait(&random))
            fault.followsDeath = random.chance(fault.target == .holder ? 0.6 : 0.3)
            fault.isPatient = true
            scenario.faults.append(fault)
        }
    }

    private static func configuration(_ random: inout SeededGenerator) -> ControllerConfiguration {
        let layers = random.next(in: 1...6)
        var limits = ControllerLimits(contextLength: random.next(in: 64...600))
        limits.outputCountDefault = random.next(in: 1...40)
        limits.choiceCountMax = 4
        limits.passRowsMax = random.next(in: 4...96)
        limits.chunkRowsMax = random.next(in: 1...limits.passRowsMax)
        limits.microbatchSequencesMax = random.next(in: 1...limits.passRowsMax)
        limits.passesExtra = random.chance(0.2) ? random.next(in: 1...2) : 0
        limits.sequencesMax = random.next(in: 4...24)
        limits.queueRequestsMax = random.next(in: 2...40)
        limits.queueTokensMax = random.next(in: 1...20) * limits.contextLength
        limits.loadMax = .seconds(30)
        limits.restMin = .milliseconds(500)
        limits.restMax = .seconds(2)
        return ControllerConfiguration(
            model: ModelID(digest: "0123456789abcdef"), layerCount: layers, vocabularyCount: 1000,
            stageCount: random.next(in: 1...min(layers, 4)), pipelineCount: random.chance(0.25) ? 2 : 1, limits: limits)
    }

    /// Two of five have prompts run elsewhere than tokens. Drawn apart, so that the others stay what they were.
    private static func disaggregate(_ configuration: inout ControllerConfiguration, seed: UInt64) {
        var random = SeededGenerator(seed: mix64(seed ^ 0x70_6F6B_656E))
        guard random.chance(0.4) else { return }
        configuration.topology.promptStageCount = random.next(in: 1...min(configuration.layerCount, 3))
        configuration.disaggregateAbove = random.next(below: random.chance(0.5) ? 8 : 80)
        configuration.limits.promptRowsMax = random.next(in: 1...128)
        configuration.limits.stallMin = .milliseconds(Int64(random.next(in: 20...2000)))
    }

    private static func clients(
        _ random: inout SeededGenerator, _ configuration: ControllerConfiguration, _ weather: Weather
    ) -> [Client] {
        let count = random.next(in: 1...24)
        let span = random.next(in: 1...8000)
        var clients: [Client] = []
        for index in 0..<count { clients.append(client(&random, index, within: span, configuration)) }
        if weather == .poisoned {
            let victim = random.next(below: count)
            clients[victim].poisonedPosition = random.next(below: clients[victim].request.prompt.count)
        }
        return clients
    }

    private static func client(
        _ random: inout SeededGenerator, _ index: Int, within span: Int, _ configuration: ControllerConfiguration
    ) -> Client {
        let at = Instant.zero + .milliseconds(Int64(random.next(below: span)))
        let context = configuration.limits.contextLength
        let prompt = random.chance(0.05) ? random.next(in: 1...(context + 10)) : random.next(in: 1...(context / 2))
        var sampling = SamplingParameters()
        sampling.temperature = random.chance(0.5) ? 0 : 1
        sampling.seed = random.next()
        let outputs: Int? = random.chance(0.2) ? nil : random.next(in: 1...60)
        let patient = random.chance(0.85)
        let request = Request(
            id: RequestID(UInt64(index + 1)),
            prompt: (0..<prompt).map { _ in TokenID(random.next(below: configuration.vocabularyCount)) },
            choiceCount: random.chance(0.2) ? random.next(in: 2...4) : 1, sampling: sampling,
            outputCountMax: outputs,
            stopTokens: random.chance(0.3) ? (0..<20).map { TokenID($0 * 50) } : [],
            deadline: at + (patient ? .seconds(600) : .milliseconds(Int64(random.next(in: 1...5000)))))
        var client = Client(at: at, request: request)
        if random.chance(0.15) { client.cancelAt = at + .milliseconds(Int64(random.next(in: 0...3000))) }
        if random.chance(0.1) { client.finishAfter = random.next(in: 1...20) }
        return client
    }

    private static func faults(_ random: inout SeededGenerator, workers: Int, span: Int) -> [Fault] {
        // Alone, or several within a moment; mostly while there is work.
        let first = random.next(below: random.chance(0.2) ? 10_000 : span + 300)
        let spread = random.chance(0.4) ? random.next(in: 1...600) : 10_000
        var faults: [Fault] = []
        for _ in 0..<random.next(in: 1...6) {
            let at = Instant.zero + .milliseconds(Int64((first + random.next(below: spread)) % 10_000))
            var fault = Fault(at: at, worker: random.next(below: workers), kind: kind(&random))
            if random.chance(0.3) {
                fault.target = Role.allCases[random.next(below: Role.allCases.count)]
                fault.wait = wait(&random)
            }
            faults.append(fault)
        }
        if random.chance(0.6) { faults += blowUponBlow(&random, at: Instant.zero + .milliseconds(Int64(first))) }
        return faults
    }

    /// A source or a holder dies, and the one that is to mend it is struck while it does.
    private static func blowUponBlow(_ random: inout SeededGenerator, at: Instant) -> [Fault] {
        let roles: [Role] = random.chance(0.6) ? [.source, .taker] : [.holder, .loading]
        let later: [Role] = [.filling, .sourceOfNew, .loading, .taker, .source, .holder]
        var faults = [
            Fault(at: at, worker: 0, kind: random.chance(0.7) ? .crash : .vanish, target: roles[0]),
            Fault(
                at: at, worker: 0, kind: random.chance(0.4) ? .crash : kind(&random), target: roles[1],
                wait: wait(&random)),
        ]
        for _ in 0..<random.next(below: 3) {
            faults.append(
                Fault(
                    at: at + .milliseconds(Int64(random.next(below: 3000))), worker: 0,
                    kind: random.chance(0.3) ? .crash : kind(&random), target: later[random.next(below: later.count)],
                    wait: wait(&random)))
        }
        return faults
    }

    static func wait(_ random: inout SeededGenerator) -> TimeSpan {
        .microseconds(Int64(random.next(below: random.chance(0.5) ? 500 : 20_000)))
    }

    /// Deaths and farewells more often than others; the controller's death is drawn elsewhere.
    private static func kind(_ random: inout SeededGenerator) -> FaultKind {
        kind([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 12, 12, 13, 14][random.next(below: 19)], &random)
    }

    private static func kind(_ number: Int, _ random: inout SeededGenerator) -> FaultKind {
        switch number {
        case 0: .crash
        case 1: .vanish
        case 2: .pause(.milliseconds(Int64(random.next(in: 10...1500))))
        case 3: .hang
        case 4: .slow(random.next(in: 2...20), .milliseconds(Int64(random.next(in: 100...3000))))
        case 5: .cutPeer
        case 6: .cutController
        case 7: .failPass
        case 8: .failLoad
        case 9: .cutBulk
        case 10: .corruptFrame
        case 11:
            .slowBulk(
                .milliseconds(Int64(random.next(in: 1...300))), .milliseconds(Int64(random.next(in: 100...3000))))
        case 12: .leave
        case 13: .staleOrder
        case 14: .pauseController(.milliseconds(Int64(random.next(in: 50...2000))))
        default: .crashController(.milliseconds(Int64(random.next(in: 20...6000))))
        }
    }
}

extension Scenario.FaultKind {
    /// How many kinds there are to draw from.
    fileprivate static let drawnCount = 16
}
