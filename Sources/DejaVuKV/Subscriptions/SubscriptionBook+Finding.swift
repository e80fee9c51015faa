import DejaVuCore

/// Where things are, and what streams lack.
extension SubscriptionBook {
    func sourcePosition(_ sequence: SequenceID) -> Int {
        var low = 0
        var high = sources.count
        while low < high {
            let middle = (low + high) / 2
            if sources[middle].sequence < sequence { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func source(_ sequence: SequenceID) -> Source? {
        let index = sourcePosition(sequence)
        return index < sources.count && sources[index].sequence == sequence ? sources[index] : nil
    }

    func destination(_ id: StoreID) -> Int? { destinations.firstIndex { $0.id == id } }

    func stream(_ id: SubscriptionID, _ sequence: SequenceID) -> (order: Int, stream: Int)? {
        guard let order = orders.firstIndex(where: { $0.subscription.id == id }),
            let stream = orders[order].index(of: sequence)
        else { return nil }
        return (order, stream)
    }

    /// Rows that the source has above a stream's marks, and the positions of the layer that lacks most.
    func lack(of stream: Stream, behind marks: KeyPath<Stream, LayerMarks>) -> (rows: Int, positions: Int) {
        guard let source = source(stream.sequence) else { return (0, 0) }
        var rows = 0
        var positions = 0
        for level in stream[keyPath: marks].levels {
            for theirs in source.marks.levels {
                guard theirs.mark > level.mark, let common = theirs.layers.intersection(level.layers) else {
                    continue
                }
                rows += common.count * (theirs.mark - level.mark)
                positions = max(positions, theirs.mark - level.mark)
            }
        }
        return (rows, positions)
    }

    /// The first piece that a stream could send: the layers that are furthest behind, as far as they are level on both
    /// sides.
    func piece(of stream: Stream) -> (layers: LayerRange, positions: Range<Int>)? {
        guard let ticket = stream.ticket, let source = source(stream.sequence) else { return nil }
        var best: (layers: LayerRange, positions: Range<Int>)?
        for level in stream.sent.levels {
            guard let ours = level.layers.intersection(ticket.layers) else { continue }
            for theirs in source.marks.levels {
                let end = min(theirs.mark, ticket.positionLimit)
                guard end > level.mark, let common = theirs.layers.intersection(ours) else { continue }
                if let best, best.positions.lowerBound <= level.mark { continue }
                best = (common, level.mark..<end)
            }
        }
        return best
    }

    /// Counts anew what a stream could send.
    mutating func refresh(_ order: Int, _ index: Int) {
        let stream = orders[order].streams[index]
        var rows = 0
        if let ticket = stream.ticket, let source = source(stream.sequence) {
            for level in stream.sent.levels {
                guard let ours = level.layers.intersection(ticket.layers) else { continue }
                for theirs in source.marks.levels {
                    let end = min(theirs.mark, ticket.positionLimit)
                    guard end > level.mark, let common = theirs.layers.intersection(ours) else { continue }
                    rows += common.count * (end - level.mark)
                }
            }
        }
        orders[order].streams[index].pendingRows = rows
    }

    mutating func refresh(_ sequence: SequenceID) {
        for order in orders.indices {
            if let index = orders[order].index(of: sequence) { refresh(order, index) }
        }
    }

    mutating func dropIdleDestinations() {
        destinations.removeAll { destination in
            destination.flightCount == 0 && !orders.contains { $0.subscription.destination == destination.id }
        }
    }

    /// Proves that the books agree with each other.
    package func checkIntegrity() {
        precondition(orders.count <= limits.subscriptionsMax && sources.count <= limits.sequencesMax)
        for (index, order) in orders.enumerated() {
            precondition(
                index == 0 || orders[index - 1].subscription.priority <= order.subscription.priority,
                "orders out of order")
            precondition(destination(order.subscription.destination) != nil, "an order to nowhere")
            for (place, stream) in order.streams.enumerated() {
                precondition(
                    place == 0 || order.streams[place - 1].sequence < stream.sequence, "streams out of order")
                precondition(source(stream.sequence) != nil, "a stream without a source")
                precondition(
                    stream.ticket == ticket(for: stream.sequence, by: order.subscription.destination),
                    "a stream under another ticket")
                stream.acknowledged.checkIntegrity()
                stream.sent.checkIntegrity()
                for level in stream.acknowledged.levels {
                    precondition(
                        stream.sent.least(over: level.layers) >= level.mark, "more acknowledged than was sent")
                }
                var copy = self
                copy.refresh(index, place)
                precondition(copy.orders[index].streams[place] == stream, "what is pending is counted wrong")
            }
        }
        for destination in destinations {
            let theirs = flights.filter { $0.destination == destination.id }
            precondition(
                theirs.count == destination.flightCount
                    && theirs.reduce(0) { $0 + $1.bytes } == destination.bytesInFlight,
                "bytes in flight are counted wrong")
            precondition(
                destination.bytesInFlight <= limits.bytesInFlightMax && theirs.count <= limits.flightsMax,
                "more in flight than the limits allow")
        }
        for (index, flight) in flights.enumerated() {
            precondition(index == 0 || flights[index - 1].id < flight.id, "flights out of order")
            precondition(destination(flight.destination) != nil, "a flight to nowhere")
        }
    }
}

extension SubscriptionBook.Order {
    func position(of sequence: SequenceID) -> Int {
        var low = 0
        var high = streams.count
        while low < high {
            let middle = (low + high) / 2
            if streams[middle].sequence < sequence { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func index(of sequence: SequenceID) -> Int? {
        let index = position(of: sequence)
        return index < streams.count && streams[index].sequence == sequence ? index : nil
    }
}

extension SubscriptionBook.Destination {
    func ticket(of sequence: SequenceID) -> Ticket? {
        let index = position(of: sequence)
        return index < tickets.count && tickets[index].sequence == sequence ? tickets[index] : nil
    }

    /// - Returns: false if there are as many as the limit allows.
    mutating func insert(_ ticket: Ticket, limit: Int) -> Bool {
        let index = position(of: ticket.sequence)
        if index < tickets.count, tickets[index].sequence == ticket.sequence {
            tickets[index] = ticket
            return true
        }
        guard tickets.count < limit else { return false }
        tickets.insert(ticket, at: index)
        return true
    }

    mutating func remove(_ sequence: SequenceID) {
        let index = position(of: sequence)
        if index < tickets.count, tickets[index].sequence == sequence { tickets.remove(at: index) }
    }

    private func position(of sequence: SequenceID) -> Int {
        var low = 0
        var high = tickets.count
        while low < high {
            let middle = (low + high) / 2
            if tickets[middle].sequence < sequence { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
