import DejaVuCore
import DejaVuKV

/// The source's side: what a stream engine does with a subscription book, and the network below it.
extension LedgerWorld {
    /// Sends what may be sent.
    mutating func pump(_ store: Int) {
        while violations.isEmpty, let dispatch = stores[store].book.next() {
            guard let rows = read(dispatch.span, at: store) else {
                stores[store].book.giveBack(dispatch.flight)
                continue
            }
            send(dispatch, rows, from: store)
        }
    }

    /// Reads a committed span and verifies it, as a store does that keeps checksums.
    ///
    /// - Returns: nil if rows turned out bad: the watermark is lowered then.
    private mutating func read(_ span: Span, at store: Int) -> [UInt64]? {
        guard stores[store].ledger.mayRead(span), let index = stores[store].openTenancy(of: span.sequence) else {
            fail("store \(store): its book sends \(span), which is not committed")
            return nil
        }
        let tenancy = stores[store].tenancies[index]
        var rows: [UInt64] = []
        for layer in span.layers.indices {
            for position in span.positions {
                let place = stores[store].place(layer, position, length: tenancy.length)
                let row = stores[store].slots[tenancy.slot].rows[place]
                if row != Self.truth(span.sequence, layer, position) {
                    guard tenancy.rotten.contains(place) else {
                        fail("store \(store): read a wrong row: \(span.sequence), \(layer), \(position)")
                        return nil
                    }
                    lower(span.sequence, layer, to: position, at: store)
                    return nil
                }
                rows.append(row)
            }
        }
        return rows
    }

    private mutating func send(_ dispatch: Dispatch, _ rows: [UInt64], from store: Int) {
        let span = dispatch.span
        guard let tokens = stores[store].ledger.tokens(of: span.sequence, in: span.positions),
            let hash = stores[store].ledger.tokensHash(of: span.sequence, end: span.positions.upperBound)
        else {
            fail("store \(store): no tokens for committed rows of \(span)")
            return
        }
        let header = FrameHeader(
            ticket: dispatch.ticket.number, writer: dispatch.ticket.writer, span: span, tokens: Array(tokens),
            tokensHash: hash, numericClass: Self.numericClass, payloadBytes: rows.count * Self.rowBytes)
        let from = Address(store: store, generation: stores[store].generation)
        queue.push(.patience(from, dispatch.flight), at: now + Self.patience * stores[store].patienceFactor)
        let route = Int(dispatch.subscription.rawValue) - 1
        var transfer = Transfer(
            route: route, from: from, flight: dispatch.flight, header: mangled(header), rows: rows,
            checksum: rows.reduce(0) { Self.checksum($0, $1) },
            chunkCount: (rows.count + scenario.chunkRowsMax - 1) / scenario.chunkRowsMax)
        if transfer.header == header, rows.count > 1, strikes(scenario.weather.mangled / 2) {
            // A sender that loses rows and does not know it: the checksum agrees with what it sends.
            transfer.rows.removeLast()
            transfer.checksum = transfer.rows.reduce(0) { Self.checksum($0, $1) }
        } else if strikes(scenario.weather.corrupted) {
            transfer.rows[random.next(below: rows.count)] ^= 1 &<< UInt64(random.next(below: 64))
        }
        let number = transfers.count
        tell("store \(store): sends frame \(number) of \(span) to \(dispatch.destination)")
        deliver(transfer, later: .zero)
        if strikes(scenario.weather.duplicated) {
            deliver(transfer, later: .microseconds(Int64(random.next(below: 60_000))))
        }
    }

    /// Puts a frame on its way: header, chunks in order, end; or only a part of it.
    private mutating func deliver(_ transfer: Transfer, later: TimeSpan) {
        if now < partitionedUntil[transfer.route] || strikes(scenario.weather.lost) { return }
        let index = transfers.count
        transfers.append(transfer)
        var at = now + delay() + later
        if scenario.routes[transfer.route].keepsOrder, later == .zero {
            at = max(at, arrivalOf[transfer.route])
        }
        queue.push(.begin(index), at: at)
        let cutAfter = strikes(scenario.weather.cut) ? random.next(below: transfer.chunkCount + 1) : nil
        let skipped = strikes(scenario.weather.cut / 4) ? random.next(below: transfer.chunkCount) : nil
        let doubled = strikes(scenario.weather.cut / 4) ? random.next(below: transfer.chunkCount) : nil
        for chunk in 0..<transfer.chunkCount where chunk != skipped {
            at = at + TimeSpan(nanoseconds: delay().nanoseconds / 4)
            if chunk == cutAfter { break }
            queue.push(.chunk(index, chunk), at: at)
            if chunk == doubled { queue.push(.chunk(index, chunk), at: at) }
        }
        queue.push(cutAfter == nil ? .end(index) : .cut(index), at: at)
        arrivalOf[transfer.route] = max(arrivalOf[transfer.route], at)
    }

    /// A header as it may arrive from a confused peer.
    private mutating func mangled(_ header: FrameHeader) -> FrameHeader {
        guard strikes(scenario.weather.mangled) else { return header }
        var ticket = header.ticket
        var writer = header.writer
        var span = header.span
        var tokens = header.tokens
        var hash = header.tokensHash
        var numericClass = header.numericClass
        var bytes = header.payloadBytes
        switch random.next(below: 9) {
        case 0: ticket = UInt64(random.next(below: Int(ticketCount) + 2))
        case 1: writer = Incarnation(UInt64(random.next(below: Int(incarnationCount) + 2)))
        case 2: tokens[random.next(below: tokens.count)] ^= 1
        case 3: hash ^= 1
        case 4: numericClass = NumericClass(hash: 1)
        case 5: bytes += random.next(below: 2) == 0 ? -1 : 1
        case 6:
            let shift = random.next(in: 1...20)
            span = Span(
                sequence: span.sequence, layers: span.layers,
                positions: span.positions.lowerBound + shift..<span.positions.upperBound + shift)
        case 7:
            // All is right with it, but for its end.
            let end = scenario.lives[Int(span.sequence.rawValue) - 1].length + random.next(in: 1...3)
            span = Span(
                sequence: span.sequence, layers: span.layers, positions: span.positions.lowerBound..<end)
            tokens = Self.tokens(span.sequence, span.positions)
            hash = TokenChain(Self.tokens(span.sequence, 0..<end)).hash
            bytes = span.rowCount * Self.rowBytes
        default:
            span = Span(
                sequence: SequenceID(span.sequence.rawValue % 3 + 1), layers: span.layers, positions: span.positions)
        }
        return FrameHeader(
            ticket: ticket, writer: writer, span: span, tokens: tokens, tokensHash: hash, numericClass: numericClass,
            payloadBytes: bytes)
    }

    mutating func take(_ answer: Answer, of flight: FlightID, _ store: Int) {
        if stores[store].book.flight(flight) != nil { stores[store].patienceFactor = 1 }
        switch answer {
        case .acknowledged(let watermark): stores[store].book.acknowledge(flight, watermark: watermark)
        case .gap(let watermark): stores[store].book.gap(flight, watermark: watermark)
        case .refused(let refusal):
            if let (destination, sequence) = stores[store].book.flight(flight) {
                let after = TimeSpan.milliseconds(refusal.isPassing ? 1 : 8)
                let at = Address(store: store, generation: stores[store].generation)
                queue.push(.resume(at, destination, sequence), at: now + after)
            }
            stores[store].book.refuse(flight)
        }
        pump(store)
    }
}
