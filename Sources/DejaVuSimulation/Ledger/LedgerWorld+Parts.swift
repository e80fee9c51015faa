import DejaVuCore
import DejaVuKV

/// What the world consists of.
extension LedgerWorld {
    /// A store: the real ledger and book, and a memory of one number for each row.
    struct Node: Sendable {
        let layers: LayerRange
        var generation: UInt64
        var incarnation: Incarnation
        var isAlive = true
        var ledger: Ledger
        var book: SubscriptionBook
        /// Pieces of memory; 0 in `tenant` is free. They keep their rows when they change hands.
        var slots: [Slot]
        /// Open and draining.
        var tenancies: [Tenancy] = []
        var incoming: [Incoming] = []
        /// Arrivals that are whole, and the transfers to be answered when they are settled.
        var waiting: [(arrival: ArrivalID, transfer: Int)] = []
        /// The ticket that each upstream has.
        var upstreamTickets: [(route: Int, ticket: Ticket)] = []
        var patienceFactor: Int64 = 1
        /// Asked to give every ticket anew.
        var wantsRenewal = false
    }

    struct Slot: Sendable {
        var tenant: UInt64 = 0
        var rows: [UInt64]
    }

    /// A sequence's use of a slot, from open to quiet.
    struct Tenancy: Sendable {
        let id: UInt64
        /// The ticket that names the memory; changes when it is renewed.
        var number: UInt64
        let sequence: SequenceID
        let slot: Int
        let length: Int
        var isOpen = true
        /// The watermarks as last seen, by layer.
        var marks: [Int]
        /// Rows that have gone bad since they were committed, not yet found.
        var rotten: [Int] = []
    }

    /// A frame on its way. A duplicate is another one.
    struct Transfer: Sendable {
        let route: Int
        let from: Address
        let flight: FlightID
        let header: FrameHeader
        var rows: [UInt64]
        var checksum: UInt64
        let chunkCount: Int
    }

    /// A frame that lands, or a pass of the store's own engine.
    struct Incoming: Sendable {
        /// nil for a pass.
        let transfer: Int?
        let writer: Incarnation
        let arrival: Arrival
        let tenancy: UInt64
        var rowsTaken = 0
        var checksum: UInt64 = 0
        var pendingWrites = 0
        /// All has come, and it is to be finished when the last write is done.
        var hasEnded = false
        /// It is given up, and is to be abandoned when the last write is done.
        var isCut = false
    }

    struct Write: Sendable {
        let arrival: ArrivalID
        let tenancy: UInt64
        let slot: Int
        let rows: [(layer: Int, position: Int, value: UInt64)]
    }

    /// What the seeds have reached.
    package struct Coverage: Hashable, Sendable {
        package internal(set) var landed = 0
        package internal(set) var committed = 0
        package internal(set) var waited = 0
        package internal(set) var known = 0
        package internal(set) var gaps = 0
        package internal(set) var partial = 0
        package internal(set) var swallowed = 0
        package internal(set) var lowered = 0
        package internal(set) var drained = 0
        package internal(set) var renewed = 0
        package internal(set) var crashes = 0
        package internal(set) var faultsReported = 0
        /// By `Refusal.allCases`.
        package internal(set) var refusals = [Int](repeating: 0, count: Refusal.allCases.count)

        package static func += (left: inout Coverage, right: Coverage) {
            left.landed += right.landed
            left.committed += right.committed
            left.waited += right.waited
            left.known += right.known
            left.gaps += right.gaps
            left.partial += right.partial
            left.swallowed += right.swallowed
            left.lowered += right.lowered
            left.drained += right.drained
            left.renewed += right.renewed
            left.crashes += right.crashes
            left.faultsReported += right.faultsReported
            for index in left.refusals.indices { left.refusals[index] += right.refusals[index] }
        }

        mutating func count(_ refusal: Refusal) {
            for (index, each) in Refusal.allCases.enumerated() where each == refusal { refusals[index] += 1 }
        }

        /// The names of what was never reached.
        package var missing: [String] {
            var names: [String] = []
            for (name, count) in [
                ("landed", landed), ("committed", committed), ("waited", waited), ("known", known), ("gaps", gaps),
                ("partial", partial), ("swallowed", swallowed), ("lowered", lowered), ("drained", drained),
                ("renewed", renewed), ("crashes", crashes), ("faults reported", faultsReported),
            ] where count == 0 { names.append(name) }
            // An arrival that ended twice is a mistake that no store of this world makes.
            for (index, refusal) in Refusal.allCases.enumerated() where refusals[index] == 0 && refusal != .ended {
                names.append(refusal.rawValue)
            }
            return names
        }
    }

    /// What a row must be.
    static func truth(_ sequence: SequenceID, _ layer: Int, _ position: Int) -> UInt64 {
        mix64(sequence.rawValue &<< 40 ^ UInt64(layer) &<< 20 ^ UInt64(position) &+ 0x7124_7700_0000_0000)
    }

    static func token(_ sequence: SequenceID, _ position: Int) -> TokenID {
        TokenID(truncatingIfNeeded: mix64(sequence.rawValue &* 1000 &+ UInt64(position)) >> 40)
    }

    static func tokens(_ sequence: SequenceID, _ positions: Range<Int>) -> [TokenID] {
        positions.map { token(sequence, $0) }
    }

    static func checksum(_ running: UInt64, _ row: UInt64) -> UInt64 { mix64(running &+ row) }

    mutating func makeNode(_ index: Int, generation: UInt64) -> Node {
        incarnationCount += 1
        let layers = scenario.stores[index].layers
        var limits = LedgerLimits()
        limits.sequencesMax = scenario.lives.count + 2
        limits.arrivalsMax = 12
        limits.arrivalsPerSequenceMax = 6
        limits.peersMax = 2
        var bookLimits = SubscriptionLimits()
        bookLimits.frameBytesMax = scenario.frameRowsMax * Self.rowBytes
        bookLimits.bytesInFlightMax = bookLimits.frameBytesMax * 4
        bookLimits.flightsMax = 6
        var node = Node(
            layers: layers, generation: generation, incarnation: Incarnation(incarnationCount),
            ledger: Ledger(
                layers: layers, rowBytes: Self.rowBytes, numericClass: Self.numericClass, limits: limits),
            book: SubscriptionBook(layers: layers, rowBytes: Self.rowBytes, limits: bookLimits),
            slots: [])
        let rowCount = (scenario.lives.map(\.length).max() ?? 1) * layers.count
        node.slots = (0...scenario.lives.count).map { _ in Slot(rows: [UInt64](repeating: 0, count: rowCount)) }
        for (number, route) in scenario.routes.enumerated() where route.from == index {
            do throws(DejaVuError) {
                try node.book.subscribe(
                    Subscription(
                        id: SubscriptionID(UInt64(number + 1)), destination: StoreID(UInt64(route.to)),
                        layers: route.layers, priority: route.priority))
            } catch {
                violations.append("the subscription \(number) was refused: \(error)")
            }
        }
        let at = Address(store: index, generation: generation)
        if scenario.stores[index].computes { queue.push(.compute(at), at: now + .milliseconds(1)) }
        return node
    }
}

extension LedgerWorld.Node {
    func tenancy(_ id: UInt64) -> Int? { tenancies.firstIndex { $0.id == id } }
    func openTenancy(of sequence: SequenceID) -> Int? {
        tenancies.firstIndex { $0.isOpen && $0.sequence == sequence }
    }

    /// Where a row lies within its slot.
    func place(_ layer: Int, _ position: Int, length: Int) -> Int { (layer - layers.first) * length + position }
}
