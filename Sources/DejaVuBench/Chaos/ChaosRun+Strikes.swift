import DejaVuCore
import Synchronization

/// Brings the faults: as the schedule has them, or drawn one after the other.
extension ChaosRun {
    func strike(_ client: ChaosClient, workers: Int, since start: ContinuousClock.Instant) async throws {
        if let schedule = configuration.schedule {
            try await follow(schedule, client, since: start)
        } else {
            try await draw(client, workers: workers, since: start)
        }
    }

    /// Each at its time, whatever became of those before; what lasts may overlap.
    private func follow(
        _ schedule: ChaosSchedule, _ client: ChaosClient, since start: ContinuousClock.Instant
    ) async throws {
        var random = SeededGenerator(seed: configuration.seed)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, entry) in schedule.entries.enumerated() {
                try await Task.sleep(until: start + .seconds(entry.atSeconds), clock: .continuous)
                onProgress?("fault \(index + 1) of \(schedule.entries.count)")
                let seed = random.next()
                group.addTask {
                    var random = SeededGenerator(seed: seed)
                    try await self.bring(entry.fault, client, &random)
                }
            }
            try await group.waitForAll()
        }
    }

    private func draw(_ client: ChaosClient, workers: Int, since start: ContinuousClock.Instant) async throws {
        var random = SeededGenerator(seed: configuration.seed)
        let end = configuration.secondsMax.map { start + .seconds($0) }
        for number in 0..<configuration.faultCount {
            if let end, .now > end { break }
            onProgress?(end == nil ? "fault \(number + 1) of \(configuration.faultCount)" : "fault \(number + 1)")
            if !configuration.isRelentless { try await waitUntilWell(client, workers: workers) }
            try await Task.sleep(for: .seconds(Double.random(in: configuration.calmSeconds, using: &random)))
            guard let fault = configuration.faults.randomElement(using: &random) else { return }
            let planned = PlannedFault(
                fault: fault, target: configuration.target, seconds: configuration.faultSeconds)
            try await bring(planned, client, &random)
        }
        if !configuration.isRelentless { try await waitUntilWell(client, workers: workers) }
    }

    private func bring(
        _ planned: PlannedFault, _ client: ChaosClient, _ random: inout SeededGenerator
    ) async throws {
        if planned.fault == .poison, let token = configuration.poisonToken {
            let number = began(planned, nil, worker: "", role: .request)
            if let wrong = await client.poison(token) { state.withLock { $0.poisonFailures.append(wrong) } }
            return ended(number)
        }
        // In the middle of a recovery nobody may be there, or nobody may answer.
        let cluster = try? await client.cluster()
        guard let cluster, let victim = cluster.victims(planned).randomElement(using: &random) else {
            if configuration.isRelentless || configuration.schedule != nil { return }
            throw DejaVuError(.unavailable, "there is no worker to strike for '\(planned.target.rawValue)'")
        }
        var link: FaultLink?
        if planned.fault.isOfLink {
            // Only frames have checksums of their own; the rest is protected by TLS where it leaves the machine.
            let possible: [FaultLink] = planned.fault == .corrupt ? [.bulk] : FaultLink.allCases
            link = planned.link ?? possible.randomElement(using: &random)
        }
        let number = began(planned, link, worker: victim.name, role: cluster.role(of: victim))
        do throws(DejaVuError) {
            try await FaultInjector.strike(
                victim.processId, with: planned, link: link, directory: configuration.linkFaultDirectory)
            if planned.fault.isDeadly { _ = state.withLock { $0.ended.insert(victim.id) } }
        } catch {
            // Who was not to be waited for may have ended by itself, or by the fault before.
            guard configuration.isRelentless || configuration.schedule != nil, error.code == .notFound else {
                throw error
            }
        }
        ended(number)
    }

    private func began(_ planned: PlannedFault, _ link: FaultLink?, worker: String, role: ChaosRole) -> Int {
        state.withLock { state in
            let now = ContinuousClock.now
            state.strikes.append(
                Struck(at: now, until: now, fault: planned.fault, link: link, worker: worker, role: role))
            return state.strikes.count - 1
        }
    }

    private func ended(_ number: Int) { state.withLock { $0.strikes[number].until = .now } }

    func waitUntilWell(_ client: ChaosClient, workers: Int) async throws {
        let end = ContinuousClock.now + .seconds(configuration.recoverySecondsMax)
        while ContinuousClock.now < end {
            let ended = state.withLock { $0.ended }
            if let cluster = try? await client.cluster(), cluster.isWell(workers: workers, without: ended) { return }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw DejaVuError(
            .deadlineExceeded, "the server was not well again after \(Int(configuration.recoverySecondsMax)) s")
    }
}
