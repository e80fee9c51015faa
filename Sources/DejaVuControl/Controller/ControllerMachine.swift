package import DejaVuCore
import DejaVuKV

/// What the controller decides: admission, passes, placement, and who is dead.
///
/// A pure state machine: the same events at the same times give the same actions, in every process. Its promises:
/// - A token that was emitted is never changed, repeated or lost, whatever happens to workers.
/// - Cells are given to another sequence only when every stage that had them has said that they are quiet, or is gone.
/// - A sequence's next work is always `w ..< k` of the rule of work, so recovery is the same code as serving: a stage
///   that lost its memory has watermark 0, one that was taken over by the holder of its replica what that has, and what
///   it lacks is run again.
/// - Every wait has a deadline that is judged by the ticks it asks for.
package struct ControllerMachine: Sendable {
    package let configuration: ControllerConfiguration
    package let term: Term
    package internal(set) var counters = ControllerCounters()

    /// That of every worker; the first one's unless configured.
    var numericClass: NumericClass?
    var now = Instant(nanoseconds: .min)
    var workers = SortedMap<WorkerID, WorkerState>()
    var pipelines: [PipelineState]
    var requests = SortedMap<RequestID, RequestState>()
    var sequences = SortedMap<SequenceID, SequenceState>()
    /// Requests that wait for cells, first come first.
    var queue: [RequestID] = []
    var queueTokens = 0
    /// Sequences that lost their place; they come before the queue. Ascending.
    var parked: [SequenceID] = []
    /// Whether cells, places or the queue have changed since admission was last tried.
    var admissionDue = false
    /// The same for places of prompt pipelines, and who needs one.
    var guestsDue = false
    /// Whether somebody waits for cells of a prompt pipeline.
    var guestsWaiting = false
    var sequenceCount: UInt64 = 0
    var passCount: UInt64 = 0
    var ticketCount: UInt64 = 0
    var replicaCount: UInt64 = 0
    var turnCount: UInt64 = 0
    /// Those that were lost lately, by their names.
    var probations = SortedMap<String, Probation>()
    var move: PlannedMove?
    /// Whether there may be one to begin, and not before when.
    var movesDue = false
    var moveNotBefore = Instant(nanoseconds: .min)
    /// When the next tick is due; nil before the first event.
    var tickDue: Instant?
    var drainDeadline: Instant?
    /// While workers of an earlier controller are taken over.
    var adoption: Adoption?
    /// Who was told to end lately.
    var departed: [Incarnation] = []
    var stopped = false
    package var hasStopped: Bool { stopped }
    /// How long it takes from one request's end to the next, smoothed.
    var endInterval = TimeSpan.seconds(1)
    var lastEnd: Instant?
    var lastRecovery: RecoveryReport?
    /// What lost workers had said of their emulated devices, summed.
    var emulationPast: EmulationUsage?
    var actions: [ControllerAction] = []

    var limits: ControllerLimits { configuration.limits }
    static let tick = TimerID(1)
    /// The request of all probes. Nobody else has it.
    static let probeRequest = RequestID(.max)

    /// - Throws: `.invalidArgument` if the configuration contradicts itself.
    package init(configuration: ControllerConfiguration, term: Term) throws(DejaVuError) {
        try configuration.validate()
        self.configuration = configuration
        self.term = term
        numericClass = configuration.numericClass
        pipelines = configuration.topology.pipelines.enumerated().map { index, shape in
            PipelineState(
                id: PipelineID(UInt64(index)), role: shape.role,
                layers: configuration.layers(of: shape.role, stages: shape.stageCount))
        }
    }

    /// Takes one event and says what is to be done, in this order. The first event starts the ticks.
    ///
    /// - Parameter now: never earlier than before; if it is, the latest time counts.
    package mutating func handle(_ event: ControllerEvent, at now: Instant) -> [ControllerAction] {
        self.now = max(self.now, now)
        if tickDue == nil, !stopped { armTick() }
        switch event {
        case .adopt(let expected, let until, let deadline):
            beginAdoption(expecting: expected, until: until, deadline: deadline)
        case .depose(let reason): depose(reason)
        case .workerJoined(let id, let hello): join(id, hello)
        case .workerLost(let id, let reason): lose(id, reason: reason)
        case .message(let id, let incarnation, let term, let message):
            receive(message, from: id, incarnation: incarnation, term: term)
        case .submit(let request): submit(request)
        case .cancel(let id): endAll(of: id, .cancelled)
        case .finish(let id, let choice): finish(id, choice: choice)
        case .timer(let timer): if timer == Self.tick { tick() }
        case .drain(let deadline): drain(until: deadline)
        case .drainWorker(let id): leave(id)
        }
        proceed()
        defer { actions.removeAll(keepingCapacity: true) }
        return actions
    }

    /// Does what has become possible.
    private mutating func proceed() {
        endAdoptionIfComplete()
        if admissionDue {
            admissionDue = false
            admit()
        }
        while guestsDue {
            guestsDue = false
            admitGuests()
        }
        if movesDue || move != nil { advanceMove() }
        for index in pipelines.indices where pipelines[index].dirty {
            pipelines[index].dirty = false
            probeIfIdle(index)
            schedule(index)
        }
        stopIfDrained()
    }

    private mutating func receive(_ message: WorkerMessage, from id: WorkerID, incarnation: Incarnation, term: Term) {
        guard term == self.term, let index = workers.index(of: id), workers[at: index].hello.incarnation == incarnation
        else {
            counters.messagesStale += 1
            return
        }
        workers[at: index].lastHeard = now
        guard adoption == nil || !isForAdoption(message, from: id, incarnation) else { return }
        obey(message, of: id, at: index)
    }

    mutating func obey(_ message: WorkerMessage, of id: WorkerID, at index: Int) {
        switch message {
        case .assigned(let pipeline, let epoch, let stage, let marks):
            assigned(id, pipeline, epoch, stage: stage, marks)
        case .assignFailed(let pipeline, let epoch, let stage, let error):
            assignFailed(id, pipeline, epoch, stage: stage, error)
        case .released(let sequence, let pipeline): released(sequence, of: pipeline, by: id)
        case .passed(let timing): passed(timing, by: id)
        case .sampled(let pass, let pipeline, let epoch, let tokens):
            sampled(pass, pipeline, epoch, tokens, by: id)
        case .passFailed(let pass, let pipeline, let epoch, let error):
            passFailed(pass, pipeline, epoch, error, by: id)
        case .heartbeat(let heartbeat):
            workers[at: index].emulation = heartbeat.emulation
            workers[at: index].swap = heartbeat.swap
            if workers[at: index].progress != heartbeat.progress {
                workers[at: index].progress = heartbeat.progress
                workers[at: index].progressAt = now
            }
            if workers[at: index].loading != heartbeat.loading {
                workers[at: index].loading = heartbeat.loading
                workers[at: index].loadingAt = now
            }
            let known = workers[at: index].rewriteMismatches
            if heartbeat.rewriteMismatches > known {
                // Wrapping: the number is the worker's.
                counters.rewriteMismatches &+= heartbeat.rewriteMismatches - known
                workers[at: index].rewriteMismatches = heartbeat.rewriteMismatches
            }
        case .peerLost(let peer): peerLost(peer, reportedBy: id)
        case .held(let replica): held(replica, by: id)
        case .holdFailed(let replica, let error): holdFailed(replica, error, by: id)
        case .replicated(let replica, let marks): replicated(replica, marks, by: id)
        case .shared(let sequence, let ticket, let watermark): shared(sequence, ticket: ticket, watermark, by: id)
        case .landed(let pipeline, let stage, let marks): landed(pipeline, stage: stage, marks, by: id)
        case .leaving: leave(id)
        case .record, .report: counters.messagesStale += 1
        }
    }

    /// The pipeline of which a worker runs a stage in the current epoch; nil, and counted, if the message is of the
    /// past.
    ///
    /// - Parameter stage: the one that the message is about; nil for any.
    mutating func current(_ id: WorkerID, _ pipeline: PipelineID, _ epoch: Epoch, stage: Int? = nil) -> Int? {
        guard let worker = workers[id], !worker.isFree, pipelines[worker.pipeline].id == pipeline,
            pipelines[worker.pipeline].epoch == epoch, pipelines[worker.pipeline].phase != .forming,
            stage.map({ worker.runs(worker.pipeline, $0) }) ?? true
        else {
            counters.messagesStale += 1
            return nil
        }
        return worker.pipeline
    }

    mutating func send(_ message: ControllerMessage, to worker: WorkerID) {
        actions.append(.send(worker, message))
    }
}
