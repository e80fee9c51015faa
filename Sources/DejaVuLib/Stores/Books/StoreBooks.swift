import DejaVuCore
import DejaVuKV

/// What each store of ours keeps under its lock: the ledger, who waits for its decisions, and who is using memory.
///
/// The ledger knows when nobody writes a released sequence any more; here readers are counted, too, so that a place is
/// given away only when nobody touches it. `Place` is whatever a store keeps for a ticket.
struct StoreBooks<Place: Sendable>: Sendable {
    typealias Outcome = Result<Int, DejaVuError>

    /// The memory of one sequence. Used under the store's lock alone.
    private struct Tenant {
        let sequence: SequenceID
        var place: Place
        var readers = 0
        var isQuiet = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private struct Use {
        let span: Span
        let isEngine: Bool
        /// Copies that are under way for it.
        var copies = 0
        /// To be abandoned when the copy ends.
        var isDead = false
        var outcome: Outcome?
        var waiter: CheckedContinuation<Outcome, Never>?
    }

    /// What is to be done once the lock is free.
    struct Followup {
        var outcomes: [(CheckedContinuation<Outcome, Never>, Outcome)] = []
        var released: [CheckedContinuation<Void, Never>] = []
        var events: [StoreEvent] = []
        /// Places that nobody uses any more. The store puts them back under its lock, before it resumes others.
        var freed: [Place] = []
        /// Arrivals that the ledger has decided about.
        var ended: [(arrival: ArrivalID, isCommitted: Bool)] = []

        func resume(_ report: (StoreEvent) -> Void) {
            for event in events { report(event) }
            for (waiter, outcome) in outcomes { waiter.resume(returning: outcome) }
            for waiter in released { waiter.resume() }
        }
    }

    private(set) var ledger: Ledger
    /// By tenancy.
    private var tenants: [Int: Tenant] = [:]
    private var tenancies = 0
    /// Which memory a ticket writes to.
    private var tenancyOfTicket: [UInt64: Int] = [:]
    private var uses: [ArrivalID: Use] = [:]

    init(_ ledger: Ledger) { self.ledger = ledger }

    // MARK: Tickets

    mutating func open(_ ticket: Ticket, tokens: [TokenID], place: Place) throws(DejaVuError) {
        try ledger.open(ticket, tokens: tokens)
        tenancies += 1
        tenants[tenancies] = Tenant(sequence: ticket.sequence, place: place)
        tenancyOfTicket[ticket.number] = tenancies
    }

    mutating func renew(_ ticket: Ticket, _ followup: inout Followup) throws(DejaVuError) {
        let old = ledger.ticket(of: ticket.sequence)
        let settled = try ledger.renew(ticket)
        guard let old, let tenancy = tenancyOfTicket.removeValue(forKey: old.number) else {
            preconditionFailure("\(ticket.sequence) is open without a place")
        }
        tenancyOfTicket[ticket.number] = tenancy
        settle(settled, &followup)
        // Nothing of the old ticket can commit; whoever is not in the middle of a copy has written his last.
        abandonIdle(of: ticket.sequence, &followup)
    }

    mutating func tell(
        _ tokens: [TokenID], at first: Int, of sequence: SequenceID, _ followup: inout Followup
    ) throws(DejaVuError) {
        settle(try ledger.tell(tokens, at: first, of: sequence), &followup)
    }

    mutating func recover(_ sequence: SequenceID, layers: LayerRange, to end: Int) {
        ledger.recover(sequence, layers: layers, to: end)
    }

    mutating func lower(
        _ sequence: SequenceID, layers: LayerRange, to end: Int, because error: DejaVuError,
        _ followup: inout Followup
    ) {
        let (report, settled) = ledger.lower(sequence, layers: layers, to: end)
        followup.events += report.map { .lowered($0, error) }
        settle(settled, &followup)
    }

    /// Revokes the ticket. The place is among the freed ones of this call, or of the one that ends its last use.
    ///
    /// - Returns: whether it is in use still.
    mutating func release(_ sequence: SequenceID, _ followup: inout Followup) -> Bool {
        if let settled = ledger.release(sequence) {
            settle(settled, &followup)
            abandonIdle(of: sequence, &followup)
        }
        return tenants.values.contains { $0.sequence == sequence && ledger.ticket(of: sequence) == nil }
    }

    /// Registers who waits until a released sequence's place is free; he is resumed at once if it is.
    mutating func awaitRelease(
        of sequence: SequenceID, _ waiter: CheckedContinuation<Void, Never>, _ followup: inout Followup
    ) {
        for key in tenants.keys where tenants[key]?.sequence == sequence && !isOpen(key) {
            tenants[key]?.waiters.append(waiter)
            return
        }
        followup.released.append(waiter)
    }

    private func isOpen(_ tenancy: Int) -> Bool {
        guard let sequence = tenants[tenancy]?.sequence, let ticket = ledger.ticket(of: sequence) else { return false }
        return tenancyOfTicket[ticket.number] == tenancy
    }

    func place(of sequence: SequenceID) -> Place? {
        ledger.ticket(of: sequence).flatMap { tenancyOfTicket[$0.number] }.flatMap { tenants[$0]?.place }
    }

    // MARK: Reading

    /// Holds the memory of a committed span in place until `unpin`.
    mutating func pin(_ span: Span) throws(DejaVuError) -> (tenancy: Int, place: Place) {
        guard ledger.mayRead(span), let ticket = ledger.ticket(of: span.sequence),
            let tenancy = tenancyOfTicket[ticket.number], let place = tenants[tenancy]?.place
        else {
            let watermark = ledger.watermark(of: span.sequence, layers: span.layers)
            throw DejaVuError(.notFound, "\(span) is not here, only \(watermark) positions are")
        }
        tenants[tenancy]?.readers += 1
        return (tenancy, place)
    }

    mutating func unpin(_ tenancy: Int, _ followup: inout Followup) {
        tenants[tenancy]?.readers -= 1
        freeIfUnused(tenancy, &followup)
    }

    // MARK: Landing

    /// - Returns: the arrival and its place, or the answer that needs no bytes.
    mutating func admit(
        _ header: FrameHeader, at now: Instant, _ followup: inout Followup
    ) throws(DejaVuError) -> BooksAdmission<Place> {
        let admission = ledger.admit(header, at: now)
        return try note(admission, of: header.span, isEngine: false, &followup)
    }

    mutating func admitLocal(_ span: Span, tokens: [TokenID]) throws(DejaVuError) -> BooksAdmission<Place> {
        var followup = Followup()
        return try note(ledger.admitLocal(span, tokens: tokens), of: span, isEngine: true, &followup)
    }

    private mutating func note(
        _ admission: Admission, of span: Span, isEngine: Bool, _ followup: inout Followup
    ) throws(DejaVuError) -> BooksAdmission<Place> {
        switch admission {
        case .land(let arrival):
            guard let tenancy = tenancyOfTicket[arrival.ticket], let place = tenants[tenancy]?.place else {
                preconditionFailure("\(span.sequence) is open without a place")
            }
            uses[arrival.id] = Use(span: span, isEngine: isEngine)
            return .land(arrival, place)
        case .known(let watermark): return .known(watermark)
        case .gap(let watermark): return .gap(watermark)
        case .refused(let refusal, let fault):
            if let fault { followup.events.append(.peerFault(fault)) }
            throw refusal.error(span)
        }
    }

    /// Asks for leave to copy so many bytes for an arrival into its place; `endCopy` must follow a `write`.
    mutating func beginCopy(_ id: ArrivalID, bytes: Int) -> ChunkLeave {
        let leave = take(id, bytes: bytes)
        if leave == .write { uses[id]?.copies += 1 }
        return leave
    }

    /// Asks for leave to write so many bytes where nobody else ever writes: they need not end before the arrival does.
    mutating func take(_ id: ArrivalID, bytes: Int) -> ChunkLeave {
        uses[id] == nil ? .swallow : ledger.take(id, bytes: bytes)
    }

    mutating func endCopy(_ id: ArrivalID, _ followup: inout Followup) {
        uses[id]?.copies -= 1
        if let use = uses[id], use.isDead, use.copies == 0 { abandon(id, &followup) }
    }

    /// - Returns: the outcome, or nil if it waits for the frame before it: then `awaitOutcome`.
    mutating func finish(_ id: ArrivalID, intact: Bool, at now: Instant, _ followup: inout Followup) -> Outcome? {
        guard let use = uses[id] else { return .failure(DejaVuError(.refused, "the ticket was revoked")) }
        precondition(use.copies == 0, "an arrival ends while it is being written")
        let (completion, settled) = ledger.finish(id, intact: intact, at: now)
        settle(settled, &followup)
        guard let outcome = Self.outcome(completion, use.span) else { return nil }
        uses[id] = nil
        if case .success = outcome {
            followup.ended.append((id, true))
        } else {
            followup.ended.append((id, false))
        }
        return outcome
    }

    mutating func awaitOutcome(
        _ id: ArrivalID, _ waiter: CheckedContinuation<Outcome, Never>, _ followup: inout Followup
    ) {
        guard var use = uses[id] else {
            followup.outcomes.append((waiter, .failure(DejaVuError(.cancelled, "the frame was given up"))))
            return
        }
        if let outcome = use.outcome {
            uses[id] = nil
            followup.outcomes.append((waiter, outcome))
        } else {
            use.waiter = waiter
            uses[id] = use
        }
    }

    /// Gives an arrival up; at the end of the copy that is under way, if there is one. No effect on one that has ended.
    mutating func abandon(_ id: ArrivalID, _ followup: inout Followup) {
        guard let use = uses[id] else { return }
        if use.copies > 0 {
            uses[id]?.isDead = true
            return
        }
        uses[id] = nil
        if use.outcome == nil { followup.ended.append((id, false)) }
        if let waiter = use.waiter {
            followup.outcomes.append((waiter, .failure(DejaVuError(.cancelled, "the frame was given up"))))
        }
        settle(ledger.abandon(id), &followup)
    }

    private mutating func abandonIdle(of sequence: SequenceID, _ followup: inout Followup) {
        for (id, use) in uses where use.span.sequence == sequence && !use.isEngine && use.waiter == nil {
            guard use.outcome == nil else { continue }
            abandon(id, &followup)
        }
    }

    private mutating func settle(_ settled: Settlement, _ followup: inout Followup) {
        for ended in settled.ended {
            guard var use = uses[ended.arrival], let outcome = Self.outcome(ended.completion, use.span) else {
                continue
            }
            if case .success = outcome {
                followup.ended.append((ended.arrival, true))
            } else {
                followup.ended.append((ended.arrival, false))
            }
            if let waiter = use.waiter {
                uses[ended.arrival] = nil
                followup.outcomes.append((waiter, outcome))
            } else {
                use.outcome = outcome
                uses[ended.arrival] = use
            }
        }
        if let fault = settled.fault { followup.events.append(.peerFault(fault)) }
        for ticket in settled.quiet {
            guard let tenancy = tenancyOfTicket.removeValue(forKey: ticket) else { continue }
            tenants[tenancy]?.isQuiet = true
            freeIfUnused(tenancy, &followup)
        }
    }

    private mutating func freeIfUnused(_ tenancy: Int, _ followup: inout Followup) {
        guard let tenant = tenants[tenancy], tenant.isQuiet, tenant.readers == 0 else { return }
        tenants[tenancy] = nil
        followup.freed.append(tenant.place)
        followup.released += tenant.waiters
    }

    private static func outcome(_ completion: Completion, _ span: Span) -> Outcome? {
        switch completion {
        case .committed(let watermark): .success(watermark)
        case .waiting: nil
        case .refused(let refusal, _): .failure(refusal.error(span))
        }
    }

    func checkIntegrity() {
        ledger.checkIntegrity()
        for sequence in ledger.sequences { precondition(place(of: sequence) != nil, "\(sequence) has no place") }
        precondition(uses.values.allSatisfy { $0.outcome == nil || $0.waiter == nil }, "an outcome nobody was told")
    }
}

/// `Admission` with the place that the frame goes to.
enum BooksAdmission<Place: Sendable>: Sendable {
    case land(Arrival, Place)
    case known(Int)
    case gap(Int)
}
