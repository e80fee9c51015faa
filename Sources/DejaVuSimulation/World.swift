package import DejaVuControl
package import DejaVuCore
import DejaVuKV

/// One virtual world: a controller, worker processes, links and clients, in one thread and virtual time.
///
/// The controller and the workers are the real machines; what they ask for is done here, with delays. After every event
/// the invariants of the design are checked. Same scenario, same run, in every process.
package struct World: Sendable {
    /// What one stage hands to the next.
    struct HiddenRows: Sendable {
        let term: Term
        let pass: Pass
        let stageIndex: Int
        let rows: [UInt64]
    }
    enum Occurrence: Sendable {
        case client(Int)
        case cancel(Int)
        case drain
        case fault(Int)
        /// At a process that has got the role for which the fault has waited.
        case aimed(Int, slot: Int)
        /// At the same, a way over a link after the death that goes before.
        case afterDeath(Int, slot: Int)
        case start(slot: Int)
        case startController
        /// The link that had this id is closed at the worker's end.
        case linkLost(slot: Int, generation: UInt64, link: WorkerID)
        /// Nobody has come back to a request that was found at the workers.
        case giveUp(RequestID)
        case reconnect(slot: Int, generation: UInt64)
        case toController(reign: UInt64, ControllerEvent)
        case toWorker(slot: Int, generation: UInt64, link: WorkerID?, WorkerEvent)
        case connected(slot: Int, generation: UInt64, serial: UInt64)
        case rows(slot: Int, generation: UInt64, from: Int, serial: UInt64, HiddenRows)
        case jobDone(slot: Int, generation: UInt64)
        case loadDone(slot: Int, generation: UInt64)
        case heartbeat(slot: Int, generation: UInt64)
        case bulkOpened(slot: Int, generation: UInt64, serial: UInt64)
        case frame(slot: Int, generation: UInt64, from: Int, fromGeneration: UInt64, serial: UInt64, SimulatedFrame)
        /// The rest of an admitted frame's bytes are there.
        case landed(slot: Int, generation: UInt64, ArrivalID, flight: FlightID, serial: UInt64)
        case frameAnswer(slot: Int, generation: UInt64, serial: UInt64, FlightID, FrameAnswer)
    }

    struct StagePlace: Hashable, Sendable {
        let worker: WorkerID
        let pipeline: PipelineID
        let stage: Int
    }
    struct Holding: Sendable {
        let sequence: SequenceID
        let cells: CellRun
    }

    package let scenario: Scenario
    /// The present controller, or the last one while there is none.
    package internal(set) var controller: ControllerMachine
    package internal(set) var now = Instant.zero
    /// What went wrong, first thing first; the run ends at the first.
    package internal(set) var violations: [String] = []
    /// What happened, in words, if asked for.
    package internal(set) var story: [String] = []
    /// Every event of the controller and its answer, if asked for.
    package internal(set) var log: [RecordedStep] = []
    package internal(set) var eventCount = 0
    /// The most passes that were in flight at once in a pipeline.
    package internal(set) var flightsMax = 0

    let tellsStory: Bool
    let keepsLog: Bool
    var queue = EventQueue<Occurrence>()
    var random: SeededGenerator
    var processes: [SimulatedProcess]
    var clients: Clients
    var controllerPausedUntil = Instant.zero
    /// Which controller it is, counted; each has a term of its own.
    var reign: UInt64 = 1
    var hasController = true
    /// Whether it waits for workers of the one before.
    var isAdopting = false
    /// Who has a link to it, as its state directory says.
    var joined: [Incarnation] = []
    /// What controllers before it have counted.
    var pastCounters = ControllerCounters()
    var workerCount: UInt64 = 0
    var incarnationCount: UInt64 = 0
    var linkCount: UInt64 = 0
    /// Which process an id was given to; looked up only.
    var owners: [UInt64: (slot: Int, generation: UInt64)] = [:]
    /// Whose text a sequence is; looked up only.
    var sequences: [UInt64: SequenceRecord] = [:]
    /// Which cells the controller must take for occupied in each stage of each worker; looked up only.
    var holdings: [StagePlace: [Holding]] = [:]
    /// The same for each replica.
    var replicaHoldings: [UInt64: [Holding]] = [:]
    /// Which replicas each worker was told to hold.
    var replicasHeld: [UInt64: [ReplicaAssignment]] = [:]
    /// What the stages answered in the last epoch of each pipeline.
    var answers: [UInt64: EpochAnswers] = [:]
    /// Faults that wait until somebody has the role that they are meant for.
    var aiming: [Int] = []
    package internal(set) var coverage = Coverage()
    /// The last place that each worker was told.
    var places: [UInt64: [StageAssignment]] = [:]
    var stopped = false
    /// When a last stage last sampled, or ended a chunk.
    var lastCrossing: Instant?
    /// When the last planned fault is over.
    let calmAt: Instant

    static func term(_ reign: UInt64) -> Term { Term(number: reign, nonce: 7) }
    var term: Term { Self.term(reign) }
    /// Of all controllers of the run.
    package var counters: ControllerCounters {
        var sum = pastCounters
        sum += controller.counters
        return sum
    }
    static let timeMax = Instant.zero + .seconds(700)

    package init(_ scenario: Scenario, tellsStory: Bool = false, keepsLog: Bool = false) throws(DejaVuError) {
        self.scenario = scenario
        self.tellsStory = tellsStory
        self.keepsLog = keepsLog
        controller = try ControllerMachine(configuration: scenario.configuration, term: Self.term(1))
        random = SeededGenerator(seed: scenario.seed ^ 0x5EED)
        processes = scenario.workers.indices.map { SimulatedProcess(slot: $0) }
        clients = Clients(scenario)
        var calmAt = Instant.zero
        for (index, client) in scenario.clients.enumerated() {
            queue.push(.client(index), at: client.at)
            if let cancelAt = client.cancelAt { queue.push(.cancel(index), at: cancelAt) }
            calmAt = max(calmAt, client.at, client.cancelAt ?? .zero)
        }
        for (index, fault) in scenario.faults.enumerated() {
            queue.push(.fault(index), at: fault.at)
            calmAt = max(calmAt, fault.at + .seconds(4))
        }
        for (slot, worker) in scenario.workers.enumerated() { queue.push(.start(slot: slot), at: worker.startAt) }
        if let drainAt = scenario.drainAt {
            queue.push(.drain, at: drainAt)
            calmAt = max(calmAt, drainAt)
        }
        self.calmAt = calmAt
    }

    /// Runs to the end: every client has its answer, every cell is back, and nothing is planned any more.
    package mutating func run() {
        while violations.isEmpty, !isOver, let entry = queue.pop() {
            now = max(now, entry.at)
            guard now <= Self.timeMax else {
                violations.append("some request has not ended after \(now)")
                break
            }
            perform(entry)
        }
        if violations.isEmpty { checkEnd() }
        if violations.isEmpty, scenario.faults.isEmpty, !stopped { checkIdle() }
    }

    /// Runs until the given time, or the end.
    package mutating func run(until end: Instant) {
        while violations.isEmpty, let next = queue.next, next <= end, let entry = queue.pop() {
            now = max(now, entry.at)
            perform(entry)
        }
    }

    private var isOver: Bool {
        guard now >= calmAt + .seconds(1), clients.allOver, hasController, !isAdopting else { return false }
        return stopped || controller.isAtRest
    }

    private mutating func perform(_ entry: EventQueue<Occurrence>.Entry) {
        if let until = heldUntil(entry.element), until > now {
            queue.postpone(entry, to: until)
            return
        }
        eventCount += 1
        switch entry.element {
        case .client, .cancel, .drain: performRequest(entry)
        case .toController(let reign, let event):
            guard reign == self.reign, hasController else { return }
            if case .finish(let request, let choice) = event { clients.finishSent(request, choice: choice) }
            decide(event)
        case .startController: startController()
        case .linkLost(let slot, let generation, let link): linkLost(slot, generation, link)
        case .giveUp(let request):
            guard hasController, clients.isPresent(request), let index = clients.index(of: request) else { return }
            clients.cancelSent(index)
            decide(.cancel(request))
        case .fault(let index): aim(index)
        case .aimed(let index, let slot): strikeAimed(index, slot)
        case .afterDeath(let index, let slot): strike(scenario.faults[index], slot)
        case .start(let slot): start(slot)
        case .reconnect(let slot, let generation):
            if processes[slot].alive, processes[slot].generation == generation { connect(slot) }
        case .toWorker(let slot, let generation, let link, let event):
            guard processes[slot].alive, processes[slot].generation == generation,
                link == nil || processes[slot].link == link
            else { return }
            work(slot, event)
        case .connected(let slot, let generation, let serial): peerAnswers(slot, generation, serial)
        case .rows(let slot, let generation, let from, let serial, let rows):
            deliver(rows, to: slot, generation, from: from, serial)
        case .jobDone(let slot, let generation): finishJob(slot, generation)
        case .loadDone(let slot, let generation): loadDone(slot, generation)
        case .heartbeat(let slot, let generation): beat(slot, generation)
        case .bulkOpened(let slot, let generation, let serial): bulkOpened(slot, generation, serial)
        case .frame(let slot, let generation, let from, let fromGeneration, let serial, let frame):
            receive(frame, at: slot, generation, from: from, fromGeneration, serial)
        case .landed(let slot, let generation, let arrival, let flight, let serial):
            finishLanding(slot, generation, arrival, flight, serial)
        case .frameAnswer(let slot, let generation, let serial, let flight, let answer):
            hear(answer, to: flight, slot, generation, serial)
        }
    }

    /// What comes over HTTP: refused while there is no server, so it is tried again.
    private mutating func performRequest(_ entry: EventQueue<Occurrence>.Entry) {
        guard hasController, !isAdopting else { return queue.push(entry.element, at: now + .milliseconds(100)) }
        switch entry.element {
        case .client(let index):
            guard !clients.entries[index].isServed, !clients.entries[index].isOver else { return }
            clients.submit(index)
            decide(.submit(clients.entries[index].request))
        case .cancel(let index):
            clients.cancelSent(index)
            decide(.cancel(clients.entries[index].id))
        default: decide(.drain(deadline: now + scenario.drainTime))
        }
    }

    /// Until when the one that this is for stands still.
    private func heldUntil(_ occurrence: Occurrence) -> Instant? {
        switch occurrence {
        case .client, .cancel, .drain, .toController, .giveUp: controllerPausedUntil
        case .toWorker(let slot, _, _, _), .connected(let slot, _, _), .rows(let slot, _, _, _, _),
            .jobDone(let slot, _), .loadDone(let slot, _), .heartbeat(let slot, _), .reconnect(let slot, _),
            .bulkOpened(let slot, _, _), .frame(let slot, _, _, _, _, _), .landed(let slot, _, _, _, _),
            .frameAnswer(let slot, _, _, _, _):
            processes[slot].pausedUntil
        case .linkLost(let slot, _, _): processes[slot].pausedUntil
        case .fault, .aimed, .afterDeath, .start, .startController: nil
        }
    }

    mutating func tell(_ line: @autoclosure () -> String) {
        if tellsStory { story.append("\(now) \(line())") }
    }

    /// One way over a link.
    mutating func delay() -> TimeSpan {
        scenario.latency + TimeSpan(nanoseconds: Int64(random.next(below: Int(scenario.jitter.nanoseconds) + 1)))
    }
}
