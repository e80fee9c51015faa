import DejaVuControl
import DejaVuCore
import DejaVuKV

/// How a stage's rows get to the holder of its replica: the source's book, the holder's ledger, and a link that loses
/// what is on it when it breaks.
extension World {
    /// How long the second half of a frame takes to arrive, and how long a source waits before it connects again.
    private static let landingTime = TimeSpan.microseconds(700)
    private static let retryDelay = TimeSpan.milliseconds(150)

    // MARK: The source

    mutating func replicate(
        _ slot: Int, _ id: EngineID, _ sequence: SequenceID, _ ticket: Ticket, to target: StoreAddress
    ) {
        guard let stage = processes[slot].stage(id) else {
            return note("process \(slot) is to copy \(sequence), but has no stage")
        }
        let own = processes[slot].stages[stage].store.layers
        let watermark = processes[slot].stages[stage].store.engine.watermark(of: sequence)
        guard let layers = own.intersection(target.layers) else {
            return note("process \(slot) is to copy \(sequence) to cells of other layers")
        }
        let destination = processes[slot].stages[stage].destination(target)
        do throws(DejaVuError) {
            let known = processes[slot].stages[stage].book.subscriptions
            if !known.contains(where: { $0.destination == destination }) {
                try processes[slot].stages[stage].book.subscribe(
                    Subscription(
                        id: SubscriptionID(destination.rawValue), destination: destination,
                        layers: layers, priority: .replica))
            }
            try processes[slot].stages[stage].book.sourceRaised(sequence, layers: own, to: watermark)
            try processes[slot].stages[stage].book.grant(ticket, by: destination)
        } catch {
            return note("the book of process \(slot) refuses \(sequence): \(error)")
        }
        if !processes[slot].stages[stage].bulk.contains(where: { $0.target == target }) {
            connectBulk(slot, stage, target)
        }
        pump(slot, stage)
    }

    mutating func endReplication(_ slot: Int, _ id: EngineID, to target: StoreAddress) {
        guard let stage = processes[slot].stage(id) else { return }
        let destination = processes[slot].stages[stage].destination(target)
        processes[slot].stages[stage].book.unsubscribe(SubscriptionID(destination.rawValue))
        let links = processes[slot].stages[stage].bulk
        guard let index = links.firstIndex(where: { $0.target == target }) else { return }
        let link = processes[slot].stages[stage].bulk.remove(at: index)
        quieten(link, from: slot)
    }

    private mutating func connectBulk(_ slot: Int, _ stage: Int, _ target: StoreAddress, after wait: TimeSpan = .zero) {
        linkCount += 1
        processes[slot].stages[stage].bulk.append(BulkLink(target: target, serial: linkCount))
        queue.push(
            .bulkOpened(slot: slot, generation: processes[slot].generation, serial: linkCount),
            at: now + wait + delay())
    }

    mutating func bulkOpened(_ slot: Int, _ generation: UInt64, _ serial: UInt64) {
        guard processes[slot].alive, processes[slot].generation == generation,
            let (stage, index) = processes[slot].bulk(serial)
        else { return }
        let target = processes[slot].stages[stage].bulk[index].target
        guard living(target.peer.incarnation) != nil else {
            processes[slot].stages[stage].bulk.remove(at: index)
            return connectBulk(slot, stage, target, after: Self.retryDelay)
        }
        processes[slot].stages[stage].bulk[index].connected = true
        let destination = processes[slot].stages[stage].destination(target)
        processes[slot].stages[stage].book.linkOpened(destination)
        pump(slot, stage)
    }

    /// A pass has raised the stage's watermarks.
    mutating func rowsCommitted(_ slot: Int, _ stage: Int, _ pass: Pass) {
        passCommitted(pass, slot, stage)
        let layers = processes[slot].stages[stage].store.layers
        for entry in pass.entries {
            let watermark = processes[slot].stages[stage].store.engine.watermark(of: entry.sequence)
            do throws(DejaVuError) {
                try processes[slot].stages[stage].book.sourceRaised(entry.sequence, layers: layers, to: watermark)
            } catch {
                note("the book of process \(slot) refuses \(entry.sequence): \(error)")
            }
        }
        pump(slot, stage)
    }

    /// Sends what there is and what the limits let through.
    mutating func pump(_ slot: Int, _ stage: Int) {
        for index in processes[slot].stages[stage].bulk.indices
        where processes[slot].stages[stage].bulk[index].connected {
            let target = processes[slot].stages[stage].bulk[index].target
            let holder = target.peer.incarnation
            let destination = processes[slot].stages[stage].destination(target)
            while let dispatch = processes[slot].stages[stage].book.next(to: destination) {
                guard let receiver = living(holder),
                    let content = processes[slot].stages[stage].store.engine.read(dispatch.span)
                else {
                    processes[slot].stages[stage].book.giveBack(dispatch.flight)
                    if living(holder) != nil {
                        note("process \(slot) is to send rows that are not committed: \(dispatch.span)")
                    }
                    return
                }
                let frame = frame(
                    dispatch, content.rows, content.tokens, content.tokensHash, from: slot, to: target)
                let slow = now < processes[slot].bulkSlowUntil ? processes[slot].bulkDelay : .zero
                let at = max(now + delay() + slow, processes[slot].stages[stage].bulk[index].toHolder)
                processes[slot].stages[stage].bulk[index].toHolder = at
                queue.push(
                    .frame(
                        slot: receiver, generation: processes[receiver].generation, from: slot,
                        fromGeneration: processes[slot].generation,
                        serial: processes[slot].stages[stage].bulk[index].serial, frame), at: at)
            }
        }
    }

    private mutating func frame(
        _ dispatch: Dispatch, _ rows: [UInt64], _ tokens: [TokenID], _ hash: UInt64, from slot: Int,
        to target: StoreAddress
    ) -> SimulatedFrame {
        let header = FrameHeader(
            ticket: dispatch.ticket.number, writer: processes[slot].incarnation, span: dispatch.span,
            tokens: tokens, tokensHash: hash,
            numericClass: NumericClass(hash: 1), payloadBytes: dispatch.bytes)
        var rows = rows
        let intact = !processes[slot].corruptsNext
        if !intact { rows[0] ^= 1 }
        processes[slot].corruptsNext = false
        return SimulatedFrame(
            flight: dispatch.flight, target: target, header: header, rows: rows, intact: intact)
    }

    mutating func hear(
        _ answer: FrameAnswer, to flight: FlightID, _ slot: Int, _ generation: UInt64, _ serial: UInt64
    ) {
        guard processes[slot].alive, processes[slot].generation == generation,
            let (stage, _) = processes[slot].bulk(serial)
        else { return }
        switch answer {
        case .committed(let watermark): processes[slot].stages[stage].book.acknowledge(flight, watermark: watermark)
        case .gap(let watermark): processes[slot].stages[stage].book.gap(flight, watermark: watermark)
        case .failed: processes[slot].stages[stage].book.giveBack(flight)
        case .refused: processes[slot].stages[stage].book.refuse(flight)
        }
        pump(slot, stage)
    }

    // MARK: The holder

    mutating func receive(
        _ frame: SimulatedFrame, at slot: Int, _ generation: UInt64, from: Int, _ fromGeneration: UInt64,
        _ serial: UInt64
    ) {
        guard processes[slot].alive, processes[slot].generation == generation,
            isOpen(serial, from, fromGeneration)
        else { return }
        let span = frame.header.span
        guard let place = processes[slot].store(of: span.sequence, at: frame.target) else {
            return answer(.refused, to: frame.flight, from, fromGeneration, serial)
        }
        switch processes[slot][place].ledger.admit(frame.header, at: now) {
        case .land(let arrival):
            let landing = SimulatedStore.Landing(
                arrival: arrival, frame: frame, from: from, fromGeneration: fromGeneration, serial: serial)
            processes[slot][place].landings.append(landing)
            land(frame.rows.count / 2, of: arrival.id, slot, place)
            queue.push(
                .landed(slot: slot, generation: generation, arrival.id, flight: frame.flight, serial: serial),
                at: now + Self.landingTime)
        case .known(let watermark):
            answer(.committed(watermark: watermark), to: frame.flight, from, fromGeneration, serial)
        case .gap(let watermark): answer(.gap(watermark: watermark), to: frame.flight, from, fromGeneration, serial)
        case .refused(let reason, _):
            answer(reason.isPassing ? .failed : .refused, to: frame.flight, from, fromGeneration, serial)
        }
        processes[slot][place].ledger.checkIntegrity()
    }

    /// A link that a live process has not given up, or one whose process has ended: what was sent may still arrive.
    private func isOpen(_ serial: UInt64, _ from: Int, _ generation: UInt64) -> Bool {
        guard processes[from].alive, processes[from].generation == generation else { return true }
        return processes[from].bulk(serial) != nil
    }

    /// The next rows of a frame: written if the ledger still wants them.
    private mutating func land(
        _ count: Int, of id: ArrivalID, _ slot: Int, _ place: SimulatedProcess.StorePlace
    ) {
        guard let index = processes[slot][place].landings.firstIndex(where: { $0.arrival.id == id }) else { return }
        let landing = processes[slot][place].landings[index]
        let range = landing.taken..<(landing.taken + count)
        processes[slot][place].landings[index].taken = range.upperBound
        guard processes[slot][place].ledger.take(id, bytes: count * 8) == .write else { return }
        note(processes[slot][place].engine.land(landing.frame.rows, of: landing.arrival, places: range))
    }

    mutating func finishLanding(
        _ slot: Int, _ generation: UInt64, _ id: ArrivalID, _ flight: FlightID, _ serial: UInt64
    ) {
        guard processes[slot].alive, processes[slot].generation == generation else { return }
        let place = processes[slot].places.first { place in
            processes[slot][place].landings.contains {
                $0.arrival.id == id && $0.frame.flight == flight && $0.serial == serial
            }
        }
        guard let place else { return }
        guard let landing = processes[slot][place].landings.first(where: { $0.arrival.id == id }) else { return }
        land(landing.frame.rows.count - landing.taken, of: id, slot, place)
        let (completion, settled) = processes[slot][place].ledger.finish(id, intact: landing.frame.intact, at: now)
        landingEnded(id, completion, slot, place)
        settle(settled, slot, place)
    }

    mutating func landingEnded(
        _ id: ArrivalID, _ completion: Completion, _ slot: Int, _ place: SimulatedProcess.StorePlace
    ) {
        guard completion != .waiting,
            let index = processes[slot][place].landings.firstIndex(where: { $0.arrival.id == id })
        else { return }
        let landing = processes[slot][place].landings.remove(at: index)
        let header = landing.frame.header
        func answer(_ answer: FrameAnswer) {
            self.answer(answer, to: landing.frame.flight, landing.from, landing.fromGeneration, landing.serial)
        }
        switch completion {
        case .committed(let watermark):
            answer(.committed(watermark: watermark))
            let sequence = header.span.sequence
            let least = processes[slot][place].ledger.watermark(of: sequence, layers: processes[slot][place].layers)
            processes[slot][place].engine.commit(
                sequence, tokens: header.tokens, at: header.span.positions.lowerBound, watermark: least)
            let mark = SequenceMark(sequence: sequence, watermark: least)
            if let replica = processes[slot][place].replica {
                work(slot, .landed(replica, [mark]))
            } else if case .stage(let stage) = place {
                stageLanded(mark, slot, stage)
            }
        case .refused(let reason, _): answer(reason.isPassing ? .failed : .refused)
        case .waiting: break
        }
    }

    /// A prompt stage has brought rows. They are copied on as those of passes are.
    private mutating func stageLanded(_ mark: SequenceMark, _ slot: Int, _ stage: Int) {
        let id = processes[slot].stages[stage].id
        do throws(DejaVuError) {
            try processes[slot].stages[stage].book.sourceRaised(
                mark.sequence, layers: processes[slot].stages[stage].store.layers, to: mark.watermark)
        } catch {
            note("the book of process \(slot) refuses \(mark.sequence): \(error)")
        }
        pump(slot, stage)
        work(slot, .stageLanded(id, [mark]))
    }

    mutating func answer(
        _ answer: FrameAnswer, to flight: FlightID, _ source: Int, _ generation: UInt64, _ serial: UInt64
    ) {
        guard let (stage, index) = processes[source].bulk(serial) else { return }
        let at = max(now + delay(), processes[source].stages[stage].bulk[index].toSource)
        processes[source].stages[stage].bulk[index].toSource = at
        queue.push(.frameAnswer(slot: source, generation: generation, serial: serial, flight, answer), at: at)
    }

    // MARK: Broken links

    /// What is on the link is lost; the source connects again.
    mutating func cutBulk(_ slot: Int, _ serial: UInt64) {
        guard let (stage, index) = processes[slot].bulk(serial) else { return }
        let link = processes[slot].stages[stage].bulk.remove(at: index)
        quieten(link, from: slot)
        let destination = processes[slot].stages[stage].destination(link.target)
        processes[slot].stages[stage].book.linkLost(destination)
        connectBulk(slot, stage, link.target, after: Self.retryDelay)
    }

    /// The holder gives up what was landing over a link that is closed.
    mutating func quieten(_ link: BulkLink, from slot: Int) {
        guard let holder = living(link.holder) else { return }
        abandon(at: holder) { $0.serial == link.serial }
    }

    private mutating func abandon(at slot: Int, _ which: (SimulatedStore.Landing) -> Bool) {
        for place in processes[slot].places {
            for landing in processes[slot][place].landings where which(landing) {
                processes[slot][place].landings.removeAll { $0.arrival.id == landing.arrival.id }
                settle(processes[slot][place].ledger.abandon(landing.arrival.id), slot, place)
            }
        }
    }

    /// A process has ended: the links from it close, and those to it are to be made again.
    mutating func linksEnd(_ slot: Int, _ incarnation: Incarnation, quietly: Bool) {
        for stage in processes[slot].stages.indices { processes[slot].stages[stage].bulk.removeAll() }
        guard !quietly else { return }
        for other in processes.indices where processes[other].alive {
            abandon(at: other) { $0.from == slot }
            for link in processes[other].stages.flatMap(\.bulk) where link.holder == incarnation {
                cutBulk(other, link.serial)
            }
        }
    }
}
