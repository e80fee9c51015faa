public import DejaVuCore

/// What goes next, and what its answers mean.
extension SubscriptionBook {
    /// The destination has given a ticket for a sequence, the first or a new one. The source need not have it yet.
    ///
    /// - Parameter watermark: what it is known to hold in all the ticket's layers. 0 is always right: frames that it
    ///   has already are answered at their header.
    /// - Throws: `.notFound` without a subscription to it; `.resourceExhausted` beyond the limit of sequences.
    public mutating func grant(_ ticket: Ticket, by destination: StoreID, watermark: Int = 0) throws(DejaVuError) {
        guard let place = self.destination(destination) else {
            throw DejaVuError(.notFound, "nothing is streamed to \(destination)")
        }
        guard destinations[place].insert(ticket, limit: limits.sequencesMax) else {
            throw DejaVuError(.resourceExhausted, "a destination takes at most \(limits.sequencesMax) sequences")
        }
        for order in orders.indices where orders[order].subscription.destination == destination {
            guard let index = orders[order].index(of: ticket.sequence) else { continue }
            orders[order].streams[index].ticket = ticket
            orders[order].streams[index].isHeld = false
            let layers = orders[order].streams[index].acknowledged.layers
            orders[order].streams[index].acknowledged = LayerMarks(layers: layers)
            if let common = layers.intersection(ticket.layers) {
                orders[order].streams[index].acknowledged.set(common, to: max(0, watermark))
            }
            goBack(order, index)
        }
    }

    /// The destination has released a sequence: it holds nothing of it, and takes nothing.
    public mutating func revoke(_ sequence: SequenceID, by destination: StoreID) {
        if let place = self.destination(destination) { destinations[place].remove(sequence) }
        for order in orders.indices where orders[order].subscription.destination == destination {
            guard let index = orders[order].index(of: sequence) else { continue }
            orders[order].streams[index].ticket = nil
            let layers = orders[order].streams[index].acknowledged.layers
            orders[order].streams[index].acknowledged = LayerMarks(layers: layers)
            goBack(order, index)
        }
    }

    /// The ticket that a destination has given for a sequence.
    public func ticket(for sequence: SequenceID, by destination: StoreID) -> Ticket? {
        self.destination(destination).flatMap { destinations[$0].ticket(of: sequence) }
    }

    /// The destination has found that it holds less than it had acknowledged.
    public mutating func destinationLowered(
        _ destination: StoreID, _ sequence: SequenceID, layers: LayerRange, to watermark: Int
    ) {
        for order in orders.indices where orders[order].subscription.destination == destination {
            guard let index = orders[order].index(of: sequence),
                let common = layers.intersection(orders[order].streams[index].acknowledged.layers)
            else { continue }
            orders[order].streams[index].acknowledged.lower(common, to: max(0, watermark))
            goBack(order, index)
        }
    }

    /// Takes the frame that is to be sent now: of the most urgent streams the one that is furthest behind, among those
    /// that have not had their turn in this round. It counts as in flight until it is answered.
    ///
    /// - Parameters:
    ///   - bytesMax: at most the limit of a frame; less cuts the frame further.
    ///   - only: none but frames to this destination.
    /// - Returns: nil if there is nothing to send, or no room on the way to those who lack it.
    public mutating func next(bytesMax: Int = .max, to only: StoreID? = nil) -> Dispatch? {
        let bytesMax = min(bytesMax, limits.frameBytesMax)
        let rowsMax = bytesMax / rowBytes
        guard rowsMax > 0 else { return nil }
        var full: [StoreID] = []
        while let (order, index) = choose(to: only, except: full) {
            let subscription = orders[order].subscription
            let stream = orders[order].streams[index]
            guard let ticket = stream.ticket, let place = destination(subscription.destination),
                let piece = piece(of: stream)
            else { preconditionFailure("a stream was chosen that cannot send") }
            let layers = LayerRange(piece.layers.first, min(piece.layers.end, piece.layers.first + rowsMax))
            let count = min(piece.positions.count, max(1, rowsMax / layers.count))
            let bytes = layers.count * count * rowBytes
            guard destinations[place].flightCount < limits.flightsMax,
                bytes <= limits.bytesInFlightMax - destinations[place].bytesInFlight
            else {
                // Others must not pass it, or it would never find room.
                full.append(subscription.destination)
                continue
            }
            let end = piece.positions.lowerBound + count
            let span = Span(
                sequence: stream.sequence, layers: layers, positions: piece.positions.lowerBound..<end)
            flightNumber += 1
            let flight = Flight(
                id: FlightID(flightNumber), subscription: subscription.id, destination: subscription.destination,
                ticket: ticket.number, span: span, bytes: bytes)
            flights.append(flight)
            destinations[place].flightCount += 1
            destinations[place].bytesInFlight += bytes
            orders[order].streams[index].sent.set(layers, to: end)
            orders[order].streams[index].round = rounds[Int(subscription.priority.rawValue)]
            refresh(order, index)
            return Dispatch(
                flight: flight.id, subscription: subscription.id, destination: subscription.destination,
                priority: subscription.priority, ticket: ticket, span: span, bytes: bytes)
        }
        return nil
    }

    private mutating func choose(to only: StoreID?, except full: [StoreID]) -> (order: Int, stream: Int)? {
        var best: (order: Int, stream: Int, isNew: Int, rows: Int)?
        var priority: StreamPriority?
        for (order, entry) in orders.enumerated() {
            let subscription = entry.subscription
            // Orders are sorted: once a more urgent one can send, the others wait.
            if let priority, subscription.priority > priority { break }
            guard !entry.isPaused, only == nil || subscription.destination == only,
                !full.contains(subscription.destination),
                let place = destination(subscription.destination), destinations[place].isConnected
            else { continue }
            let round = rounds[Int(subscription.priority.rawValue)]
            for (index, stream) in entry.streams.enumerated() where stream.pendingRows > 0 && !stream.isHeld {
                priority = subscription.priority
                let isNew = stream.round < round ? 1 : 0
                if let best, (best.isNew, best.rows) >= (isNew, stream.pendingRows) { continue }
                best = (order, index, isNew, stream.pendingRows)
            }
        }
        guard let best, let priority else { return nil }
        if best.isNew == 0 { rounds[Int(priority.rawValue)] += 1 }
        return (best.order, best.stream)
    }

    // MARK: Answers

    /// Whose a flight is that has not been answered.
    public func flight(_ id: FlightID) -> (destination: StoreID, sequence: SequenceID)? {
        flights.first { $0.id == id }.map { ($0.destination, $0.span.sequence) }
    }

    /// The destination has committed a frame, or had it: its watermark over the frame's layers.
    public mutating func acknowledge(_ id: FlightID, watermark: Int) {
        // What went stale is told again at its header; what it says may be older than what made it stale.
        guard let flight = end(id), let (order, index) = live(flight), !flight.isStale else { return }
        guard watermark >= flight.span.positions.upperBound else {
            meet(gap: watermark, flight, order, index)
            return
        }
        orders[order].streams[index].acknowledged.raise(flight.span.layers, to: watermark)
        orders[order].streams[index].sent.raise(flight.span.layers, to: watermark)
        refresh(order, index)
    }

    /// The destination lacks what comes before a frame: back to its watermark.
    public mutating func gap(_ id: FlightID, watermark: Int) {
        guard let flight = end(id), let (order, index) = live(flight), !flight.isStale else { return }
        meet(gap: watermark, flight, order, index)
    }

    /// The destination has refused a frame, or what it sent did not commit: the stream goes back to what was
    /// acknowledged and stands still until `resume` or a new ticket.
    public mutating func refuse(_ id: FlightID) {
        guard let flight = end(id), let (order, index) = live(flight), !flight.isStale else { return }
        orders[order].streams[index].isHeld = true
        goBack(order, index)
    }

    /// A frame was not sent, or given up on the way: its stream goes back to what was acknowledged.
    public mutating func giveBack(_ id: FlightID) {
        guard let flight = end(id), let (order, index) = live(flight), !flight.isStale else { return }
        goBack(order, index)
    }

    /// Streams that a destination's refusals have stopped go on.
    ///
    /// - Parameter sequence: that one only.
    public mutating func resume(_ destination: StoreID, _ sequence: SequenceID? = nil) {
        for order in orders.indices where orders[order].subscription.destination == destination {
            for index in orders[order].streams.indices
            where sequence == nil || orders[order].streams[index].sequence == sequence {
                orders[order].streams[index].isHeld = false
            }
        }
    }

    /// Everything on its way to a destination is lost; nothing goes there until `linkOpened`.
    public mutating func linkLost(_ id: StoreID) {
        guard let place = destination(id) else { return }
        destinations[place].isConnected = false
        destinations[place].bytesInFlight = 0
        destinations[place].flightCount = 0
        flights.removeAll { $0.destination == id }
        for order in orders.indices where orders[order].subscription.destination == id {
            for index in orders[order].streams.indices { goBack(order, index) }
        }
        dropIdleDestinations()
    }

    public mutating func linkOpened(_ id: StoreID) {
        if let place = destination(id) { destinations[place].isConnected = true }
    }

    /// Takes an answered flight off the books.
    private mutating func end(_ id: FlightID) -> Flight? {
        var low = 0
        var high = flights.count
        while low < high {
            let middle = (low + high) / 2
            if flights[middle].id < id { low = middle + 1 } else { high = middle }
        }
        guard low < flights.count, flights[low].id == id else { return nil }
        let flight = flights.remove(at: low)
        if let place = destination(flight.destination) {
            destinations[place].bytesInFlight -= flight.bytes
            destinations[place].flightCount -= 1
            if destinations[place].flightCount == 0 { dropIdleDestinations() }
        }
        return flight
    }

    /// The stream that a flight belongs to, if it still goes under the same ticket.
    private func live(_ flight: Flight) -> (order: Int, stream: Int)? {
        guard let found = stream(flight.subscription, flight.span.sequence),
            orders[found.order].streams[found.stream].ticket?.number == flight.ticket
        else { return nil }
        return found
    }

    private mutating func meet(gap watermark: Int, _ flight: Flight, _ order: Int, _ index: Int) {
        orders[order].streams[index].acknowledged.set(flight.span.layers, to: max(0, watermark))
        goBack(order, index)
    }

    /// Back to what was acknowledged, in all layers: a flight whose answer no longer counts may have had any of them.
    private mutating func goBack(_ order: Int, _ index: Int) {
        orders[order].streams[index].sent = orders[order].streams[index].acknowledged
        let id = orders[order].subscription.id
        let sequence = orders[order].streams[index].sequence
        for flight in flights.indices
        where flights[flight].subscription == id && flights[flight].span.sequence == sequence {
            flights[flight].isStale = true
        }
        refresh(order, index)
    }
}
