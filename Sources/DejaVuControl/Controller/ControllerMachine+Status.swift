package import DejaVuCore
import DejaVuKV

/// What the controller tells of itself.
extension ControllerMachine {
    package func status(at now: Instant) -> ClusterStatus {
        let reason = reasonNotReady(at: now)
        let probes = sequences.values.reduce(0) { $0 + ($1.isProbe && !$1.ended ? 1 : 0) }
        let running = sequences.values.reduce(0) { $0 + ($1.phase == .running ? 1 : 0) }
        let risks = pipelines.indices.map { atRisk($0) }
        return ClusterStatus(
            ready: reason == nil, reason: reason, term: term, draining: drainDeadline != nil,
            workers: workers.indices.map { status(of: workers[at: $0], workers.keys[$0], at: now) },
            pipelines: pipelines.indices.map { status(ofPipeline: $0, at: now) },
            queue: QueueStatus(
                requests: queue.count, requestsMax: limits.queueRequestsMax, tokens: queueTokens,
                tokensMax: limits.queueTokensMax), sequencesRunning: running - probes,
            sequencesParked: parked.count, replicates: configuration.replicates,
            sequencesAtRisk: risks.reduce(0) { $0 + $1.sequences },
            positionsAtRisk: risks.reduce(0) { $0 + $1.positions }, lastRecovery: lastRecovery, counters: counters,
            emulation: emulation, prompts: promptStatus(at: now))
    }

    /// See `ClusterStatus.ready`.
    package func isReady(at now: Instant) -> Bool { reasonNotReady(at: now) == nil }

    /// What goes on between prompt and token pipelines.
    private func promptStatus(at now: Instant) -> PromptStatus? {
        guard configuration.topology.isDisaggregated else { return nil }
        let cellsMax = guestCellsMax
        let stalled = stalled(at: now)
        var status = PromptStatus(disaggregateAbove: configuration.disaggregateAbove)
        for sequence in sequences.values where sequence.phase == .running {
            if needsGuest(sequence, cellsMax: cellsMax) { status.waiting += 1 }
            guard sequence.guest?.isLeaving == false else { continue }
            status.running += 1
            status.positionsBehind += sequence.streamLag
        }
        status.stalled = stalled.sequences
        status.stalledFor = stalled.time
        return status
    }

    /// The most passes in flight in any pipeline now.
    package var flightsMost: Int { pipelines.reduce(0) { max($0, $1.flights.count) } }

    private var emulation: EmulationUsage? {
        workers.indices.compactMap { workers[at: $0].emulation }.reduce(emulationPast) {
            ($0 ?? EmulationUsage()) + $1
        }
    }

    /// Ready is: a token crossed all stages of some pipeline recently.
    private func reasonNotReady(at now: Instant) -> String? {
        if stopped { return "the server has stopped" }
        if drainDeadline != nil { return "the server is stopping" }
        if adoption != nil { return "workers of the last server are taken over" }
        guard
            let best = pipelines.filter({ $0.role.isHome && $0.phase == .serving }).max(by: {
                ($0.lastCrossing ?? Instant(nanoseconds: .min)) < ($1.lastCrossing ?? Instant(nanoseconds: .min))
            })
        else {
            let homes = pipelines.filter { $0.role.isHome }
            if homes.contains(where: { $0.phase == .loading }) { return "workers load their layers" }
            let missing = homes.map { $0.vacancies }.min() ?? 0
            return "\(missing) of \(configuration.topology.stageCount) stages have no worker"
        }
        guard let last = best.lastCrossing else { return "no token has crossed all stages yet" }
        guard now - last <= limits.readyWindow else {
            return "no token has crossed all stages for \((now - last).nanoseconds / 1_000_000_000) s"
        }
        return nil
    }

    private func status(of worker: WorkerState, _ id: WorkerID, at now: Instant) -> WorkerStatus {
        let state: WorkerStatus.State
        if worker.leaving {
            state = .leaving
        } else if worker.restUntil != nil {
            state = .resting
        } else if !worker.isFree {
            let ready = worker.seats.allSatisfy { pipelines[worker.pipeline].stages[$0.stage].ready }
            state = ready ? .serving : .loading
        } else {
            state = .standby
        }
        return WorkerStatus(
            id: id, name: worker.hello.name, processID: worker.hello.processID, state: state,
            pipeline: worker.isFree ? nil : pipelines[worker.pipeline].id, stageIndex: worker.seats.map(\.stage).min(),
            silence: max(now - worker.lastHeard, .zero), kvBytesMax: worker.hello.kvBytesMax, error: worker.error,
            replicas: worker.holds.map {
                ReplicaStatus(pipeline: pipelines[$0.pipeline].id, stageIndex: $0.stage, ready: $0.since == nil)
            })
    }

    private func status(ofPipeline index: Int, at now: Instant) -> PipelineStatus {
        let pipeline = pipelines[index]
        let state: PipelineStatus.State =
            switch pipeline.phase {
            case .forming: .forming
            case .loading: .loading
            case .serving: .serving
            }
        let stages = pipeline.stages.indices.map { stage(pipeline, $0, at: now) }
        return PipelineStatus(
            id: pipeline.id, role: pipeline.role, epoch: pipeline.epoch, state: state, stages: stages,
            microbatches: pipeline.flights.map {
                MicrobatchStatus(
                    pass: $0.id, sequences: $0.entries.count, rows: $0.rows,
                    stageIndex: min($0.stagesPassed, pipeline.stages.count - 1))
            },
            sequencesRunning: pipeline.members.reduce(0) {
                let sequence = sequences[$1]
                return $0 + (sequence?.phase == .running && sequence?.isProbe == false ? 1 : 0)
            }, cellsTotal: pipeline.cells.cellCount, cellsUsed: pipeline.cells.usedCount,
            kvBytesTotal: stages.reduce(0) { $0 + $1.kvBytesTotal },
            kvBytesUsed: stages.reduce(0) { $0 + $1.kvBytesUsed }, swap: swapStatus(index))
    }

    private func stage(_ pipeline: PipelineState, _ index: Int, at now: Instant) -> StageStatus {
        let stage = pipeline.stages[index]
        var total = 0
        var used = 0
        if let hello = stage.worker.flatMap({ workers[$0]?.hello }) {
            let shape = KVShape(
                bytesPerPositionAndLayer: hello.kvBytesPerPositionAndLayer, layerCount: stage.layers.count)
            total = shape.bytes(ofCells: pipeline.cells.cellCount)
            used = shape.bytes(ofCells: pipeline.cells.usedCount)
        }
        let holder = stage.replica?.holder.worker
        let lag = pipeline.members.reduce(0) {
            guard let sequence = sequences[$1], sequence.phase == .running, !sequence.isProbe,
                let home = sequence.home, pipelines[home.pipeline].id == pipeline.id
            else { return $0 }
            return $0 + home.lag(index)
        }
        let busy = pipeline.flights.contains { $0.stagesPassed == index }
        return StageStatus(
            index: index, layers: stage.layers, worker: stage.worker,
            busyShare: stage.busy.share(at: now, busy: busy), passes: stage.passes, computed: stage.computed,
            kvBytesTotal: total, kvBytesUsed: used, holder: holder,
            replicaReady: holder.flatMap { workers[$0] }?.holds.contains {
                $0.id == stage.replica?.id && $0.since == nil
            } ?? false, replicaLag: lag)
    }
}
