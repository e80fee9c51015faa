import DejaVuControl
import DejaVuCore
import DejaVuKV

/// A controller and workers that answer when the test says so.
struct Cluster {
    var machine: ControllerMachine
    var now = Instant.zero
    /// Everything that was asked since the last look.
    var actions: [ControllerAction] = []
    /// Passes that were sent and not yet answered, oldest first.
    var passes: [Pass] = []
    /// Where each worker was told to be last, and all that it was told in this epoch.
    var places: [WorkerID: StageAssignment] = [:]
    var seats: [WorkerID: [StageAssignment]] = [:]
    /// Releases that were asked for and not yet answered.
    var releases: [(worker: WorkerID, sequence: SequenceID, pipeline: PipelineID)] = []
    /// Writers that were let in, and not yet said to be.
    var shares: [(worker: WorkerID, ticket: Ticket)] = []
    var opened: [(worker: WorkerID, record: SequenceRecord, cells: CellRun, ticket: Ticket)] = []
    var requestCount: UInt64 = 0
    let cellsPerStage: Int
    /// What of them a device holds at one time; nil for all.
    let deviceCells: Int?
    /// What each worker may hold for others, in stages.
    let replicasMax: Int
    var holds: [WorkerID: [ReplicaAssignment]] = [:]
    var openedReplicas: [(worker: WorkerID, replica: ReplicaID, ticket: Ticket)] = []
    var replicating: [(worker: WorkerID, sequence: SequenceID, ticket: Ticket, to: StoreAddress)] = []

    static let term = Term(number: 3, nonce: 9)

    init(
        stages: Int = 1, pipelines: Int = 1, promptStages: Int = 0, above: Int = 16, cells: Int = 4096,
        deviceCells: Int? = nil, swapping: Swapping = .on, context: Int = 512, replicasMax: Int = 0,
        replicates: Bool = true, _ change: (inout ControllerLimits) -> Void = { _ in }
    ) throws {
        var limits = ControllerLimits(contextLength: context)
        change(&limits)
        cellsPerStage = cells
        self.deviceCells = deviceCells
        self.replicasMax = replicasMax
        var configuration = ControllerConfiguration(
            model: ModelID(digest: "00112233445566778899"), layerCount: 12, vocabularyCount: 1000,
            topology: PipelineTopology(
                stageCount: stages, pipelineCount: pipelines, promptStageCount: promptStages), limits: limits)
        configuration.replicates = replicates
        configuration.swapping = swapping
        configuration.disaggregateAbove = above
        machine = try ControllerMachine(configuration: configuration, term: Self.term)
    }

    static func incarnation(_ id: UInt64) -> Incarnation { Incarnation(1000 + id) }

    func hello(_ id: UInt64, _ change: (inout WorkerHello) -> Void = { _ in }) -> WorkerHello {
        let topology = machine.configuration.topology
        let stageCount = topology.pipelines.map(\.stageCount).min() ?? 1
        let layers = (12 + stageCount - 1) / stageCount
        var hello = WorkerHello(
            incarnation: Self.incarnation(id), term: nil, model: machine.configuration.model,
            peerAddress: "unix:/\(id)", bulkAddress: "unix:/bulk\(id)", layerCount: 12, kvBytesPerPositionAndLayer: 8,
            kvBytesMax: cellsPerStage * layers * 8, deviceBytesMax: (deviceCells ?? cellsPerStage) * layers * 8,
            replicaBytesMax: replicasMax * cellsPerStage * layers * 8,
            numericClass: NumericClass(hash: 5), processID: Int32(id), name: "local-\(id)")
        change(&hello)
        return hello
    }

    @discardableResult
    mutating func hear(_ event: ControllerEvent, after time: TimeSpan = .microseconds(10)) -> [ControllerAction] {
        now = now + time
        let answer = machine.handle(event, at: now)
        machine.checkIntegrity()
        actions += answer
        for case .send(let worker, let message) in answer {
            switch message {
            case .run(let pass): passes.append(pass)
            case .assign(let place):
                places[worker] = place
                seats[worker, default: []].removeAll { $0.epoch != place.epoch || $0.pipeline != place.pipeline }
                seats[worker, default: []].append(place)
            case .release(let sequence, let pipeline): releases.append((worker, sequence, pipeline))
            case .share(_, let ticket): shares.append((worker, ticket))
            case .open(let record, let cells, let ticket): opened.append((worker, record, cells, ticket))
            case .hold(let assignment): holds[worker, default: []].append(assignment)
            case .discard(let id): holds[worker]?.removeAll { $0.id == id }
            case .openReplica(let id, _, _, let ticket): openedReplicas.append((worker, id, ticket))
            case .replicate(let sequence, let ticket, let holder):
                replicating.append((worker, sequence, ticket, holder))
            default: break
            }
        }
        return answer
    }

    @discardableResult
    mutating func say(_ id: UInt64, _ message: WorkerMessage) -> [ControllerAction] {
        hear(.message(WorkerID(id), Self.incarnation(id), Self.term, message))
    }

    /// Workers join, and say that they have their stages.
    mutating func start(workers ids: ClosedRange<UInt64>) {
        for id in ids { hear(.workerJoined(WorkerID(id), hello(id))) }
        settle(ids.map { $0 })
    }

    mutating func settle(_ ids: [UInt64]) {
        for id in ids {
            for place in seats[WorkerID(id)] ?? [] {
                say(id, .assigned(place.pipeline, place.epoch, stageIndex: place.stageIndex, []))
            }
        }
    }

    /// A standby says that it has made room, and opens what it is told; the sources hear of it.
    mutating func settleReplicas(of id: UInt64) {
        for hold in holds[WorkerID(id)] ?? [] { say(id, .held(hold.id)) }
        let due = openedReplicas
        openedReplicas = []
        for (worker, replica, ticket) in due {
            say(worker.rawValue, .replicated(replica, [SequenceMark(sequence: ticket.sequence, watermark: 0)]))
        }
    }

    /// Answers the probe that a new pipeline runs.
    mutating func finishProbe() {
        while let pass = passes.first, isProbe(pass) { complete(token: 0) }
        releaseAll()
    }

    private func isProbe(_ pass: Pass) -> Bool {
        opened.contains { $0.record.id == pass.entries[0].sequence && $0.record.request == RequestID(.max) }
    }

    mutating func submit(
        prompt: Int = 4, outputs: Int? = 8, choices: Int = 1, stop: [TokenID] = [], deadline: TimeSpan = .seconds(60)
    ) -> RequestID {
        requestCount += 1
        let id = RequestID(requestCount)
        hear(
            .submit(
                Request(
                    id: id, prompt: (0..<prompt).map { TokenID($0 % 1000) }, choiceCount: choices, sampling: .greedy,
                    outputCountMax: outputs, stopTokens: stop, deadline: now + deadline)))
        return id
    }

    func worker(stage: Int, pipeline: UInt64 = 0) -> UInt64 {
        machine.status(at: now).pipelines[Int(pipeline)].stages[stage].worker?.rawValue ?? 0
    }

    /// The oldest pass crosses all stages.
    @discardableResult
    mutating func complete(token: TokenID = 7) -> [ControllerAction] {
        let pass = passes.removeFirst()
        let last = machine.configuration.topology.pipelines[Int(pass.pipeline.rawValue)].stageCount - 1
        for stage in 0..<last {
            say(
                worker(stage: stage, pipeline: pass.pipeline.rawValue),
                .passed(
                    PassTiming(
                        pass: pass.id, pipeline: pass.pipeline, epoch: pass.epoch, stageIndex: stage,
                        computed: .milliseconds(5), idleBefore: .zero)))
        }
        return say(
            worker(stage: last, pipeline: pass.pipeline.rawValue),
            .sampled(pass.id, pass.pipeline, pass.epoch, tokens(for: pass, token)))
    }

    func tokens(for pass: Pass, _ token: TokenID) -> [SampledToken] {
        pass.entries.filter(\.samples).map { SampledToken(sequence: $0.sequence, position: $0.end, token: token) }
    }

    mutating func releaseAll() {
        let due = releases
        releases = []
        for (worker, sequence, pipeline) in due { say(worker.rawValue, .released(sequence, of: pipeline)) }
    }

    /// Time goes by; living workers beat.
    mutating func wait(_ time: TimeSpan, beating ids: [UInt64], progress: Bool = true) {
        let end = now + time
        while now < end {
            for id in ids {
                let counter = progress ? UInt64(now.nanoseconds + 1) : 1
                say(id, .heartbeat(WorkerHeartbeat(progress: counter, busy: true)))
            }
            now = Instant(nanoseconds: now.nanoseconds / 100_000_000 * 100_000_000)
            hear(.timer(TimerID(1)), after: .milliseconds(100))
        }
    }

    mutating func takeActions() -> [ControllerAction] {
        defer { actions = [] }
        return actions
    }
}

extension [ControllerAction] {
    var emitted: [Int] {
        compactMap { if case .emit(_, _, let token) = $0 { token.position } else { nil } }
    }
    var finished: [FinishReason] {
        compactMap { if case .finished(_, _, let reason) = $0 { reason } else { nil } }
    }
    var refusals: [DejaVuControl.Refusal] {
        compactMap { if case .refused(_, let refusal) = $0 { refusal } else { nil } }
    }
    var dismissed: [WorkerID] {
        compactMap { if case .dismiss(let id, _) = $0 { id } else { nil } }
    }
    var admitted: [RequestID] {
        compactMap { if case .admitted(let id) = $0 { id } else { nil } }
    }
}
