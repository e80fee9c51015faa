import DejaVuCore
import DejaVuKV

/// The receiver's side: what a store does with a ledger.
extension LedgerWorld {
    mutating func begin(_ index: Int) {
        let transfer = transfers[index]
        let store = scenario.routes[transfer.route].to
        guard stores[store].isAlive else { return }
        let header = transfer.header
        let admission = stores[store].ledger.admit(header, at: now)
        tell("store \(store): frame \(index) of \(header.span) under ticket \(header.ticket): \(admission)")
        switch admission {
        case .land(let arrival):
            coverage.landed += 1
            if !arrival.landsWhole { coverage.partial += 1 }
            guard let tenancy = tenancy(of: arrival, at: store), checkOpen(header, at: store),
                checkTrue(header, at: store)
            else { return }
            stores[store].incoming.append(
                Incoming(transfer: index, writer: header.writer, arrival: arrival, tenancy: tenancy))
        case .known(let watermark):
            coverage.known += 1
            answer(.acknowledged(watermark), index)
        case .gap(let watermark):
            coverage.gaps += 1
            answer(.gap(watermark), index)
        case .refused(let refusal, let fault):
            coverage.count(refusal)
            if fault != nil { coverage.faultsReported += 1 }
            answer(.refused(refusal), index)
        }
        settle(store)
    }

    mutating func takeChunk(_ index: Int, _ chunk: Int) {
        let store = scenario.routes[transfers[index].route].to
        guard let place = stores[store].incoming.firstIndex(where: { $0.transfer == index }) else { return }
        let incoming = stores[store].incoming[place]
        let all = transfers[index].rows.count
        let size = (all + transfers[index].chunkCount - 1) / transfers[index].chunkCount
        let range = min(chunk * size, all)..<min((chunk + 1) * size, all)
        let leave = stores[store].ledger.take(incoming.arrival.id, bytes: range.count * Self.rowBytes)
        if leave == .tooMany {
            stores[store].incoming[place].isCut = true
            endIfDone(incoming.arrival.id, store)
            return
        }
        let first = incoming.rowsTaken
        stores[store].incoming[place].rowsTaken += range.count
        for row in transfers[index].rows[range] {
            stores[store].incoming[place].checksum = Self.checksum(stores[store].incoming[place].checksum, row)
        }
        guard leave == .write else {
            coverage.swallowed += 1
            return
        }
        guard checkOpen(transfers[index].header, at: store) else { return }
        let span = incoming.arrival.span
        var rows: [(layer: Int, position: Int, value: UInt64)] = []
        for (offset, value) in transfers[index].rows[range].enumerated() {
            let (layer, position) = (first + offset).quotientAndRemainder(dividingBy: span.positions.count)
            rows.append((span.layers.first + layer, span.positions.lowerBound + position, value))
        }
        write(rows, for: place, at: store)
    }

    mutating func endTransfer(_ index: Int) {
        let store = scenario.routes[transfers[index].route].to
        guard let place = stores[store].incoming.firstIndex(where: { $0.transfer == index }) else { return }
        stores[store].incoming[place].hasEnded = true
        endIfDone(stores[store].incoming[place].arrival.id, store)
    }

    mutating func cutTransfer(_ index: Int) {
        let store = scenario.routes[transfers[index].route].to
        guard let place = stores[store].incoming.firstIndex(where: { $0.transfer == index }) else { return }
        tell("store \(store): frame \(index) is cut off")
        stores[store].incoming[place].isCut = true
        endIfDone(stores[store].incoming[place].arrival.id, store)
    }

    /// A writer's link is closed: what it began is given up, as soon as no write is on its way to the memory.
    mutating func writerGone(_ writer: Incarnation, _ store: Int) {
        let theirs = stores[store].incoming.filter { $0.writer == writer && $0.transfer != nil && !$0.hasEnded }
        guard !theirs.isEmpty else { return }
        tell("store \(store): the link of \(writer) is closed")
        let all = stores[store].incoming.filter { $0.writer == writer && $0.transfer != nil }
        if all.count == theirs.count, theirs.allSatisfy({ $0.pendingWrites == 0 }) {
            stores[store].incoming.removeAll { $0.writer == writer && $0.transfer != nil }
            absorb(stores[store].ledger.quieten(writer), at: store)
            settle(store)
            return
        }
        for incoming in theirs {
            guard let place = stores[store].incoming.firstIndex(where: { $0.arrival.id == incoming.arrival.id })
            else { continue }
            stores[store].incoming[place].isCut = true
            endIfDone(incoming.arrival.id, store)
        }
    }

    // MARK: Memory

    /// Sends rows on their way to the memory, those of the arrival's parts only.
    mutating func write(_ rows: [(layer: Int, position: Int, value: UInt64)], for place: Int, at store: Int) {
        let incoming = stores[store].incoming[place]
        let wanted = rows.filter { row in
            incoming.arrival.parts.contains {
                $0.layers.indices.contains(row.layer) && $0.positions.contains(row.position)
            }
        }
        guard !wanted.isEmpty, let tenancy = stores[store].tenancy(incoming.tenancy) else { return }
        let write = Write(
            arrival: incoming.arrival.id, tenancy: incoming.tenancy, slot: stores[store].tenancies[tenancy].slot,
            rows: wanted)
        stores[store].incoming[place].pendingWrites += 1
        if random.chance(scenario.weather.lateWrite) {
            let late = TimeSpan.microseconds(Int64(random.next(below: 8000)))
            queue.push(
                .write(Address(store: store, generation: stores[store].generation), write), at: now + late)
        } else {
            apply(write, store)
        }
    }

    mutating func apply(_ write: Write, _ store: Int) {
        let slot = stores[store].slots[write.slot]
        guard slot.tenant == write.tenancy, let index = stores[store].tenancy(write.tenancy) else {
            fail("store \(store): \(write.arrival) wrote memory that was given away")
            return
        }
        let tenancy = stores[store].tenancies[index]
        for row in write.rows {
            if tenancy.isOpen,
                stores[store].ledger.watermark(
                    of: tenancy.sequence, layers: LayerRange(row.layer, row.layer + 1)) > row.position
            {
                fail(
                    "store \(store): \(write.arrival) wrote the committed row of \(tenancy.sequence) layer \(row.layer)"
                        + " position \(row.position)")
                return
            }
            let place = stores[store].place(row.layer, row.position, length: tenancy.length)
            stores[store].slots[write.slot].rows[place] = row.value
        }
        if let place = stores[store].incoming.firstIndex(where: { $0.arrival.id == write.arrival }) {
            stores[store].incoming[place].pendingWrites -= 1
            endIfDone(write.arrival, store)
        } else {
            fail("store \(store): \(write.arrival) wrote after it had ended")
        }
    }

    /// Ends an arrival once its bytes, or its end, have come and all its writes are done.
    mutating func endIfDone(_ id: ArrivalID, _ store: Int) {
        guard let place = stores[store].incoming.firstIndex(where: { $0.arrival.id == id }) else { return }
        let incoming = stores[store].incoming[place]
        guard incoming.pendingWrites == 0, incoming.hasEnded || incoming.isCut else { return }
        stores[store].incoming.remove(at: place)
        if incoming.isCut {
            absorb(stores[store].ledger.abandon(id), at: store)
        } else {
            let isIntact = incoming.transfer.map { transfers[$0].checksum == incoming.checksum } ?? true
            let (completion, settled) = stores[store].ledger.finish(id, intact: isIntact, at: now)
            tell("store \(store): \(id) of \(incoming.arrival.span) ends: \(completion)")
            conclude(completion, incoming.transfer, id, at: store)
            absorb(settled, at: store)
        }
        settle(store)
    }

    private mutating func conclude(_ completion: Completion, _ transfer: Int?, _ id: ArrivalID, at store: Int) {
        switch completion {
        case .committed(let watermark):
            coverage.committed += 1
            if let transfer { answer(.acknowledged(watermark), transfer) }
        case .waiting:
            coverage.waited += 1
            if let transfer { stores[store].waiting.append((id, transfer)) }
        case .refused(let refusal, _):
            coverage.count(refusal)
            if let transfer { answer(.refused(refusal), transfer) }
        }
    }

    /// Takes in what a call has settled: answers, and memory that is free.
    mutating func absorb(_ settled: Settlement, at store: Int) {
        for ended in settled.ended {
            if ended.completion == .waiting { fail("store \(store): \(ended.arrival) ended by waiting") }
            guard let place = stores[store].waiting.firstIndex(where: { $0.arrival == ended.arrival }) else { continue }
            let transfer = stores[store].waiting.remove(at: place).transfer
            tell("store \(store): \(ended.arrival), which waited, ends: \(ended.completion)")
            conclude(ended.completion, transfer, ended.arrival, at: store)
        }
        if settled.fault != nil { coverage.faultsReported += 1 }
        for number in settled.quiet { free(number, at: store) }
    }

    private mutating func free(_ number: UInt64, at store: Int) {
        guard let index = stores[store].tenancies.firstIndex(where: { $0.number == number && !$0.isOpen }) else {
            fail("store \(store): memory of ticket \(number) is quiet, but was not released")
            return
        }
        let tenancy = stores[store].tenancies.remove(at: index)
        tell("store \(store): the memory of \(tenancy.sequence) under ticket \(number) is quiet")
        stores[store].slots[tenancy.slot].tenant = 0
        if stores[store].incoming.contains(where: { $0.tenancy == tenancy.id && $0.pendingWrites > 0 }) {
            fail("store \(store): memory of ticket \(number) is called quiet while somebody writes it")
        }
    }

    private mutating func tenancy(of arrival: Arrival, at store: Int) -> UInt64? {
        guard
            let tenancy = stores[store].tenancies.first(where: { $0.number == arrival.ticket && $0.isOpen }),
            tenancy.sequence == arrival.span.sequence
        else {
            fail("store \(store): \(arrival.id) was admitted into memory that is not open")
            return nil
        }
        return tenancy.id
    }

    /// Whether the world, too, knows the frame's ticket as open, and given to that writer.
    private mutating func checkOpen(_ header: FrameHeader, at store: Int) -> Bool {
        let isShared = stores[store].upstreamTickets.contains {
            $0.ticket.number == header.ticket && $0.ticket.writer == header.writer
                && $0.ticket.sequence == header.span.sequence && $0.ticket.layers.contains(header.span.layers)
                && header.span.positions.upperBound <= $0.ticket.positionLimit
        }
        if !isShared || stores[store].openTenancy(of: header.span.sequence) == nil {
            fail("store \(store): a write of \(header.span) under ticket \(header.ticket), which is not open")
            return false
        }
        return true
    }

    /// Whether an admitted frame is what it should be: computed alike, of the right text, as long as its rows.
    private mutating func checkTrue(_ header: FrameHeader, at store: Int) -> Bool {
        let span = header.span
        let text = TokenChain(Self.tokens(span.sequence, 0..<span.positions.upperBound))
        guard header.numericClass == Self.numericClass, header.tokens == Self.tokens(span.sequence, span.positions),
            header.tokensHash == text.hash, header.payloadBytes == span.rowCount * Self.rowBytes
        else {
            fail("store \(store): a frame of \(span) was admitted that should have been refused")
            return false
        }
        return true
    }

    private mutating func answer(_ answer: Answer, _ index: Int) {
        if strikes(scenario.weather.answerLost) { return }
        queue.push(.answer(transfers[index].from, transfers[index].flight, answer), at: now + delay())
    }
}
