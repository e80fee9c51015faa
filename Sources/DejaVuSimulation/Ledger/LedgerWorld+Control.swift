import DejaVuCore
import DejaVuKV

/// What a controller does: opens sequences, gives tickets, releases; and the engines of the stores that compute.
extension LedgerWorld {
    /// Brings the world nearer to what it should be: every living sequence open in every store, every upstream with a
    /// ticket.
    mutating func reconcile() {
        for store in stores.indices where stores[store].isAlive {
            for life in scenario.lives where isWanted(life) {
                if stores[store].openTenancy(of: life.id) == nil { open(life, at: store) }
                guard stores[store].openTenancy(of: life.id) != nil else { continue }
                for (index, route) in scenario.routes.enumerated() where route.to == store {
                    provide(life.id, index, at: store)
                }
            }
            stores[store].wantsRenewal = false
        }
        if isCalm, isSettled {
            isOver = true
            return
        }
        queue.push(.reconcile, at: now + Self.reconcileEvery)
    }

    func isWanted(_ life: LedgerScenario.Life) -> Bool {
        now >= life.arrivesAt && (life.releasedAt.map { now < $0 } ?? true)
    }

    private func upstreams(of store: Int) -> Int { scenario.routes.count { $0.to == store } }

    private mutating func open(_ life: LedgerScenario.Life, at store: Int) {
        guard let slot = stores[store].slots.firstIndex(where: { $0.tenant == 0 }) else { return }
        let node = stores[store]
        // With several upstreams the first ticket is the store's own, and they get shares.
        let route = scenario.routes.firstIndex { $0.to == store }
        let isShared = upstreams(of: store) != 1
        let writer = route.map { stores[scenario.routes[$0].from].incarnation }
        ticketCount += 1
        let ticket = Ticket(
            number: ticketCount, sequence: life.id, layers: node.layers, positionLimit: life.length,
            writer: isShared ? node.incarnation : writer ?? node.incarnation)
        let known = scenario.stores[store].computes ? life.length : random.next(in: 0...life.length)
        do throws(DejaVuError) {
            try stores[store].ledger.open(ticket, tokens: Self.tokens(life.id, 0..<known))
            try stores[store].book.sourceRaised(life.id, layers: node.layers, to: 0)
        } catch {
            fail("store \(store): cannot open \(life.id): \(error)")
            return
        }
        tell("store \(store): opens \(life.id) in slot \(slot) under ticket \(ticket.number)")
        tenancyCount += 1
        stores[store].slots[slot].tenant = tenancyCount
        stores[store].tenancies.append(
            Tenancy(
                id: tenancyCount, number: ticket.number, sequence: life.id, slot: slot, length: life.length,
                marks: [Int](repeating: 0, count: node.layers.count)))
        if !isShared, let route { stores[store].upstreamTickets.append((route, ticket)) }
    }

    /// Makes sure that an upstream has an open ticket of its own incarnation.
    private mutating func provide(_ sequence: SequenceID, _ index: Int, at store: Int) {
        let route = scenario.routes[index]
        guard stores[route.from].isAlive else { return }
        let writer = stores[route.from].incarnation
        let place = stores[store].upstreamTickets.firstIndex {
            $0.route == index && $0.ticket.sequence == sequence
        }
        let old = place.map { stores[store].upstreamTickets[$0].ticket }
        var ticket = old
        if old == nil || old?.writer != writer || stores[store].wantsRenewal {
            ticket = renew(sequence, index, old, writer, at: store)
        }
        let destination = StoreID(UInt64(store))
        guard let ticket, stores[route.from].book.ticket(for: sequence, by: destination) != ticket else { return }
        let at = Address(store: route.from, generation: stores[route.from].generation)
        queue.push(.granted(at, destination, ticket), at: now + delay())
    }

    private mutating func renew(
        _ sequence: SequenceID, _ index: Int, _ old: Ticket?, _ writer: Incarnation, at store: Int
    ) -> Ticket? {
        guard let tenancy = stores[store].openTenancy(of: sequence) else { return nil }
        let length = stores[store].tenancies[tenancy].length
        let isShared = upstreams(of: store) != 1
        ticketCount += 1
        let ticket = Ticket(
            number: ticketCount, sequence: sequence,
            layers: isShared ? scenario.routes[index].layers : stores[store].layers, positionLimit: length,
            writer: writer)
        tell("store \(store): gives \(writer) ticket \(ticket.number) for \(sequence)")
        coverage.renewed += old == nil ? 0 : 1
        var settled = Settlement()
        do throws(DejaVuError) {
            if isShared {
                if let old { settled = stores[store].ledger.withdraw(old.number, of: sequence) }
                try stores[store].ledger.share(ticket)
            } else {
                settled = try stores[store].ledger.renew(ticket)
                stores[store].tenancies[tenancy].number = ticket.number
            }
        } catch {
            fail("store \(store): cannot give ticket \(ticket.number): \(error)")
            return nil
        }
        stores[store].upstreamTickets.removeAll { $0.route == index && $0.ticket.sequence == sequence }
        stores[store].upstreamTickets.append((index, ticket))
        absorb(settled, at: store)
        settle(store)
        return ticket
    }

    mutating func granted(_ ticket: Ticket, _ destination: StoreID, _ store: Int) {
        do throws(DejaVuError) {
            try stores[store].book.grant(ticket, by: destination)
        } catch {
            fail("store \(store): its book refuses a ticket: \(error)")
        }
        pump(store)
    }

    mutating func release(_ sequence: SequenceID, _ store: Int, _ why: String) {
        guard stores[store].isAlive, let index = stores[store].openTenancy(of: sequence) else { return }
        guard let settled = stores[store].ledger.release(sequence) else {
            fail("store \(store): \(sequence) is open, but its ledger does not know it")
            return
        }
        tell("store \(store): releases \(sequence): \(why)\(settled.quiet.isEmpty ? ", not quiet yet" : "")")
        if settled.quiet.isEmpty { coverage.drained += 1 }
        stores[store].tenancies[index].isOpen = false
        stores[store].book.sourceReleased(sequence)
        stores[store].upstreamTickets.removeAll { $0.ticket.sequence == sequence }
        absorb(settled, at: store)
        for route in scenario.routes where route.to == store {
            let at = Address(store: route.from, generation: stores[route.from].generation)
            queue.push(.revoked(at, StoreID(UInt64(store)), sequence), at: now + delay())
        }
        settle(store)
    }

    /// What a store kept turned out bad: its own watermark falls, and its upstreams and its book hear of it.
    mutating func lower(_ sequence: SequenceID, _ layer: Int, to mark: Int, at store: Int) {
        let layers = LayerRange(layer, layer + 1)
        let (report, settled) = stores[store].ledger.lower(sequence, layers: layers, to: mark)
        tell("store \(store): \(sequence) layer \(layer) is bad: its watermark falls to \(mark)")
        coverage.lowered += 1
        for lowering in report {
            stores[store].book.sourceLowered(sequence, layers: lowering.layers, to: lowering.to)
            if let index = stores[store].openTenancy(of: sequence) {
                let offset = stores[store].layers.first
                for layer in lowering.layers.indices {
                    stores[store].tenancies[index].marks[layer - offset] = lowering.to
                }
                let length = stores[store].tenancies[index].length
                stores[store].tenancies[index].rotten.removeAll {
                    $0 / length + offset == layer && $0 % length >= mark
                }
            }
        }
        absorb(settled, at: store)
        for route in scenario.routes where route.to == store {
            let at = Address(store: route.from, generation: stores[route.from].generation)
            queue.push(.lowered(at, StoreID(UInt64(store)), sequence, layers, mark), at: now + delay())
        }
    }

    // MARK: Computing

    /// One pass of a store's own engine for each sequence: some rows from the watermark on, or from a little below it.
    mutating func compute(_ store: Int) {
        let at = Address(store: store, generation: stores[store].generation)
        queue.push(.compute(at), at: now + .microseconds(Int64(random.next(in: 200...4000))))
        for sequence in stores[store].ledger.sequences where random.chance(0.8) {
            guard let index = stores[store].openTenancy(of: sequence) else { continue }
            let tenancy = stores[store].tenancies[index]
            let layers = somePart(of: stores[store].layers)
            let watermark = stores[store].ledger.watermark(of: sequence, layers: layers)
            // Now and then one that would read a row that is not there yet.
            let isAhead = random.chance(0.05)
            let first = isAhead ? watermark + 1 : max(0, watermark - random.next(below: 3))
            let end = min(tenancy.length, watermark + random.next(in: 1...5))
            guard first < end else { continue }
            let span = Span(sequence: sequence, layers: layers, positions: first..<end)
            let admission = stores[store].ledger.admitLocal(span, tokens: Self.tokens(sequence, first..<end))
            guard case .land(let arrival) = admission else {
                if case .refused(let refusal, _) = admission { coverage.count(refusal) }
                if case .gap = admission, !isAhead { fail("store \(store): a pass at the watermark met a gap") }
                continue
            }
            guard !isAhead else {
                fail("store \(store): a pass above the watermark was admitted: \(span)")
                return
            }
            tell("store \(store): computes \(span) as \(arrival.id)")
            stores[store].incoming.append(
                Incoming(
                    transfer: nil, writer: stores[store].incarnation, arrival: arrival, tenancy: tenancy.id))
            for layer in layers.indices {
                guard let place = stores[store].incoming.firstIndex(where: { $0.arrival.id == arrival.id }) else {
                    break
                }
                write(
                    (first..<end).map { (layer, $0, Self.truth(sequence, layer, $0)) }, for: place, at: store)
            }
            guard let place = stores[store].incoming.firstIndex(where: { $0.arrival.id == arrival.id }) else {
                continue
            }
            if strikes(0.03) {
                stores[store].incoming[place].isCut = true
            } else {
                stores[store].incoming[place].hasEnded = true
            }
            endIfDone(arrival.id, store)
        }
    }

    private mutating func somePart(of layers: LayerRange) -> LayerRange {
        guard random.chance(0.5) else { return layers }
        let first = random.next(in: layers.first...layers.end - 1)
        return LayerRange(first, random.next(in: first + 1...layers.end))
    }
}
