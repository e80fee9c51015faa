package import DejaVuCore
import DejaVuKV

/// Stores that stream to each other through a bad network, in virtual time: the real ledgers and subscription books,
/// with memories of one number for each row.
///
/// Writes are as wild as the ledger allows: a row that may be written can land much later. After every event
/// invariant 3 of the design is checked: nothing uncommitted is read, nothing is written without an open ticket, no
/// committed row and no memory that was given away is written, watermarks fall only where it was said. When the faults
/// stop, every subscription must reach backlog 0.
package struct LedgerWorld: Sendable {
    static let rowBytes = 8
    static let numericClass = NumericClass(hash: 0xDE1A)
    /// How long a sender waits for an answer, at first; twice as long after each that did not come in time, or a slow
    /// way would be filled with what is sent again.
    static let patience = TimeSpan.milliseconds(30)
    static let reconcileEvery = TimeSpan.milliseconds(5)
    static let timeMax = Instant.zero + .seconds(20)

    enum Occurrence: Sendable {
        case fault(Int)
        case reconcile
        case compute(Address)
        /// Rows reach the memory.
        case write(Address, Write)
        case begin(Int)
        case chunk(Int, Int)
        case end(Int)
        case cut(Int)
        case answer(Address, FlightID, Answer)
        case patience(Address, FlightID)
        case resume(Address, StoreID, SequenceID)
        case granted(Address, StoreID, Ticket)
        case revoked(Address, StoreID, SequenceID)
        case lowered(Address, StoreID, SequenceID, LayerRange, Int)
        case released(Address, SequenceID)
        case linkLost(Address, StoreID)
        case linkOpened(Address, StoreID)
        case writerGone(Address, Incarnation)
        case restart(Int)
    }

    /// A store in one of its lives.
    struct Address: Hashable, Sendable {
        let store: Int
        let generation: UInt64
    }

    enum Answer: Hashable, Sendable {
        case acknowledged(Int)
        case gap(Int)
        case refused(Refusal)
    }

    package let scenario: LedgerScenario
    package internal(set) var now = Instant.zero
    /// What went wrong, first thing first; the run ends at the first.
    package internal(set) var violations: [String] = []
    /// What happened, in words, if asked for.
    package internal(set) var story: [String] = []
    package internal(set) var eventCount = 0
    package internal(set) var coverage = Coverage()

    let tellsStory: Bool
    var queue = EventQueue<Occurrence>()
    var random: SeededGenerator
    var stores: [Node]
    var transfers: [Transfer] = []
    var incarnationCount: UInt64 = 0
    var ticketCount: UInt64 = 0
    var tenancyCount: UInt64 = 0
    /// Until when each route lets nothing through.
    var partitionedUntil: [Instant]
    /// When the last frame of each route that keeps order arrives.
    var arrivalOf: [Instant]
    var isOver = false

    package init(_ scenario: LedgerScenario, tellsStory: Bool = false) {
        self.scenario = scenario
        self.tellsStory = tellsStory
        random = SeededGenerator(seed: scenario.seed ^ 0x5EED_1ED6)
        partitionedUntil = [Instant](repeating: .zero, count: scenario.routes.count)
        arrivalOf = partitionedUntil
        stores = []
        for index in scenario.stores.indices { stores.append(makeNode(index, generation: 0)) }
        for (index, fault) in scenario.faults.enumerated() { queue.push(.fault(index), at: fault.at) }
        for life in scenario.lives {
            guard let at = life.releasedAt else { continue }
            for store in scenario.stores.indices {
                let late = TimeSpan.microseconds(Int64(random.next(below: 5000)))
                queue.push(.released(Address(store: store, generation: .max), life.id), at: at + late)
            }
        }
        queue.push(.reconcile, at: .zero)
    }

    var isCalm: Bool { now >= scenario.calmAt }

    /// Runs until everything that can be held is held, or something is wrong.
    package mutating func run() {
        while violations.isEmpty, !isOver, let entry = queue.pop() {
            now = max(now, entry.at)
            guard now <= Self.timeMax else {
                violations.append("not every subscription has caught up after \(now): \(laggards)")
                return
            }
            eventCount += 1
            perform(entry.element)
            if eventCount % 128 == 0 { checkAll() }
        }
        if violations.isEmpty { checkAll() }
        if violations.isEmpty, !isOver { violations.append("nothing is left to happen: \(laggards)") }
    }

    private mutating func perform(_ occurrence: Occurrence) {
        switch occurrence {
        case .fault(let index): strike(scenario.faults[index].fault)
        case .reconcile: reconcile()
        case .restart(let store): restart(store)
        case .begin(let transfer): begin(transfer)
        case .chunk(let transfer, let index): takeChunk(transfer, index)
        case .end(let transfer): endTransfer(transfer)
        case .cut(let transfer): cutTransfer(transfer)
        case .compute(let at): if isThere(at) { compute(at.store) }
        case .write(let at, let write): if isThere(at) { apply(write, at.store) }
        case .answer(let at, let flight, let answer): if isThere(at) { take(answer, of: flight, at.store) }
        case .patience(let at, let flight):
            guard isThere(at), stores[at.store].book.flight(flight) != nil else { return }
            stores[at.store].patienceFactor = min(16, 2 * stores[at.store].patienceFactor)
            stores[at.store].book.giveBack(flight)
            pump(at.store)
        case .resume(let at, let destination, let sequence):
            guard isThere(at) else { return }
            stores[at.store].book.resume(destination, sequence)
            pump(at.store)
        case .granted(let at, let destination, let ticket): if isThere(at) { granted(ticket, destination, at.store) }
        case .revoked(let at, let destination, let sequence):
            if isThere(at) { stores[at.store].book.revoke(sequence, by: destination) }
        case .lowered(let at, let destination, let sequence, let layers, let mark):
            guard isThere(at) else { return }
            stores[at.store].book.destinationLowered(destination, sequence, layers: layers, to: mark)
            pump(at.store)
        case .released(let at, let sequence):
            if at.generation == .max || isThere(at) { release(sequence, at.store, "its time is over") }
        case .linkLost(let at, let destination):
            guard isThere(at) else { return }
            stores[at.store].book.linkLost(destination)
        case .linkOpened(let at, let destination):
            guard isThere(at) else { return }
            stores[at.store].book.linkOpened(destination)
            pump(at.store)
        case .writerGone(let at, let writer): if isThere(at) { writerGone(writer, at.store) }
        }
    }

    func isThere(_ address: Address) -> Bool {
        stores[address.store].isAlive && stores[address.store].generation == address.generation
    }

    mutating func tell(_ line: @autoclosure () -> String) {
        if tellsStory { story.append("\(now) \(line())") }
    }

    mutating func fail(_ violation: String) {
        tell("VIOLATION: \(violation)")
        violations.append(violation)
    }

    /// One way over a route.
    mutating func delay() -> TimeSpan {
        scenario.latency + TimeSpan(nanoseconds: Int64(random.next(below: Int(scenario.jitter.nanoseconds) + 1)))
    }

    /// Whether something of the weather happens now.
    mutating func strikes(_ probability: Double) -> Bool { !isCalm && random.chance(probability) }
}
